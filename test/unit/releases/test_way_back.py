"""From releases that must not serve to a set that served before."""

from __future__ import annotations

import hashlib
import json
from itertools import pairwise

import pytest

from edge_perception.core.errors import StoreError
from edge_perception.models.manifest import MANIFEST_NAME, load_bundle
from edge_perception.releases.journal import Record
from edge_perception.releases.store import ReleaseStore
from edge_perception.releases.way_back import way_back


class Made:
    """A store whose sets are told by versions: `c1` is version 1 of the model of role `c`."""

    def __init__(self, folder):
        self.folder, self.store = folder, ReleaseStore(folder / "store")
        self.digests: dict[str, str] = {}

    def sha(self, label):
        if label not in self.digests:
            path = self.folder / label
            path.mkdir()
            role, version = label[0], label[1:].rstrip("x")
            (path / "model.onnx").write_bytes(label.encode())
            manifest = {
                "schema_version": 1,
                "name": role,
                "role": "camera",
                "version": f"{version}.0.0",
                "release": int(version),
                "adapter": "lidar_bev",
                "feature_space": "other" if label.endswith("x") else "one",
                "files": {"model.onnx": {"sha256": _sha256(label), "size": len(label)}},
                "inputs": [{"name": "x", "dtype": "float32", "shape": [1]}],
                "outputs": [{"name": "y", "dtype": "float32", "shape": [1]}],
                "runtime": {"opset": 17},
                "provenance": {"licence": "Apache-2.0"},
            }
            (path / MANIFEST_NAME).write_text(json.dumps(manifest))
            self.digests[label] = self.store.adopt(load_bundle(path)).sha256
        return self.digests[label]

    def set_of(self, text):
        return {label[0]: self.sha(label) for label in text.split()}

    def serve(self, *texts):
        """Let sets serve one after the other; the first is the factory's."""
        sets = [self.set_of(text) for text in texts]
        self.store.slots.point(factory=sets[0], current=sets[0])
        for number, (before, after) in enumerate(pairwise(sets)):
            record = Record(transaction_id=str(number), step="done", before=before, after=after)
            self.store.journal.append(record)
            self.store.slots.point(previous=before, current=after)

    def back(self, *left):
        named = {sha256: label for label, sha256 in self.digests.items()}
        found = way_back(self.store, {self.sha(label) for label in left})
        return " ".join(named[sha256] for _, sha256 in sorted(found.items()))


def _sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture
def made(tmp_path):
    return Made(tmp_path)


def test_the_set_before_the_change_that_brought_it(made):
    made.serve("a1 c1", "a1 c2", "a2 c3")  # two that belong together
    assert made.back("c3") == "a1 c2"


def test_another_model_that_changed_since_stays(made):
    """Two rollouts: the older one is stopped, and the one before the newest change has it still."""
    made.serve("a1 c1", "a1 c2", "a2 c2")
    assert made.back("c2") == "a2 c1"


def test_not_the_factorys_where_something_newer_served(made):
    made.serve("a1 c1", "a1 c2", "a1 c3", "a2 c3")
    assert made.back("c3") == "a2 c2"


def test_both_stopped_at_once(made):
    made.serve("a1 c1", "a1 c2", "a2 c2")
    assert made.back("c2", "a2") == "a1 c1"


def test_what_is_in_quarantine_or_gone_is_no_way_back(made):
    made.serve("a1 c1", "a1 c2", "a1 c3")
    made.store.notes.quarantine(made.sha("c2"), "burnt")
    assert made.back("c3") == "a1 c1"
    made.store.disk.files.remove(made.store.root / "releases" / made.sha("c1"))
    with pytest.raises(StoreError, match="no set that served before"):
        made.back("c3")


def test_what_does_not_fit_beside_the_others_comes_with_its_own_set_only(made):
    made.serve("a1 c1x", "a1 c2", "a2 c2")
    assert made.back("c2") == "a1 c1x"


def test_a_damaged_journal_leaves_the_slots(made):
    made.serve("a1 c1", "a1 c2", "a2 c2")
    path = made.store.root / "journal.jsonl"
    path.write_bytes(b"damaged\n" + path.read_bytes())
    assert made.back("c2") == "a2 c1"


def test_a_machine_that_never_changed_has_no_way_back(made):
    made.store.slots.point(factory=made.set_of("a1"), current=made.set_of("a1"))
    with pytest.raises(StoreError):
        made.back("a1")
