"""A small registry with an owner, robots, and places that fail or lie."""

from __future__ import annotations

import hashlib
import json
import random
from datetime import datetime, timedelta, timezone
from pathlib import Path

from edge_perception.core.errors import LinkError
from edge_perception.fleet.keys import KeyFolder
from edge_perception.fleet.membership import Device
from edge_perception.fleet.places import ObjectPlace
from edge_perception.fleet.publishing import publish_release
from edge_perception.fleet.registry import Registry, make_registry
from edge_perception.fleet.sync import Sync
from edge_perception.models.manifest import MANIFEST_NAME, load_bundle
from edge_perception.releases.filesystem import FileSystem
from edge_perception.releases.signing import generate_key, make_trust, public_text, sign_bundle
from edge_perception.releases.store import ReleaseStore

START = datetime(2026, 6, 1, tzinfo=timezone.utc)
TEAM = "perception"


def ns(when: datetime) -> int:
    return round(when.timestamp() * 1e9)


def weights(seed: int, size: int = 60_000) -> bytes:
    return random.Random(seed).randbytes(size)


class Owner:
    """Who releases: a registry in a folder, keys, and a clock."""

    def __init__(self, folder: Path, *, url: str = "", now=START, **registry) -> None:
        self.folder, self.now = folder, now
        self.place = ObjectPlace(url or str(folder / "registry"))
        self.keys = KeyFolder(folder / "keys")
        self.root = make_registry(self.place, self.keys, self.now, **registry)
        self.release_key = generate_key()
        self.trust = make_trust([public_text(self.release_key)])
        with self.change() as registry:
            registry.add_team(TEAM, self.keys.make(TEAM), 1)

    def registry(self) -> Registry:
        return Registry(self.place, self.keys, self.now)

    def change(self):
        return _Change(self.registry())

    def bundle(self, version="1.0.0", release=1, model=b"", **changes):
        made = self.folder / "made" / f"{version}-{release}-{hashlib.sha256(model).hexdigest()[:8]}"
        made.mkdir(parents=True, exist_ok=True)
        model = model or weights(release)
        (made / "model.onnx").write_bytes(model)
        entry = {"sha256": hashlib.sha256(model).hexdigest(), "size": len(model)}
        manifest = {
            "schema_version": 1,
            "name": "tagger",
            "role": "audio",
            "version": version,
            "release": release,
            "adapter": "audioset",
            "files": {"model.onnx": entry},
            "inputs": [{"name": "x", "dtype": "float32", "shape": [1, 8]}],
            "outputs": [{"name": "y", "dtype": "float32", "shape": [1, 2]}],
            "runtime": {"opset": 17},
            "provenance": {"licence": "Apache-2.0", "metrics": {"f1": 0.5}},
        } | changes
        (made / MANIFEST_NAME).write_text(json.dumps(manifest))
        bundle = load_bundle(made)
        sign_bundle(bundle, [self.release_key])
        return bundle

    def add(self, bundle, channel="stable", **more):
        document = publish_release(bundle, self.place, piece_bytes=16384, **more)
        with self.change() as registry:
            registry.add(TEAM, document, channel)
        return document

    def later(self, **delta) -> None:
        self.now += timedelta(**delta)

    def robot(self, name="r1", *, place=None, files=None, **more):
        return Robot(self, name, place or self.place, files or FileSystem(), **more)


class _Change:
    def __init__(self, registry):
        self.registry = registry

    def __enter__(self):
        return self.registry

    def __exit__(self, kind, *_):
        if kind is None:
            self.registry.publish()


class Robot:
    """The real store and the real synchronisation of one robot."""

    def __init__(self, owner, name, place, files, *, device=None, **more) -> None:
        self.owner = owner
        self.store = ReleaseStore(owner.folder / name, files=files)
        self.sync = Sync(
            device=device or Device(id=name),
            store=self.store,
            trust=owner.trust,
            place=place,
            root=owner.root,
            team=TEAM,
            channel="stable",
            **more,
        )

    def poll(self):
        return self.sync.poll(ns(self.owner.now))

    def fetch(self, document):
        return self.sync.fetch(document, ns(self.owner.now))

    def serve(self, sha256, role="audio"):
        before = self.store.slots.get("current")
        self.store.slots.point(previous=before, current={role: sha256})
        self.store.served({role: sha256})

    def update(self):
        """Take all that is offered; return the versions that serve after it."""
        for document in self.poll().offers:
            self.serve(self.fetch(document).sha256)
        return self.versions()

    def versions(self):
        current = self.store.slots.get("current").values()
        return [self.store.release(sha256).manifest.version for sha256 in current]


class Wire:
    """A place seen through a network: counts, breaks, and lies where it is told to."""

    def __init__(self, place) -> None:
        self.place = place
        self.fetched: list[str] = []
        self.bytes = 0
        self.break_after: int | None = None  # requests
        self.answers = {}  # path -> bytes, or a callable that yields parts
        self.before = None  # called with each path

    def _ask(self, path):
        if self.before is not None:
            self.before(path)
        if self.break_after is not None:
            if self.break_after <= 0:
                raise LinkError(f"{path}: the link broke")
            self.break_after -= 1
        self.fetched.append(path)

    def stream(self, path):
        self._ask(path)
        if path in self.answers:
            answer = self.answers[path]
            yield from answer() if callable(answer) else [answer]
            return
        for part in self.place.stream(path):
            self.bytes += len(part)
            yield part

    def read_if_changed(self, path, etag, most_bytes):
        self._ask(path)
        if path in self.answers:
            from edge_perception.fleet.places import bounded

            answer = self.answers[path]
            parts = answer() if callable(answer) else [answer]
            return bounded(iter(parts), path, most_bytes), "lie"
        return self.place.read_if_changed(path, etag, most_bytes)


def copy_of(place: ObjectPlace) -> dict[str, bytes]:
    """Every file of a registry, to be shown again later."""
    return {name: b"".join(place.stream(name)) for name in place.names("")}
