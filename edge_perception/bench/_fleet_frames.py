"""What a delta of real models is of the whole, and the small models of virtual robots."""

from __future__ import annotations

import functools
import random
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

_SMALL = 60_000  # bytes of a virtual robot's model


def moved_model(share: float, seed: int) -> bytes:
    """Return a small model of which the last share of the weights moved."""
    moved = round(_SMALL * share)
    kept = random.Random(1).randbytes(_SMALL - moved)
    return kept + random.Random(seed + 1).randbytes(moved)


def delta_shares() -> dict[str, float]:
    """Return what deltas of the camera model are of the whole, by what moved.

    Those of the model file, and those of the archive: its golden outputs are new too.
    """
    from edge_perception.core.share import share_file
    from edge_perception.fleet.delta import make_delta
    from edge_perception.models.manifest import load_bundle
    from edge_perception.releases.archive import pack
    from edge_perception.releases.repacking import repack

    found = {}
    source = load_bundle(share_file("models/bev_lite/camera"))
    with tempfile.TemporaryDirectory(prefix="bench_delta_") as folder:
        base = pack(source, Path(folder) / "base")
        for name, share in (("last_third", 1 / 3), ("everything", 1.0)):
            bundle = repack(
                source,
                Path(folder) / name,
                changes={"version": "9.9.9", "release": 999},
                edit=functools.partial(_move, share=share),
            )
            archive = pack(bundle, Path(folder) / f"{name}.bundle")
            pairs = {name: (source.model_path, bundle.model_path)}
            pairs[f"{name}, archive"] = (base, archive)
            for what, (old, new) in pairs.items():
                delta = make_delta(old, new, Path(folder) / "patch")
                found[what] = round(min(delta / new.stat().st_size, 1.0), 4)
    return found


def _move(model: Any, share: float) -> None:
    """Add to the last share of the weights a hundredth of what they vary by."""
    from onnx import numpy_helper

    rng = np.random.default_rng(1)
    weights = [item for item in model.graph.initializer if item.data_type == 1]
    left = round(sum(numpy_helper.to_array(item).size for item in weights) * share)
    for item in reversed(weights):
        values = numpy_helper.to_array(item).copy()
        flat = values.reshape(-1)
        count = min(left, flat.size)
        noise = rng.normal(0.0, 0.01 * float(values.std()), count)
        flat[flat.size - count :] += noise.astype(np.float32)
        item.CopyFrom(numpy_helper.from_array(values, item.name))
        left -= count
        if left <= 0:
            return
