"""A new release of a bundle that is there: other weights, version, feature space or manifest.

For tests and benchmarks of the model manager, and for engineers who try a swap by hand.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edge_perception.models.golden import read_golden
from edge_perception.models.graph import read_graph
from edge_perception.models.manifest import MANIFEST_NAME, Bundle, load_bundle
from edge_perception.models.writing import write_bundle

_FILLED_IN = ("files", "golden", "schema_version", "created")


def repack(
    bundle: Bundle,
    folder: Path,
    *,
    changes: Mapping[str, Any],
    scale: float = 1.0,
    edit: Callable[[Any], None] | None = None,
) -> Bundle:
    """Write a bundle like another one, with golden outputs of its own.

    Args:
        bundle: what to start from.
        folder: of the new bundle.
        changes: manifest fields to replace.
        scale: factor on the weights: 1.0001 is another model that says nearly the same.
        edit: changes the ONNX graph further.
    """
    manifest = json.loads((bundle.path / MANIFEST_NAME).read_bytes())
    for name in _FILLED_IN:
        manifest.pop(name, None)
    manifest.update(changes)
    graph = read_graph(bundle)
    _scale(graph, scale)
    if edit is not None:
        edit(graph)
    inputs, _ = read_golden(bundle)
    kept = {
        name: bundle.read(name)
        for name in bundle.manifest.files
        if name != bundle.manifest.model and not name.endswith(".npz")
    }
    return write_bundle(
        folder,
        manifest=manifest,
        model=graph.SerializeToString(),
        golden_inputs=inputs,
        files=kept,
        replace=True,
    )


def repack_set(
    source: Path, folder: Path, *, version: str, release: int, scale: float
) -> dict[str, Bundle]:
    """Write a whole set anew, under a feature space of its own; by role."""
    bundles = [load_bundle(path.parent) for path in sorted(source.glob(f"*/{MANIFEST_NAME}"))]
    name = bundles[0].manifest.name.rsplit("_", 1)[0]
    space = f"{name}-{version}"
    made = {}
    for bundle in bundles:
        role = bundle.manifest.role
        changes: dict[str, Any] = {"version": version, "release": release}
        if bundle.manifest.feature_space:
            changes["feature_space"] = space
        if bundle.manifest.compatible_with:
            changes["compatible_with"] = [space]
        made[role] = repack(bundle, folder / role, changes=changes, scale=scale)
    return made


def _scale(graph: Any, factor: float) -> None:
    if factor == 1.0:
        return
    import numpy as np
    from onnx import numpy_helper

    for tensor in graph.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and values.ndim > 1:
            tensor.CopyFrom(numpy_helper.from_array(values * np.float32(factor), tensor.name))
