"""Keys, signed archives and a store for tests of the model manager."""

from __future__ import annotations

import time
from pathlib import Path

import yaml

from edge_perception.models.folders import find_bundle, installed_model_folders
from edge_perception.models.manifest import Bundle, load_bundle
from edge_perception.releases.archive import pack
from edge_perception.releases.repacking import repack
from edge_perception.releases.shelf import Release
from edge_perception.releases.signing import (
    generate_key,
    make_trust,
    public_text,
    sign_bundle,
    write_trust,
)
from edge_perception.releases.slo import SCHEMA
from edge_perception.releases.store import ReleaseStore


def installed(name: str) -> Bundle:
    return find_bundle(f"bev_lite/{name}", installed_model_folders())


class Maker:
    """Makes, signs and installs releases in a temporary folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = generate_key()
        self.trust = make_trust([public_text(self.key)])
        self.trust_file = folder / "trust.json"
        write_trust(self.trust_file, self.trust)
        self.root = folder / "store"
        self.store = ReleaseStore(self.root)
        self.slo_file: Path | None = None

    def bundle(self, role: str = "lidar", *, name="", version="9.9.9", release=2, **more) -> Bundle:
        source = installed(role)
        release += 0 if name else source.manifest.release  # of its own name: newer than what serves
        changes = {"version": version, "release": release, **more.pop("changes", {})}
        if name:
            changes["name"] = name
        folder = self.folder / "made" / f"{role}-{name}-{version}-{release}"
        more.setdefault("scale", 1.0001)
        return repack(source, folder, changes=changes, **more)

    def signed(self, bundle: Bundle, *, keys=None) -> Path:
        sign_bundle(bundle, [self.key] if keys is None else keys)
        return pack(bundle, self.folder / f"{bundle.sha256[:12]}.bundle")

    def signed_bundle(self, role: str = "lidar", **more) -> Bundle:
        bundle = self.bundle(role, **more)
        sign_bundle(bundle, [self.key])
        return bundle

    def install(self, role: str = "lidar", **more) -> Release:
        archive = self.signed(self.bundle(role, **more))
        return self.store.install(archive, self.trust, now_ns=time.time_ns())

    def install_set(self, version: str, release: int, **more) -> dict[str, Release]:
        space = f"bev_lite-{version}"
        installed_ = {}
        for role in ("camera", "lidar", "audio", "fusion"):
            changes = {"feature_space": space} if role != "fusion" else {}
            if load_bundle(installed(role).path).manifest.compatible_with:
                changes = {"compatible_with": [space]}
            installed_[role] = self.install(
                role, version=version, release=release, changes=changes, **more
            )
        return installed_

    def asks(self, **sections) -> None:
        """Write the operator's SLO file; the manager of these parameters reads it."""
        self.slo_file = self.folder / "slo.yaml"
        self.slo_file.write_text(yaml.safe_dump({"schema": SCHEMA, **sections}))

    @property
    def parameters(self) -> dict:
        found = {"model_store": str(self.root), "trust_file": str(self.trust_file)}
        return found | ({"slo_file": str(self.slo_file)} if self.slo_file else {})

    @property
    def node_parameters(self) -> dict:
        """Of a node that verifies what it loads, and answers nobody but the manager."""
        return {"model_store": str(self.root), "trust_file": str(self.trust_file)}
