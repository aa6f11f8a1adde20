"""Importing a foreign ONNX model: an adapter describes it, the result is an ordinary bundle."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from edge_perception.backends import (
    DEFAULT_BACKEND,
    Backend,
    BackendOptions,
    backends,
    load_model_bytes,
)
from edge_perception.core.errors import ManifestError, ModelError
from edge_perception.core.schema import decode
from edge_perception.encoders import encoders
from edge_perception.models.adapters import AdapterSpec, adapters
from edge_perception.models.decided import decoder_of
from edge_perception.models.golden import generated_inputs
from edge_perception.models.graph import load_graph, opset_of, tensor_shapes, with_outputs
from edge_perception.models.manifest import FUSION, SCHEMA_VERSION, Bundle, Manifest
from edge_perception.models.writing import write_bundle
from edge_perception.releases.recognising import Recognised
from edge_perception.releases.roles import check_role

_DTYPES = {  # onnx.TensorProto.DataType
    1: "float32",
    2: "uint8",
    3: "int8",
    6: "int32",
    7: "int64",
    9: "bool",
    10: "float16",
    11: "float64",
}


def import_model(
    onnx_path: Path,
    *,
    adapter: str,
    into: Path,
    name: str = "",
    version: str = "",
    features: Mapping[str, str] | None = None,
    labels: Sequence[str] = (),
    manifest: Mapping[str, Any] | None = None,
    replace: bool = False,
    backend: str = DEFAULT_BACKEND,
    recognised: Recognised | None = None,
    files: Mapping[str, bytes] | None = None,
    trial: Callable[[Manifest, Backend], None] | None = None,
) -> Bundle:
    """Make a bundle of an ONNX file.

    Args:
        onnx_path: the model.
        adapter: name of the adapter that knows the model family.
        into: folder that will hold the bundle's folder.
        name: of the bundle; empty: what the adapter says.
        version: semantic version; empty: what the adapter says.
        features: feature name -> tensor of the graph, also an intermediate one; None: those the
            adapter picks.
        labels: class names; empty: what the adapter says.
        manifest: fields that replace what the adapter says (mappings field by field); an adapter
            that cannot describe a file needs them all, but for `inputs` and `outputs`.
        replace: overwrite a bundle of that name.
        backend: runtime that tries the model and makes its golden outputs.
        recognised: what the file was recognised as; None: the adapter describes it.
        files: more files of the bundle by name, such as an adapter in WebAssembly.
        trial: is given the manifest and the running model before anything is written; what it
            raises stops the import.

    Raises:
        ModelError: the adapter cannot import, the file is no model of its family, a tensor does
            not exist, labels do not fit, or the bundle exists.
        UnknownNameError: there is no such adapter or runtime.
    """
    spec = adapters()[adapter]
    if recognised is None:
        base, graph = _describe(spec, onnx_path, manifest), load_graph(onnx_path)
    else:
        base, graph = recognised.manifest, recognised.model
    described = _merge(base, manifest or {})
    described.update({k: v for k, v in (("name", name), ("version", version)) if v})
    if labels:
        described["labels"] = [spec.spelling(name) if spec.spelling else name for name in labels]
    if not described.get("labels"):
        raise ModelError(f"{onnx_path.name}: expected class names, got none: give its labels")
    model = _declare_features(described, graph, onnx_path.name, features)
    described.setdefault("feature_space", _feature_space(described, model))
    checked = decode(
        Manifest,
        {**described, "files": {"model.onnx": {"sha256": "", "size": 0}}},
        "manifest",
        error=ManifestError,
    )
    more = dict(files or {})
    checked.with_reader(lambda file: _file(more, file))
    _check_use(checked, model, onnx_path, backend, trial)
    return write_bundle(
        into / described["name"],
        manifest=described,
        model=model,
        golden_inputs=_golden_inputs(checked),
        files=more,
        replace=replace,
        backend=backend,
    )


def _file(files: Mapping[str, bytes], name: str) -> bytes:
    if name not in files:
        raise ModelError(f"the bundle needs the file '{name}': give it with --module")
    return files[name]


def _check_use(
    manifest: Manifest,
    model: bytes,
    onnx_path: Path,
    backend: str,
    trial: Callable[[Manifest, Backend], None] | None,
) -> None:
    """Make what a node would make of the model: all that can be refused is, before writing."""
    check_role(manifest)
    adapter = adapters()[manifest.adapter]
    if manifest.role not in adapter.roles:
        raise ManifestError(
            f"manifest.role: adapter '{adapter.name}' expects {' or '.join(adapter.roles)}, "
            f"got '{manifest.role}'"
        )
    decoder_of(manifest)
    if manifest.role == FUSION:
        return
    session = load_model_bytes(backends()[backend], model, onnx_path, BackendOptions())
    try:
        encoders()[manifest.role].make_encoder(manifest, session)
        if trial is not None:
            trial(manifest, session)
    finally:
        session.close()


def _golden_inputs(manifest: Manifest) -> Mapping[str, NDArray]:
    """Return what the modality wants its golden outputs made with; noise where it does not say."""
    if manifest.role != FUSION:
        make = encoders()[manifest.role].golden_inputs
        if make is not None:
            return make(manifest)
    return generated_inputs(manifest.inputs)


def _describe(
    spec: AdapterSpec, onnx_path: Path, manifest: Mapping[str, Any] | None
) -> dict[str, Any]:
    if spec.describe is not None:
        return dict(spec.describe(onnx_path))
    if not manifest:
        importers = sorted(n for n, s in adapters().specs.items() if s.describe)
        raise ModelError(
            f"adapter '{spec.name}' cannot describe a file by itself, so it needs a manifest; "
            f"these can: {', '.join(importers)}"
        )
    model = load_graph(onnx_path)
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    return {
        "schema_version": SCHEMA_VERSION,
        "name": onnx_path.stem,
        "version": "1.0.0",
        "adapter": spec.name,
        "inputs": _declared(model, inputs, onnx_path.name),
        "runtime": {"opset": opset_of(model)},
    }


def _merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for name, value in changes.items():
        old = merged.get(name)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        merged[name] = {**dict(old or {}), **value} if both else value
    return merged


def _declare_features(
    described: dict[str, Any], model: Any, where: str, features: Mapping[str, str] | None
) -> bytes:
    """Make the feature tensors graph outputs and declare them; returns the model's bytes."""
    original = [value.name for value in model.graph.output]
    if features is not None:
        described["features"] = dict(features)
    wanted = [*original, *described.get("features", {}).values()]
    extended = with_outputs(model, wanted)
    described["outputs"] = _declared(extended, extended.graph.output, where)
    del extended.graph.value_info[:]
    return bytes(extended.SerializeToString())


def _declared(model: Any, values: Iterable[Any], where: str) -> list[dict[str, Any]]:
    """Return graph inputs or outputs as in a manifest."""
    shapes = tensor_shapes(model)
    for value in values:
        if -1 in shapes[value.name]:
            raise ModelError(
                f"{where}: tensor '{value.name}' expects a fixed shape, got {shapes[value.name]}"
            )
    return [
        {
            "name": value.name,
            "dtype": _DTYPES.get(value.type.tensor_type.elem_type, "unknown"),
            "shape": list(shapes[value.name]),
        }
        for value in values
    ]


def _feature_space(described: Mapping[str, Any], model: bytes) -> str:
    """Features of other weights or other tensors are another space."""
    digest = hashlib.sha256(model + repr(sorted(described.get("features", {}).items())).encode())
    return f"{described['name']}_{digest.hexdigest()[:12]}"
