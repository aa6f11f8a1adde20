"""Opening a store of many releases: counted in work, not in time."""

from __future__ import annotations

import builtins
import io
import os
import typing
from collections import Counter
from pathlib import Path

import pytest

from edge_perception.bench._store_time import make_store
from edge_perception.models.folders import find_bundle, installed_model_folders
from edge_perception.releases import shelf
from edge_perception.releases.store import ReleaseStore

RELEASES = 50


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = find_bundle("bev_lite/audio", installed_model_folders()).path
    return make_store(tmp_path_factory.mktemp("store"), source, releases=RELEASES)


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts files that are opened, by name, and types that are resolved."""
    counts: Counter[str] = Counter()
    real_open, real_hints = io.open, typing.get_type_hints

    def counted(file, *args, **kwargs):
        counts[Path(os.fspath(file)).name] += 1
        return real_open(file, *args, **kwargs)

    def hints(*args, **kwargs):
        counts["types"] += 1
        return real_hints(*args, **kwargs)

    monkeypatch.setattr(io, "open", counted)
    monkeypatch.setattr(builtins, "open", counted)
    monkeypatch.setattr(typing, "get_type_hints", hints)
    return counts


def test_each_manifest_is_read_once_and_nothing_else(root: Path, work: Counter[str]) -> None:
    shelf.parsed_manifest.cache_clear()
    found = ReleaseStore(root).releases()
    assert len(found) == RELEASES
    assert work.pop("types", 0) <= 12  # once a dataclass, not once a manifest
    assert work == {"manifest.json": RELEASES}


def test_a_manifest_is_parsed_once_a_process(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ReleaseStore(root)
    store.releases()

    def refuse(text: bytes) -> None:
        raise AssertionError("parsed again")

    monkeypatch.setattr(shelf, "parse_manifest", refuse)
    assert store.find("bev_lite_audio").manifest.version == f"1.{RELEASES - 1}.0"
    assert len(store.releases()) == RELEASES


def test_one_release_of_many_reads_one_manifest(root: Path, work: Counter[str]) -> None:
    store = ReleaseStore(root)
    sha256 = next(iter(sorted(path.name for path in (root / "releases").iterdir())))
    store.release(sha256)
    assert work["manifest.json"] == 1
