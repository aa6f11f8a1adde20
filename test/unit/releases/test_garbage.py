"""Room in a store: what is in use stays, and the rest goes by age, by refusal or by signer."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from edge_perception.cli.main import main
from edge_perception.core.errors import StoreError
from edge_perception.models.folders import find_bundle, installed_model_folders
from edge_perception.models.manifest import MANIFEST_NAME, load_bundle
from edge_perception.releases.garbage import Keeping, collect_garbage, remove_release
from edge_perception.releases.signing import (
    SIGNATURES_NAME,
    generate_key,
    make_trust,
    public_text,
    sign_bundle,
    write_trust,
)
from edge_perception.releases.store import ReleaseStore


class Filled:
    """A store of releases that were installed one after the other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.source = find_bundle("bev_lite/audio", installed_model_folders()).path
        self.store = ReleaseStore(folder / "store")
        self.installed = 0

    def bundle(self, name, version, **changes):
        made = self.folder / "made" / f"{name}-{version}"
        made.mkdir(parents=True)
        text = json.loads((self.source / MANIFEST_NAME).read_bytes())
        text |= {"name": name, "version": version, **changes}
        (made / MANIFEST_NAME).write_text(json.dumps(text))
        for file in text["files"]:
            (made / file).symlink_to((self.source / file).resolve())
        return load_bundle(made)

    def add(self, name="tagger", version="1.0.0", **changes):
        release = self.store.adopt(self.bundle(name, version, **changes))
        self.installed += 1
        os.utime(release.bundle.path, (self.installed, self.installed))
        return release.sha256

    def versions(self):
        return sorted(f"{r.manifest.name} {r.manifest.version}" for r in self.store.releases())


@pytest.fixture
def filled(tmp_path):
    return Filled(tmp_path)


def test_the_newest_of_each_name_and_what_is_in_use_stay(filled):
    digests = [filled.add(version=f"1.{n}.0") for n in range(6)]
    filled.add("other", "1.0.0")
    filled.store.slots.point(
        factory={"audio": digests[0]}, previous={"audio": digests[1]}, current={"audio": digests[2]}
    )
    gone = collect_garbage(filled.store, Keeping(newest=1))
    assert [(item.version, item.why) for item in gone] == [("1.4.0", "old"), ("1.3.0", "old")]
    assert filled.versions() == [
        "other 1.0.0", "tagger 1.0.0", "tagger 1.1.0", "tagger 1.2.0", "tagger 1.5.0",
    ]  # fmt: skip


def test_what_a_change_under_way_or_a_node_uses_stays(filled):
    old, new, kept, free = (filled.add(version=f"1.{n}.0") for n in range(4))
    filled.store.begin("t", {"audio": old}, {"audio": new}, "tagger")
    gone = collect_garbage(filled.store, Keeping(newest=0), also_in_use={kept})
    assert [item.sha256 for item in gone] == [free]
    with pytest.raises(StoreError, match=r"in use \(a change under way\)"):
        remove_release(filled.store, new)


def test_a_change_does_not_begin_with_a_release_that_was_removed(filled):
    old, new = filled.add(version="1.0.0"), filled.add(version="1.1.0")
    release = filled.store.release(new)
    remove_release(filled.store, new)
    with pytest.raises(StoreError, match="no release"):
        filled.store.begin("t", {"audio": old}, {"audio": new}, "tagger", needed=[release])
    assert filled.store.journal.open_change() is None


def test_blobs_sets_and_measurements_of_nobody_go(filled):
    first, second = filled.add(version="1.0.0"), filled.add(version="1.1.0")
    for sha256 in (first, second):
        filled.store.slots.point(current={"audio": sha256})
    filled.store.notes.remember(first, {"load_s": 1.0})
    blobs = len(list((filled.store.root / "blobs").iterdir()))
    stranger = filled.store.root / "blobs" / ("0" * 64)
    stranger.write_bytes(b"left by a crash")
    collect_garbage(filled.store, Keeping(newest=0))
    assert len(list((filled.store.root / "blobs").iterdir())) == blobs  # shared with the second
    assert filled.store.notes.remembered(first) == {}
    assert len(list((filled.store.root / "sets").iterdir())) == 1
    assert filled.store.slots.get("current") == {"audio": second}
    load_bundle(filled.store.release(second).bundle.path)


def test_refused_and_unreadable_ones_go_and_the_refusal_stays(filled):
    bad, torn, good = (filled.add(version=f"1.{n}.0") for n in range(3))
    filled.store.notes.quarantine(bad, "slower by 3 ms")
    manifest = filled.store.shelf.path(torn) / MANIFEST_NAME
    manifest.write_bytes(manifest.read_bytes()[:100])
    assert collect_garbage(filled.store, Keeping(refused=False)) == []
    gone = {item.sha256: item.why for item in collect_garbage(filled.store, Keeping())}
    assert gone.keys() == {bad, torn}
    assert "slower by 3 ms" in gone[bad]
    assert "its manifest was changed" in gone[torn]
    assert filled.store.shelf.digests() == [good]
    assert filled.store.notes.quarantined(bad)


def test_foreign_ones_go_where_a_trust_file_is_given(filled):
    key, stranger = generate_key(), generate_key()
    digests = {}
    for version, signer in (("1.0.0", key), ("1.1.0", stranger), ("1.2.0", None)):
        digests[version] = filled.add(version=version, expires="2024-01-01T00:00:00Z")
        if signer is not None:
            bundle = filled.store.shelf.bundle(digests[version])
            sign_bundle(bundle, [signer])
            assert (bundle.path / SIGNATURES_NAME).is_file()
    keeping = Keeping(trust=make_trust([public_text(key)]))
    gone = collect_garbage(filled.store, keeping)
    assert {item.version for item in gone} == {"1.1.0", "1.2.0"}  # expired is not foreign
    assert all(item.why.startswith("foreign: ") for item in gone)


def test_the_oldest_go_while_the_disk_is_too_full(filled):
    digests = [filled.add(version=f"1.{n}.0") for n in range(4)]
    filled.store.slots.point(current={"audio": digests[0]})
    free = iter([100, 100, 900])
    gone = collect_garbage(
        filled.store, Keeping(least_free_bytes=500), free_bytes=lambda: next(free)
    )
    assert [item.version for item in gone] == ["1.1.0", "1.2.0"]
    assert all("too little free" in item.why for item in gone)


def test_a_try_removes_nothing(filled):
    for n in range(3):
        filled.add(version=f"1.{n}.0")
    tried = collect_garbage(filled.store, Keeping(newest=1), try_only=True)
    assert len(filled.versions()) == 3
    assert tried == collect_garbage(filled.store, Keeping(newest=1))


# -- the commands --


def models(*arguments):
    return main(["models", *map(str, arguments)])


def test_prune_says_what_goes_and_why(filled, tmp_path, capsys):
    for n in range(3):
        filled.add(version=f"1.{n}.0")
    root = filled.store.root
    assert models("prune", "--store", root, "--keep", "1", "--dry-run") == 0
    assert capsys.readouterr().out.count("would go: tagger 1.") == 2
    assert len(filled.versions()) == 3
    write_trust(tmp_path / "trust.json", make_trust([public_text(generate_key())]))
    arguments = ["--store", root, "--trust", tmp_path / "trust.json", "--json"]
    assert models("prune", *arguments) == 0
    removed = json.loads(capsys.readouterr().out)["removed"]
    assert [item["why"].split(":")[0] for item in removed] == ["foreign"] * 3
    assert models("prune", "--store", root) == 0
    assert "nothing to remove" in capsys.readouterr().out
    assert models("prune", "--store", tmp_path / "nowhere") == 2
    assert not (tmp_path / "nowhere").exists()


def test_remove_takes_one_release_and_only_what_is_free(filled, capsys):
    first, second = filled.add(version="1.0.0"), filled.add(version="1.1.0")
    filled.store.slots.point(current={"audio": second})
    root = filled.store.root
    assert models("remove", "tagger", "--store", root) == 2
    assert "got 2: " in capsys.readouterr().err
    assert models("remove", "tagger:1.1.0", "--store", root) == 1
    assert "in use (current)" in capsys.readouterr().err
    assert models("remove", first[:12], "--store", root) == 0
    assert filled.store.shelf.digests() == [second]


def test_remove_takes_an_imported_bundle(filled, tmp_path, capsys):
    bundle = filled.bundle("mine", "1.0.0")
    where = ["--store", tmp_path / "none", "--folder", bundle.path.parent]
    assert models("remove", "mine:2.0.0", *where) == 2
    assert "mine-1.0.0" in capsys.readouterr().err  # what there is
    assert models("remove", "mine", *where) == 0
    assert not bundle.path.exists()
