"""A node verifies what it loads, whoever asks and wherever it lies: refused by name, it serves on.

Real nodes with a trust file. Requests carry the manager's token unless it is what is tested, so
what refuses is the check of the model.
"""

from __future__ import annotations

import functools
import shutil
import time
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import pytest
from fault_robot import FaultRobot
from harness import wait_until
from rclpy.parameter import Parameter
from releases import Maker, installed

from edge_perception import msg, srv
from edge_perception.core.errors import BundleError, SignatureError
from edge_perception.models import device_keys
from edge_perception.models.loading import ModelOptions
from edge_perception.models.manifest import load_bundle
from edge_perception.nodes.encoder.node import EncoderNode
from edge_perception.nodes.fusion.node import FusionNode
from edge_perception.nodes.links.request_token import sign_request
from edge_perception.nodes.manager.node import ModelManagerNode
from edge_perception.nodes.topics import qos
from edge_perception.releases import signing
from edge_perception.releases.archive import unpack
from edge_perception.releases.downgrade import apply_downgrade, make_downgrade
from edge_perception.releases.sealing import make_device_key, pack_sealed, read_device

PREPARE = "/lidar_encoder/prepare_model"
COMMIT = "/lidar_encoder/commit_model"


@pytest.fixture(scope="module")
def maker(tmp_path_factory):
    pytest.importorskip("onnx")
    return Maker(tmp_path_factory.mktemp("signed"))


@pytest.fixture(scope="module")
def folder(maker):
    """Bundles beside the store, as an engineer's folder of models."""
    path = maker.folder / "folder"
    path.mkdir()
    return path


@pytest.fixture(scope="module")
def robot(shared_harness, maker, folder):
    fusion = {**maker.node_parameters, "sources": ["lidar"]}
    shared_harness.add(FusionNode, parameters=fusion)
    return FaultRobot(
        shared_harness,
        maker,
        encoder={**maker.node_parameters, "model_folders": [str(folder)]},
    )


def prepare(robot, *, signed=True, **request):
    return ask(robot, PREPARE, srv.PrepareModel.Request(**request), signed=signed)


def ask(robot, service, request, *, signed=True):
    if signed:
        sign_request(robot.manager.parts.managed, service, request)
    type_ = {PREPARE: srv.PrepareModel, COMMIT: srv.CommitModel}.get(service, srv.AbortModel)
    return robot.harness.call(type_, service, request)


def refuses(robot, *texts, **request):
    """The node itself refuses, says why, and the model that ran serves the next frame."""
    before = robot.feature().model
    answer = prepare(robot, **request)
    assert not answer.success
    for text in texts:
        assert text in answer.reason, answer.reason
    after = robot.feature()
    assert after.valid
    assert after.model == before


def put_in_store(maker, bundle):
    """As root would: past the door."""
    return maker.store._keep(load_bundle(bundle.path))


def in_folder(folder, bundle):
    shutil.copytree(bundle.path, folder / bundle.manifest.name, dirs_exist_ok=True)
    return load_bundle(folder / bundle.manifest.name)


def sign_as_released(maker, bundle):
    signing.sign_bundle(bundle, [maker.key])
    return bundle


def test_signed_bundle_is_loaded_from_store_and_folder_and_the_bundled_one_serves(
    robot, maker, folder
):
    assert robot.feature().model.sha256 == installed("lidar").sha256  # signed by the package's key
    kept = put_in_store(maker, sign_as_released(maker, maker.bundle(name="good")))
    laid = in_folder(folder, sign_as_released(maker, maker.bundle(name="laid", scale=1.0003)))
    for bundle in (kept.bundle, laid):
        answer = prepare(robot, name=bundle.manifest.name, sha256=bundle.sha256)
        assert answer.success, answer.reason
        request = srv.AbortModel.Request(transaction_id=answer.transaction_id)
        assert ask(robot, "/lidar_encoder/abort_model", request).success
    assert prepare(robot, name="laid").success  # by its name alone
    assert ask(robot, "/lidar_encoder/abort_model", srv.AbortModel.Request()).success


@pytest.mark.parametrize("place", ["store", "folder", "user"])
def test_unsigned_bundle_is_not_signed_off_by_its_place(robot, maker, folder, place, monkeypatch):
    bundle = maker.bundle(name=f"unsigned_{place}")
    if place == "store":
        put_in_store(maker, bundle)
    elif place == "folder":
        in_folder(folder, bundle)
    else:  # `models import` puts bundles there
        home = maker.folder / "home"
        in_folder(home, bundle)
        monkeypatch.setattr("edge_perception.models.folders.USER_FOLDER", home)
    refuses(robot, bundle.manifest.name, "unsigned bundle", sha256=bundle.sha256)
    if place != "store":
        refuses(robot, bundle.manifest.name, "unsigned bundle", name=bundle.manifest.name)


def test_unsigned_model_for_fusion(robot, maker):
    bundle = maker.bundle("fusion", name="unsigned_fusion")
    put_in_store(maker, bundle)
    views = robot.harness.subscribe(msg.FusedPerception, "perception/fused", qos.FUSED)
    for signed, text in ((True, "unsigned_fusion: expected signatures.json"), (False, "a token")):
        request = srv.PrepareModel.Request(sha256=bundle.sha256)
        service = "/fusion/prepare_model"
        if signed:
            sign_request(robot.manager.parts.managed, service, request)
        answer = robot.harness.call(srv.PrepareModel, service, request)
        assert not answer.success
        assert text in answer.reason
    robot.feature()
    models = views.wait(lambda view: view.models).models
    assert {m.name for m in models} == {"bev_lite_lidar", "bev_lite_fusion"}


def test_signed_by_a_stranger(robot, maker):
    bundle = maker.bundle(name="stranger")
    signing.sign_bundle(bundle, [signing.generate_key()])
    put_in_store(maker, bundle)
    refuses(robot, "stranger", "is not trusted", sha256=bundle.sha256)


@pytest.mark.parametrize("file", ["model.onnx", "manifest.json", "golden_inputs.npz"])
def test_signed_and_changed_after_its_installation(robot, maker, file):
    name = f"tampered_{Path(file).stem}"
    release = maker.install(name=name, scale=1.0 + len(file) * 1e-5)
    path = release.bundle.path / file
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(
        data.replace(b'"release"', b'"release" ') if b"{" in data[:1] else data[:-1] + b"x"
    )
    refuses(
        robot, file if file != "manifest.json" else "manifest was changed", sha256=release.sha256
    )


def test_signed_bundle_that_is_replaced_between_verifying_and_loading(robot, maker, monkeypatch):
    """The bytes that were hashed are the bytes that run."""
    release = maker.install(name="replaced", scale=1.0007)
    from edge_perception.releases import loading

    verified = loading.check_release

    def then_replaced(bundle, *args, **kwargs):
        signers = verified(bundle, *args, **kwargs)
        if bundle.manifest.name == "replaced":
            data = bundle.model_path.read_bytes()
            bundle.model_path.unlink()
            bundle.model_path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        return signers

    monkeypatch.setattr(loading, "check_release", then_replaced)
    refuses(robot, "model.onnx", "sha256", sha256=release.sha256)


def test_signed_and_expired(robot, maker):
    changes = {"expires": "2024-02-01T00:00:00Z"}
    bundle = sign_as_released(maker, maker.bundle(name="expired", changes=changes))
    put_in_store(maker, bundle)
    refuses(robot, "expired 2024-02-01", sha256=bundle.sha256)


def test_signed_and_expired_while_it_lay_in_the_store(robot, maker):
    """Good for the days of grace that the operator gives, and no longer."""
    hour_ago = datetime.fromtimestamp(time.time() - 3600, tz=timezone.utc)
    changes = {"expires": hour_ago.strftime("%Y-%m-%dT%H:%M:%SZ")}
    bundle = sign_as_released(maker, maker.bundle(name="old_now", scale=1.0013, changes=changes))
    put_in_store(maker, bundle)
    assert prepare(robot, sha256=bundle.sha256).success
    assert ask(robot, "/lidar_encoder/abort_model", srv.AbortModel.Request()).success
    strict = replace(maker.trust.signed, offline_grace_days=0)
    signing.write_trust(maker.trust_file, replace(maker.trust, signed=strict))
    try:
        refuses(robot, "old_now: expired", sha256=bundle.sha256)
        robot.refuses("old_now", "old_now: expired")
    finally:
        signing.write_trust(maker.trust_file, maker.trust)


@pytest.mark.parametrize("broken", [b"", b'{"signed": {', b'{"signed": {}, "signatures": []}'])
def test_signed_models_are_refused_while_the_trust_file_is_broken(robot, maker, broken):
    release = maker.install(name="untold", scale=1.0017)
    whole = maker.trust_file.read_bytes()
    maker.trust_file.write_bytes(broken)
    try:
        refuses(robot, f"trust file {maker.trust_file}: ", sha256=release.sha256)
        robot.refuses("untold", f"trust file {maker.trust_file}: ")
    finally:
        maker.trust_file.write_bytes(whole)
    assert prepare(robot, sha256=release.sha256).success  # mended: nobody starts anything again
    assert ask(robot, "/lidar_encoder/abort_model", srv.AbortModel.Request()).success


@pytest.mark.parametrize(
    ("signers", "text"),
    [("stranger", "is not trusted"), ("", "got an unsigned bundle")],
    ids=["signed by a stranger", "unsigned"],
)
def test_a_signed_model_does_not_bring_a_set_in_whose_others_are_not(robot, maker, signers, text):
    """The whole set is refused before any node loads a model of it."""
    kind = signers or "unsigned"
    space = f"bev_lite-{kind}"
    lidar = maker.bundle(
        name=f"lidar_{kind}", scale=1.0019, changes={"feature_space": space, "gates": {}}
    )
    put_in_store(maker, sign_as_released(maker, lidar))
    fusion = maker.bundle("fusion", name=f"fusion_{kind}", changes={"compatible_with": [space]})
    if signers:
        signing.sign_bundle(fusion, [signing.generate_key()])
    put_in_store(maker, fusion)
    since = len(robot.events.messages)
    robot.refuses(f"lidar_{kind}", f"fusion_{kind}: ", text)
    assert "prepared" not in {event.event for event in robot.events.messages[since:]}
    assert prepare(robot, sha256=lidar.sha256).success  # no node is left with a part of it
    assert ask(robot, "/lidar_encoder/abort_model", srv.AbortModel.Request()).success


def test_signed_and_older_than_what_served_unless_a_signed_statement_allows_it(robot, maker):
    old = maker.bundle(name="aged", version="2.0.0", release=2)
    archive = maker.signed(old)
    new = maker.install(name="aged", version="3.0.0", release=3)
    # Installed and never committed: the older one is not locked out.
    assert maker.store.install(archive, maker.trust, now_ns=time.time_ns()).sha256 == old.sha256
    assert robot.swap("aged", "3.0.0").success
    robot.serves("3.0.0")
    assert robot.roll_back().success
    wait_until(lambda: robot.feature().model.sha256 == installed("lidar").sha256, "rolled back")
    refuses(robot, "release 2 is older than 3", sha256=old.sha256)
    robot.refuses("aged", "release 2 is older than 3", version="2.0.0")
    with pytest.raises(SignatureError, match="older than 3"):
        maker.store.install(archive, maker.trust, now_ns=time.time_ns())
    assert prepare(robot, sha256=new.sha256).success  # what served may serve again
    ask(robot, "/lidar_encoder/abort_model", srv.AbortModel.Request())

    def statement(**more):
        fields = {"from_release": 3, "to_release": 2, "reason": "3 is slow", "expires": ""}
        return make_downgrade("aged", **{**fields, "keys": [maker.key], **more})

    def allow(statement):
        return apply_downgrade(maker.store, statement, maker.trust, now_ns=time.time_ns())

    for bad, text in (
        ({"keys": [signing.generate_key()]}, "not trusted"),
        ({"from_release": 4}, "here release 3 is the highest"),
        ({"expires": "2024-01-01T00:00:00Z"}, "expired"),
    ):
        with pytest.raises(SignatureError, match=text):
            allow(statement(**bad))
    allow(statement())
    assert robot.swap("aged", "2.0.0").success
    robot.serves("2.0.0")
    with pytest.raises(SignatureError, match="used here before"):
        allow(statement())


def test_signed_requests_only_where_signatures_are_asked_for(robot, maker):
    release = maker.install(name="asked", scale=1.0011)
    refuses(robot, PREPARE, "expected a token", sha256=release.sha256, signed=False)
    # A token is good for its own request, once, and for one node.
    managed = robot.manager.parts.managed
    request = srv.PrepareModel.Request(sha256=release.sha256)
    elsewhere = sign_request(managed, "/camera_encoder/prepare_model", request)
    assert "signed for this request" in ask(robot, PREPARE, elsewhere, signed=False).reason
    other = srv.PrepareModel.Request(sha256="0" * 64)
    other.token = sign_request(managed, PREPARE, request).token
    assert "signed for this request" in ask(robot, PREPARE, other, signed=False).reason
    answer = ask(robot, PREPARE, request, signed=False)
    assert answer.success, answer.reason
    again = ask(robot, PREPARE, request, signed=False)
    assert "used before" in again.reason
    # What is prepared does not serve, and does not go, without one.
    commit = srv.CommitModel.Request(transaction_id=answer.transaction_id)
    assert "expected a token" in ask(robot, COMMIT, commit, signed=False).reason
    abort = srv.AbortModel.Request(transaction_id=answer.transaction_id)
    service = "/lidar_encoder/abort_model"
    assert "expected a token" in ask(robot, service, abort, signed=False).reason
    trial = srv.TrialModel.Request(
        transaction_id=answer.transaction_id, mode=srv.TrialModel.Request.CANARY, share=1.0
    )
    refused = robot.harness.call(srv.TrialModel, "/lidar_encoder/trial_model", trial)
    assert "expected a token" in refused.reason
    assert robot.feature().model.sha256 != release.sha256
    assert ask(robot, service, abort).success


def test_signed_and_sealed_for_this_device_only(harness, monkeypatch, tmp_path):
    monkeypatch.setattr(device_keys, "_named", "")
    monkeypatch.setattr(device_keys, "_key", None)
    maker = Maker(tmp_path)
    device = read_device(make_device_key(tmp_path / "device.pem"))
    other = read_device(make_device_key(tmp_path / "other.pem"))
    key = {"device_key": str(tmp_path / "device.pem")}
    robot = FaultRobot(harness, maker, encoder={**maker.node_parameters, **key}, **key)
    theirs = sign_as_released(maker, maker.bundle(name="theirs", scale=1.0015))
    archive = pack_sealed(theirs, other, tmp_path / "theirs.bundle")
    with pytest.raises(BundleError, match="sealed for the device"):
        maker.store.install(archive, maker.trust, now_ns=time.time_ns())
    folder = tmp_path / "unpacked"
    folder.mkdir()
    unpack(archive, folder)
    maker.store.shelf.keep(replace(theirs, path=folder))  # past the door
    refuses(robot, "sealed for the device", sha256=theirs.sha256)
    ours = sign_as_released(maker, maker.bundle(name="ours"))
    archive = pack_sealed(ours, device, tmp_path / "ours.bundle")
    assert maker.store.install(archive, maker.trust, now_ns=time.time_ns()).bundle.sealed
    answer = robot.swap("ours")  # admitted, loaded and served from memory
    assert answer.success, answer.reason
    robot.serves("9.9.9")


def test_unsigned_model_does_not_start_where_only_signed_ones_may(harness, maker, folder):
    """At configure: the node says why, and configures once it is signed."""
    bundle = in_folder(folder, maker.bundle(name="starts"))
    parameters = {"model": "starts", "model_folders": [str(folder)]}
    asks = {"trust_file": str(maker.trust_file)}
    for more, text in (
        (asks, "starts: expected signatures.json, got an unsigned bundle"),
        ({"require_signed": True}, "expected a trust_file"),
    ):
        node = harness.add(EncoderNode, "lidar", parameters={**parameters, **more})
        assert node.state == "unconfigured"
        assert text in node._failure
        node.close()
    for more in ({}, {**asks, "require_signed": False}):
        node = harness.add(EncoderNode, "lidar", parameters={**parameters, **more})
        assert node.state == "active", node._failure
        node.close()
    signing.sign_bundle(bundle, [maker.key])
    node = harness.add(EncoderNode, "lidar", parameters={**parameters, **asks})
    assert node.state == "active", node._failure


@pytest.mark.parametrize("name", ["trust_file", "require_signed", "model_folders", "backend"])
def test_unsigned_models_do_not_get_in_by_parameters_of_a_node_that_was_cleaned_up(
    harness, maker, folder, name
):
    """Who is on the domain can clean up, set and configure: not what says who may serve."""
    parameters = {"trust_file": str(maker.trust_file), "autostart": False}
    node = harness.add(EncoderNode, "lidar", parameters=parameters)
    value = {"trust_file": "", "require_signed": "false", "model_folders": [str(folder)]}
    answer = node.set_parameters([Parameter(name, value=value.get(name, "kserve"))])[0]
    assert not answer.successful
    assert f"{name}: cannot change: trust_file is set" in answer.reason
    assert getattr(node._models._options.config, name) == getattr(
        ModelOptions(model="", trust_file=str(maker.trust_file)), name
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cloud.tiers", ["site http://10.0.0.66:8000"]),
        ("cloud.privacy", "none"),
        ("cloud.doubt_bits", 0.0),
    ],
)
def test_frames_do_not_go_elsewhere_by_parameters_where_models_are_signed(
    harness, maker, name, value
):
    """What a server answers stands in the output, and nobody signed the model that it runs."""
    parameters = {"trust_file": str(maker.trust_file), "autostart": False}
    node = harness.add(EncoderNode, "lidar", parameters=parameters)
    before = node.get_parameter(name).value
    answer = node.set_parameters([Parameter(name, value=value)])[0]
    assert not answer.successful
    assert answer.reason.startswith(f"{name}: ")
    assert "trust_file is set" in answer.reason
    assert node.get_parameter(name).value == before
    assert node.set_parameters([Parameter("cloud.doubt_bits", value=0.9)])[0].successful


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("slo_file", "lax.yaml"),
        ("degradation_policy", "lax.yaml"),
        ("late_hold_s", 5.0),
        ("calibration_warn_deg", 90.0),
        ("odometry_topic", "elsewhere"),
        ("monitor.drift_reference", "lax.json"),
        ("monitor.conditions", False),
    ],
)
def test_signed_models_are_judged_by_the_files_that_the_operator_gave_at_the_start(
    harness, maker, name, value
):
    """A burn rolls back: who may name another bar could keep a bad model, or lose a good one."""
    make = functools.partial(EncoderNode, "lidar") if "monitor" in name else FusionNode
    for number, trust in enumerate(({}, {"trust_file": str(maker.trust_file)})):
        node = harness.add(
            make, parameters={"autostart": False, **trust}, namespace=f"/held_{number}"
        )
        before = node.get_parameter(name).value
        answer = node.set_parameters([Parameter(name, value=value)])[0]
        assert answer.successful == (not trust), answer.reason
        if trust:
            assert answer.reason.startswith(f"{name}: ")
            assert "trust_file is set" in answer.reason
            assert node.get_parameter(name).value == before


def test_what_is_stricter_may_be_asked_of_a_trusted_output_while_it_is_unconfigured(harness, maker):
    parameters = {"trust_file": str(maker.trust_file), "autostart": False, "late_hold_s": 2.0}
    node = harness.add(FusionNode, parameters=parameters)
    for name, value in (("late_hold_s", 1.0), ("calibration_warn_deg", 1.0)):
        assert node.set_parameters([Parameter(name, value=value)])[0].successful
        assert node.get_parameter(name).value == value


@pytest.mark.parametrize(
    ("name", "loose", "strict"),
    [
        ("admission_memory_mb", 4096, 512),
        ("admission_deadline_s", 600.0, 20.0),
        ("admission_latency_factor", 100.0, 2.0),
        ("admission_latency_runs", 20, 200),
        ("admission_reserve_mb", 0, 256),
        ("fleet_registry", "http://10.0.0.66", None),
        ("fleet_channel", "dev", None),
    ],
)
def test_the_bar_of_candidates_is_only_raised_where_models_are_signed(
    harness, maker, name, loose, strict
):
    parameters = {"trust_file": str(maker.trust_file), "autostart": False}
    node = harness.add(ModelManagerNode, parameters=parameters)
    before = node.get_parameter(name).value
    answer = node.set_parameters([Parameter(name, value=loose)])[0]
    assert not answer.successful
    assert answer.reason.startswith(f"{name}: ")
    assert "trust_file is set" in answer.reason
    assert node.get_parameter(name).value == before
    if strict is not None:
        assert node.set_parameters([Parameter(name, value=strict)])[0].successful
