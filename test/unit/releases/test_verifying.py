"""Who is trusted, what is refused, and the models that come with the package."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace

import pytest

from edge_perception.cli.main import main
from edge_perception.core.errors import (
    BundleError,
    ClockNotSetError,
    ConfigurationError,
    DeviceKeyError,
    EdgePerceptionError,
    SignatureError,
    StoreError,
)
from edge_perception.core.share import share_directory
from edge_perception.models.folders import find_bundle, installed_model_folders
from edge_perception.models.loading import ModelOptions
from edge_perception.models.manifest import load_bundle
from edge_perception.releases import signing
from edge_perception.releases.loading import load_model
from edge_perception.releases.requests import (
    RequestGate,
    RequestSigner,
    open_signer,
    read_public,
)
from edge_perception.releases.store import ReleaseStore
from edge_perception.releases.verifying import check_release, signatures_required, trust_roots

NOW_NS = 1_800_000_000_000_000_000
SECOND_NS = 10**9
MODELS = share_directory() / "models"
SERVICE = "/lidar_encoder/prepare_model"


@pytest.mark.parametrize(
    "path", sorted(p.parent for p in MODELS.glob("*/*/manifest.json")), ids=lambda p: p.name
)
def test_bundled_models_are_signed_by_the_key_of_the_package(path):
    """`scripts/sign_models` was run after the model was made."""
    assert signing.signers_of(load_bundle(path), signing.read_trust(MODELS / "trust.json"))


def test_no_private_key_lies_in_the_repository():
    for path in MODELS.rglob("*"):
        assert not path.is_file() or b"PRIVATE KEY" not in path.read_bytes()


@pytest.fixture
def bundle(tmp_path):
    source = find_bundle("bev_lite/audio", installed_model_folders())
    shutil.copytree(source.path, tmp_path / "models" / "audio")
    return load_bundle(tmp_path / "models" / "audio")


@pytest.fixture
def trust_file(tmp_path):
    key = signing.generate_key()
    signing.write_trust(tmp_path / "trust.json", signing.make_trust([signing.public_text(key)]))
    return tmp_path / "trust.json", key


def test_when_signatures_are_required():
    for trust_file, asked, required in (
        ("", "auto", False),
        ("", "false", False),
        ("t", "auto", True),
        ("t", "true", True),
        ("t", "false", False),
    ):
        assert signatures_required(trust_file, asked) is required
    with pytest.raises(ConfigurationError, match="expected a trust_file"):
        signatures_required("", "true")


def test_a_bad_signature_is_refused_also_where_none_is_required(bundle, trust_file):
    path, _ = trust_file
    options = ModelOptions(
        model="audio",
        model_folders=(str(bundle.path.parent),),
        trust_file=str(path),
        require_signed="false",
    )
    signing.sign_bundle(bundle, [signing.generate_key()])  # beside the package's, which is enough
    load_model(options, role="audio").backend.close()
    (bundle.path / "signatures.json").unlink()
    load_model(options, role="audio").backend.close()
    signing.sign_bundle(bundle, [signing.generate_key()])
    with pytest.raises(SignatureError, match="is not trusted"):
        load_model(options, role="audio")


def test_a_trust_file_that_is_not_there_lets_nothing_through(bundle, tmp_path):
    options = ModelOptions(model="bev_lite/audio", trust_file=str(tmp_path / "nowhere.json"))
    with pytest.raises(SignatureError, match=r"nowhere\.json"):
        load_model(options, role="audio")


def test_quarantine_and_floor_hold_for_a_bundle_of_a_folder_too(bundle, trust_file, tmp_path):
    path, _ = trust_file
    store = ReleaseStore(tmp_path / "store")
    check = {"now_ns": NOW_NS, "store": store}
    roots = trust_roots(str(path))
    assert check_release(bundle, roots, **check)
    store.notes.raise_floor(bundle.manifest.name, bundle.manifest.release + 1)
    with pytest.raises(SignatureError, match="which served before"):
        check_release(bundle, roots, **check)
    store.slots.point(previous={"audio": bundle.sha256})
    assert check_release(bundle, roots, **check)  # what may be gone back to
    store.notes.quarantine(bundle.sha256, "deaf")
    with pytest.raises(StoreError, match="in quarantine: deaf"):
        check_release(bundle, roots, **check)


def test_a_store_of_older_software_kept_no_signatures(trust_file, tmp_path):
    source = find_bundle("bev_lite/audio", installed_model_folders())
    store = ReleaseStore(tmp_path / "store")
    release = store.adopt(source)
    signatures = release.bundle.path / "signatures.json"
    assert signatures.is_file()
    signatures.unlink()
    store.slots.point(current={"audio": release.sha256})
    options = ModelOptions(
        model="bev_lite/audio", model_store=str(store.root), trust_file=str(trust_file[0])
    )
    load_model(options, role="audio").backend.close()
    store.adopt(source)
    assert signatures.is_file()


def current_release(trust_file, tmp_path):
    """Make a store whose current audio model is signed; return it, its options and its digest."""
    path, key = trust_file
    folder = tmp_path / "current"
    shutil.copytree(find_bundle("bev_lite/audio", installed_model_folders()).path, folder)
    bundle = load_bundle(folder)
    (folder / "signatures.json").unlink()
    signing.sign_bundle(bundle, [key])
    store = ReleaseStore(tmp_path / "store")
    release = store.adopt(bundle)
    store.slots.point(previous={"audio": "0" * 64}, current={"audio": release.sha256})
    options = ModelOptions(
        model="bev_lite/audio", model_store=str(store.root), trust_file=str(path)
    )
    return store, options, release.sha256


@pytest.mark.parametrize(
    "broken",
    [b"", b'{"signed": ', b"[]", b"\xff\xfe", None, "threshold", "key"],
    ids=["empty", "cut off", "a list", "no text", "gone", "threshold", "key"],
)
def test_a_broken_trust_file_is_named_and_no_failed_start_of_a_release(
    trust_file, tmp_path, broken
):
    """What the operator broke must not throw a good set out."""
    store, options, sha256 = current_release(trust_file, tmp_path)
    path = trust_file[0]
    whole = path.read_bytes()
    if broken is None:
        path.unlink()
    elif broken == "threshold":
        path.write_bytes(whole.replace(b'"threshold": 1', b'"threshold": "one"'))
    elif broken == "key":
        data = json.loads(whole)
        data["signed"]["keys"] = {k: v[:-4] for k, v in data["signed"]["keys"].items()}
        path.write_text(json.dumps(data))
    else:
        path.write_bytes(broken)
    for _ in range(4):
        with pytest.raises(SignatureError, match=f"trust file {re.escape(str(path))}: "):
            load_model(options, role="audio")
    assert not store.notes.quarantined(sha256)
    path.write_bytes(whole)
    loaded = load_model(options, role="audio")
    loaded.backend.close()
    assert loaded.bundle.sha256 == sha256


def test_a_runtime_that_is_not_here_and_a_key_that_is_not_given_are_no_failed_starts(
    trust_file, tmp_path, monkeypatch
):
    store, options, sha256 = current_release(trust_file, tmp_path)
    for wrong in ({"backend": "abacus"}, {"provider_options": ("nonsense",)}):
        for _ in range(4):
            with pytest.raises(ConfigurationError):
                load_model(replace(options, **wrong), role="audio")

    def sealed(name):
        raise DeviceKeyError(f"{name}: sealed for one device, and no device_key is given")

    with monkeypatch.context() as patch:
        patch.setattr("edge_perception.releases.shelf.load_bundle", lambda path: sealed(path.name))
        for _ in range(4):
            with pytest.raises(DeviceKeyError):
                load_model(options, role="audio")
    assert not store.notes.quarantined(sha256)
    model = store.shelf.path(sha256) / "model.onnx"
    data = model.read_bytes()
    model.unlink()
    model.write_bytes(data[:-1])
    for _ in range(2):
        with pytest.raises(BundleError, match=r"model\.onnx"):
            load_model(options, role="audio")
    with pytest.raises(EdgePerceptionError):  # what the release itself lacks does count
        load_model(options, role="audio")
    assert "2 failed starts" in store.notes.quarantined(sha256)


@pytest.mark.parametrize("damaged", [b"", b"[1]", b"{", b'{"bev_lite_audio": "many"}'])
def test_what_serves_starts_where_the_floors_are_damaged_and_nothing_else_does(
    trust_file, tmp_path, damaged
):
    store, options, sha256 = current_release(trust_file, tmp_path)
    (store.root / "counters.json").write_bytes(damaged)
    for _ in range(4):
        loaded = load_model(options, role="audio")
        loaded.backend.close()
        assert loaded.bundle.sha256 == sha256
    store.slots.point(current={"audio": "1" * 64})  # no slot has it any more
    with pytest.raises(StoreError, match=r"counters\.json: cannot be read"):
        load_model(options, role="audio", sha256=sha256)


@pytest.mark.parametrize("damaged", [b"", b"two", b"\xff"])
def test_a_damaged_count_of_starts_and_a_quarantine_without_a_reason(trust_file, tmp_path, damaged):
    store, options, sha256 = current_release(trust_file, tmp_path)
    (store.root / "starts" / f"audio-{sha256}").write_bytes(damaged)
    loaded = load_model(options, role="audio")
    loaded.backend.close()
    assert loaded.bundle.sha256 == sha256
    (store.root / "quarantine" / sha256).write_bytes(damaged)
    assert store.notes.quarantined(sha256)
    with pytest.raises(StoreError, match="in quarantine"):
        load_model(options, role="audio", sha256=sha256)


def test_a_clock_that_is_not_set_is_no_failed_start(trust_file, tmp_path, monkeypatch):
    path, key = trust_file
    source = find_bundle("bev_lite/audio", installed_model_folders())
    folder = tmp_path / "dated"
    shutil.copytree(source.path, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["expires"] = "2999-01-01T00:00:00Z"
    (folder / "manifest.json").write_text(json.dumps(manifest))
    bundle = load_bundle(folder)
    signing.sign_bundle(bundle, [key])
    store = ReleaseStore(tmp_path / "store")
    release = store.adopt(bundle)
    store.slots.point(current={"audio": release.sha256})
    options = ModelOptions(
        model="bev_lite/audio", model_store=str(store.root), trust_file=str(path)
    )
    monkeypatch.setattr("edge_perception.releases.loading.time.time_ns", lambda: SECOND_NS)
    for _ in range(3):
        with pytest.raises(ClockNotSetError):
            load_model(options, role="audio")
    assert not store.notes.quarantined(release.sha256)


def test_a_token_is_for_one_request_once_and_for_a_short_time(tmp_path):
    now = [NOW_NS]
    signer = open_signer(tmp_path, lambda: now[0])
    assert (tmp_path / "manager.key").stat().st_mode & 0o777 == 0o600
    public = read_public(tmp_path / "manager.pub")
    request = {"sha256": "ä" * 3, "share": 0.1, "stamp": {"sec": 1, "nanosec": 2}}
    first, second = signer.token(SERVICE, request), signer.token(SERVICE, request)
    assert first != second
    steady = [0]
    gate = RequestGate(lambda: steady[0])
    steady[0] = 60 * SECOND_NS

    def check(token, *, key=public, service=SERVICE, request=request, now_ns=NOW_NS):
        gate.check(key, service, request, token, now_ns=now_ns)

    other = RequestSigner(signing.generate_key(), lambda: NOW_NS).token(SERVICE, request)
    for token in ("", "x", "1.", f"{NOW_NS}.AAAA", "9" * 5000 + ".x", first[:-8], other):
        with pytest.raises(SignatureError):
            check(token)
    for changed in (
        {"service": "/other/prepare_model"},
        {"request": {**request, "share": 0.2}},
        {"key": "nonsense"},
    ):
        with pytest.raises(SignatureError, match="signed for this request"):
            check(first, **changed)
    for now_ns in (NOW_NS + 31 * SECOND_NS, NOW_NS - 31 * SECOND_NS):
        with pytest.raises(SignatureError, match=r"31\.0 s ago"):
            check(first, now_ns=now_ns)
    check(second)  # in any order
    check(first)
    with pytest.raises(SignatureError, match="used before"):
        check(first)
    again = open_signer(tmp_path, lambda: now[0] + SECOND_NS)  # the manager started again
    check(again.token(SERVICE, request), now_ns=NOW_NS + SECOND_NS)


def test_a_token_does_not_come_back_after_the_node_started_again(tmp_path):
    signer = open_signer(tmp_path, lambda: NOW_NS)
    public = read_public(tmp_path / "manager.pub")
    steady = [60 * SECOND_NS]
    token = signer.token(SERVICE, {})
    RequestGate(lambda: steady[0]).check(public, SERVICE, {}, token, now_ns=NOW_NS)
    gate = RequestGate(lambda: steady[0])  # of the node that starts a second after
    steady[0] += SECOND_NS
    with pytest.raises(SignatureError, match="before this node started"):
        gate.check(public, SERVICE, {}, token, now_ns=NOW_NS + 2 * SECOND_NS)
    later = RequestSigner(
        signing.read_key(tmp_path / "manager.key"), lambda: NOW_NS + 2 * SECOND_NS
    )
    gate.check(public, SERVICE, {}, later.token(SERVICE, {}), now_ns=NOW_NS + 2 * SECOND_NS)


def test_downgrade_on_the_command_line(bundle, trust_file, tmp_path, capsys):
    path, key = trust_file
    signing.write_key(tmp_path / "key.pem", key)
    store = ReleaseStore(tmp_path / "store")
    store.notes.raise_floor("aged", 9)
    make = ["models", "downgrade", "aged", "--from-release", "9", "--to-release", "7"]
    make += ["--key", str(tmp_path / "key.pem"), "--out", str(tmp_path / "down.json")]
    assert main([*make, "--reason", " "]) == 1
    assert main([*make, "--reason", "9 is blind"]) == 0
    allow = ["models", "allow-downgrade", str(tmp_path / "down.json"), "--trust", str(path)]
    assert main([*allow, "--store", str(store.root), "--json"]) == 0
    assert store.notes.floors() == {"aged": 7}
    assert main([*allow, "--store", str(store.root)]) == 1
    assert "used here before" in capsys.readouterr().err
