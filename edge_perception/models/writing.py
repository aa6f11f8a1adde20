"""Writing a bundle: everything into a temporary folder, checked, then one rename."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from edge_perception.backends import DEFAULT_BACKEND, Backend, BackendOptions, backends
from edge_perception.core.errors import BundleError, ConfigurationError, ManifestError
from edge_perception.core.schema import decode
from edge_perception.core.version import parse_version
from edge_perception.models.golden import rounded, save_arrays
from edge_perception.models.graph import load_graph, opset_of
from edge_perception.models.manifest import (
    MANIFEST_NAME,
    SCHEMA_VERSION,
    Bundle,
    Gates,
    file_entry,
    load_bundle,
    without_retired,
)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_GOLDEN = {"inputs": "golden_inputs.npz", "outputs": "golden_outputs.npz"}


def write_bundle(
    folder: Path,
    *,
    manifest: Mapping[str, Any],
    model: Path | bytes,
    golden_inputs: Mapping[str, NDArray],
    files: Mapping[str, Path | bytes] | None = None,
    replace: bool = False,
    backend: str = DEFAULT_BACKEND,
) -> Bundle:
    """Write a bundle and return it, verified. Nothing is left behind when it fails.

    Args:
        folder: the bundle's folder, for example models/bev_lite/lidar.
        manifest: all fields but `files`, `golden` and `resources.disk_bytes`, which are filled
            in; `schema_version`, `created` and `runtime.opset` are where they are missing.
        model: the ONNX file.
        golden_inputs: by graph input name; the golden outputs are computed from them.
        files: more files of the bundle by name, such as the model card.
        replace: overwrite a bundle that is there.
        backend: runtime that computes the golden outputs.

    Raises:
        BundleError: the folder exists, or cannot be written.
        ManifestError: the manifest breaks its schema or does not fit the graph.
        BackendError: the model does not run.
    """
    _check_identity(manifest)
    if folder.exists() and not replace:
        raise BundleError(f"{folder}: exists already; replace it, or take another name")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise BundleError(f"{folder}: cannot be written: {error}") from error
    try:
        work.chmod(0o755)
        _fill(work, dict(manifest), model, golden_inputs, files or {}, backend)
        load_bundle(work)
        _sync(work)
        _move(work, folder)
    except OSError as error:
        raise BundleError(f"{folder}: cannot be written: {error}") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return load_bundle(folder)


def _check_identity(manifest: Mapping[str, Any]) -> None:
    name, version = manifest.get("name"), manifest.get("version")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ManifestError(f"manifest.name: expected the like of yolox_nano, got {name!r}")
    try:
        parse_version(version if isinstance(version, str) else repr(version))
    except ConfigurationError as error:
        raise ManifestError(f"manifest.{error}") from error


def _fill(
    work: Path,
    manifest: dict[str, Any],
    model: Path | bytes,
    golden_inputs: Mapping[str, NDArray],
    files: Mapping[str, Path | bytes],
    backend: str,
) -> None:
    model_name = manifest.setdefault("model", "model.onnx")
    for name, content in {model_name: model, **files}.items():
        if Path(name).name != name:
            raise BundleError(f"files: expected plain file names, got '{name}'")
        data = content if isinstance(content, bytes) else content.read_bytes()
        (work / name).write_bytes(data)
    session = backends()[backend].load(work / model_name, BackendOptions())
    try:
        _check_graph(manifest, session)
        save_arrays(work / _GOLDEN["inputs"], golden_inputs)
        gates = decode(Gates, manifest.get("gates", {}), "manifest.gates", error=ManifestError)
        outputs = session.infer(golden_inputs)
        told = {name: rounded(name, values, gates) for name, values in outputs.items()}
        save_arrays(work / _GOLDEN["outputs"], told, small=True)
    finally:
        session.close()
    manifest.setdefault("schema_version", SCHEMA_VERSION)
    manifest.setdefault("created", datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"))
    manifest = without_retired(manifest)
    runtime = dict(manifest.get("runtime", {}))
    if "opset" not in runtime:
        runtime["opset"] = opset_of(load_graph(work / model_name))
    manifest.update(runtime=runtime, golden=dict(_GOLDEN))
    write_manifest(work, manifest)


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Write a manifest into a folder, with the files that lie there and their size."""
    entries = {path.name: file_entry(path) for path in sorted(folder.iterdir())}
    size = sum(entry.size for entry in entries.values())
    whole = {
        **manifest,
        "files": {name: asdict(entry) for name, entry in entries.items()},
        "resources": {**manifest.get("resources", {}), "disk_bytes": size},
    }
    (folder / MANIFEST_NAME).write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")


def _check_graph(manifest: Mapping[str, Any], session: Backend) -> None:
    """Inputs and outputs of the manifest must be exactly those of the graph."""
    info = session.describe()
    for field, actual in (("inputs", info.inputs), ("outputs", info.outputs)):
        declared = {
            spec.get("name"): (spec.get("dtype"), tuple(spec.get("shape", ())))
            for spec in manifest.get(field, ())
        }
        in_graph = {tensor.name: (tensor.dtype, tensor.shape) for tensor in actual}
        if declared != in_graph:
            raise ManifestError(f"manifest.{field}: got {declared}, the graph has {in_graph}")


def _move(work: Path, folder: Path) -> None:
    """Put `work` in the place of `folder`; an old bundle is moved away first."""
    old = work.with_name(f"{work.name}.old")
    if folder.exists():
        folder.rename(old)
    work.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
    _sync_path(folder.parent)


def _sync(work: Path) -> None:
    for path in (*work.iterdir(), work):
        _sync_path(path)


def _sync_path(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
