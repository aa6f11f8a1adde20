"""A reference into a bundle: a new one beside the old, because a manifest names its files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from edge_perception.core.errors import ConfigurationError
from edge_perception.models.loading import DRIFT_REFERENCE
from edge_perception.models.manifest import MANIFEST_NAME, Bundle, load_bundle
from edge_perception.models.writing import write_manifest
from edge_perception.monitoring.drift.reference import read_reference


def attach(bundle_folder: Path, reference: Path, out: Path) -> Bundle:
    """Write a copy of a bundle that holds a reference; it is to be signed as any new release.

    Raises:
        ConfigurationError: the reference is broken, or of another model.
        ModelError: the bundle cannot be read.
    """
    bundle, read = load_bundle(bundle_folder), read_reference(reference)
    model = bundle.manifest.files[bundle.manifest.model].sha256
    if read.model_sha256 != model:
        raise ConfigurationError(
            f"{reference}: expected the model {model[:12]} of {bundle.manifest.name}, "
            f"got {read.model} {read.model_sha256[:12]}"
        )
    if out.exists():
        raise ConfigurationError(f"{out}: exists already; take another folder")
    out.mkdir(parents=True)
    try:
        for name in bundle.manifest.files:
            shutil.copy2(bundle_folder / name, out / name)
        shutil.copy2(reference, out / DRIFT_REFERENCE)
        manifest = json.loads((bundle_folder / MANIFEST_NAME).read_text(encoding="utf-8"))
        write_manifest(out, manifest)
        return load_bundle(out)
    except Exception:
        shutil.rmtree(out, ignore_errors=True)
        raise
