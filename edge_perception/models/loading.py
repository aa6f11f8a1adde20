"""From a bundle's name to a model that can run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edge_perception.backends import Backend, BackendInfo, BackendOptions, backends
from edge_perception.core.errors import ModelError
from edge_perception.models.manifest import Bundle, TensorSpec
from edge_perception.models.store import find_bundle, installed_model_folders


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Which model a node serves and how it runs."""

    model: str = field(
        metadata={"text": "bundle: a folder below one of the model folders, or a manifest's name"}
    )
    model_folders: tuple[str, ...] = field(
        default=(), metadata={"text": "folders searched before the installed ones"}
    )
    backend: str = field(default="onnxruntime", metadata={"text": "inference runtime"})
    provider: str = field(
        default="", metadata={"text": "execution provider; empty: the runtime's CPU provider"}
    )
    threads: int = field(
        default=1, metadata={"text": "inference threads", "min": 1, "max": 64, "unit": "threads"}
    )


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A bundle with a warm session."""

    bundle: Bundle
    backend: Backend
    info: BackendInfo


def model_folders(configured: Sequence[str]) -> list[Path]:
    """Return where bundles are looked for: the configured folders, then the installed ones."""
    return [*(Path(folder).expanduser() for folder in configured), *installed_model_folders()]


def load_model(
    options: ModelOptions, *, role: str, name: str = "", version: str = ""
) -> LoadedModel:
    """Find, verify, load and warm a model.

    Args:
        options: where to look and how to run.
        role: camera, lidar, audio or fusion; the bundle must have it.
        name: bundle to load instead of `options.model`.
        version: the version it must have; empty: any.

    Raises:
        ModelError: no such bundle, or it is damaged, of another role, or does not run here.
        UnknownNameError: the backend does not exist.
    """
    bundle = find_bundle(name or options.model, model_folders(options.model_folders))
    manifest = bundle.manifest
    if manifest.role != role:
        raise ModelError(f"{manifest.name}: expected a model of role {role}, got {manifest.role}")
    if version and manifest.version != version:
        raise ModelError(f"{manifest.name}: expected version {version}, got {manifest.version}")
    backend = backends()[options.backend].load(
        bundle.model_path, BackendOptions(threads=options.threads, provider=options.provider)
    )
    info = backend.describe()
    for kind, declared, actual in (
        ("input", manifest.inputs, info.inputs),
        ("output", manifest.outputs, info.outputs),
    ):
        shapes = {tensor.name: (tensor.shape, tensor.dtype) for tensor in actual}
        for spec in declared:
            _check_tensor(manifest.name, kind, spec, shapes)
    backend.warm_up(manifest.gates.warm_up_runs)
    return LoadedModel(bundle=bundle, backend=backend, info=info)


def _check_tensor(model: str, kind: str, spec: TensorSpec, actual: dict) -> None:
    if spec.name not in actual:
        raise ModelError(f"{model}: {kind} '{spec.name}' of the manifest is not in the graph")
    shape, dtype = actual[spec.name]
    if (spec.shape, spec.dtype) != (shape, dtype):
        raise ModelError(
            f"{model}: {kind} '{spec.name}': manifest says {spec.shape} {spec.dtype}, "
            f"graph has {shape} {dtype}"
        )
