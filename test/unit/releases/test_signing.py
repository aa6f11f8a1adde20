"""Signatures, thresholds, rotation and canonical JSON."""

import dataclasses
import shutil
import time

import pytest

from edge_perception.core.errors import SignatureError
from edge_perception.models.folders import find_bundle, installed_model_folders
from edge_perception.models.manifest import load_bundle
from edge_perception.releases.archive import pack, unpack
from edge_perception.releases.canonical import canonical_json
from edge_perception.releases.signing import (
    SIGNATURES_NAME,
    generate_key,
    make_trust,
    public_text,
    read_key,
    read_trust,
    rotate,
    sign_bundle,
    sign_trust,
    verify_signatures,
    write_key,
    write_trust,
)
from edge_perception.releases.store import ReleaseStore

NOW_NS = time.time_ns()


@pytest.fixture
def bundle(tmp_path):
    source = find_bundle("bev_lite/audio", installed_model_folders())
    shutil.copytree(source.path, tmp_path / "bundle")
    (tmp_path / "bundle" / SIGNATURES_NAME).unlink()  # of the package's release
    return load_bundle(tmp_path / "bundle")


def trust_of(*keys, threshold=1):
    return make_trust([public_text(key) for key in keys], threshold=threshold)


def test_canonical_json_has_one_text():
    assert (
        canonical_json({"b": [1, True, None], "a": "ä"}) == '{"a":"ä","b":[1,true,null]}'.encode()
    )
    for value in (1.5, {"a": float("nan")}, {1: 2}, [0.0]):
        with pytest.raises(SignatureError):
            canonical_json(value)


def test_threshold_counts_different_trusted_keys(bundle):
    one, two, stranger = generate_key(), generate_key(), generate_key()
    trust = trust_of(one, two, threshold=2)
    sign_bundle(bundle, [one, stranger])
    with pytest.raises(SignatureError, match="expected 2 trusted signatures, got 1"):
        verify_signatures(bundle, trust, now_ns=NOW_NS)
    sign_bundle(bundle, [one])  # again the same key
    with pytest.raises(SignatureError, match="got 1"):
        verify_signatures(bundle, trust, now_ns=NOW_NS)
    sign_bundle(bundle, [two])
    assert len(verify_signatures(bundle, trust, now_ns=NOW_NS)) == 2


def test_unsigned_and_malformed_signatures(bundle):
    trust = trust_of(generate_key())
    with pytest.raises(SignatureError, match="got an unsigned bundle"):
        verify_signatures(bundle, trust, now_ns=NOW_NS)
    for text in ("", "[]", "{", '{"signed": {}, "signatures": [], "more": 1}', "x" * 70_000):
        (bundle.path / SIGNATURES_NAME).write_text(text)
        with pytest.raises(SignatureError):
            verify_signatures(bundle, trust, now_ns=NOW_NS)


def test_rotation_needs_old_and_new_keys_and_the_next_version(bundle):
    old, new = generate_key(), generate_key()
    current = trust_of(old)
    successor = make_trust([public_text(new)], version=2)
    with pytest.raises(SignatureError, match="trust, old keys"):
        rotate(current, sign_trust(successor, [new]))
    with pytest.raises(SignatureError, match="trust, new keys"):
        rotate(current, sign_trust(successor, [old]))
    rotated = rotate(current, sign_trust(successor, [old, new]))
    skipped = make_trust([public_text(new)], version=3)
    with pytest.raises(SignatureError, match="expected version 2, got 3"):
        rotate(current, sign_trust(skipped, [old, new]))
    sign_bundle(bundle, [old])
    with pytest.raises(SignatureError, match="not trusted"):
        verify_signatures(bundle, rotated, now_ns=NOW_NS)


def test_trust_file_round_trip_and_refusals(tmp_path):
    trust = trust_of(generate_key())
    write_trust(tmp_path / "trust.json", trust)
    assert read_trust(tmp_path / "trust.json") == trust
    bad = dataclasses.replace(trust.signed, threshold=2)
    write_trust(tmp_path / "trust.json", dataclasses.replace(trust, signed=bad))
    with pytest.raises(SignatureError, match="threshold 2 of only 1"):
        read_trust(tmp_path / "trust.json")


def test_private_keys_are_private_and_never_overwritten(tmp_path):
    key = generate_key()
    write_key(tmp_path / "key.pem", key)
    assert (tmp_path / "key.pem").stat().st_mode & 0o777 == 0o600
    assert public_text(read_key(tmp_path / "key.pem")) == public_text(key)
    with pytest.raises(SignatureError):
        write_key(tmp_path / "key.pem", key)
    (tmp_path / "other").write_text("no key")
    with pytest.raises(SignatureError, match="in PEM"):
        read_key(tmp_path / "other")


def test_an_archive_gives_the_bundle_back_and_is_reproducible(bundle, tmp_path):
    sign_bundle(bundle, [generate_key()])
    first, second = pack(bundle, tmp_path / "1"), pack(bundle, tmp_path / "2")
    assert first.read_bytes() == second.read_bytes()
    into = tmp_path / "into"
    into.mkdir()
    unpack(first, into)
    assert load_bundle(into).sha256 == bundle.sha256


def test_bundles_share_blobs(bundle, tmp_path):
    key = generate_key()
    store = ReleaseStore(tmp_path / "store")
    adopted = store.adopt(bundle)
    store.slots.point(factory={"audio": adopted.sha256}, current={"audio": adopted.sha256})
    text = (bundle.path / "manifest.json").read_text()
    (bundle.path / "manifest.json").write_text(text.replace('"release": ', '"release": 1'))
    other = load_bundle(bundle.path)
    sign_bundle(other, [key])
    release = store.install(pack(other, tmp_path / "a"), trust_of(key), now_ns=NOW_NS)
    assert release.sha256 != adopted.sha256
    assert len(list((tmp_path / "store" / "blobs").iterdir())) == len(bundle.manifest.files)
    assert release.bundle.model_path.samefile(adopted.bundle.model_path)
