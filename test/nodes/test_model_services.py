"""The model manager and the nodes whose models it changes, over real services."""

from __future__ import annotations

import json
import time

import pytest
import sensors
from harness import wait_until
from rclpy.qos import qos_profile_sensor_data
from releases import Maker
from sensor_msgs.msg import PointCloud2

from edge_perception import msg, srv
from edge_perception.core.errors import InvalidOutputError
from edge_perception.encoders.pipeline import EncoderPipeline
from edge_perception.encoders.serving import ServedModel
from edge_perception.models.sessions import SESSIONS, SharedSession
from edge_perception.nodes.encoder.node import EncoderNode
from edge_perception.nodes.manager.node import ModelManagerNode
from edge_perception.nodes.topics import qos
from edge_perception.releases.managed import ManagedStore


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A store with a second release of the LiDAR model, and a damaged one."""
    pytest.importorskip("onnx")
    maker = Maker(tmp_path_factory.mktemp("models"))
    maker.install(name="second")
    damaged = maker.install(name="damaged", scale=1.0002)
    model = damaged.bundle.model_path
    data = bytearray(model.read_bytes())
    data[len(data) // 2] ^= 1
    model.write_bytes(data)
    maker.install("audio", name="second_audio")
    return maker


class Robot:
    def __init__(self, harness, maker, *, parameters=None, manager=None, encoder=None):
        harness.add(EncoderNode, "lidar", parameters={**maker.node_parameters, **(encoder or {})})
        usual = {"commit_delay_s": 0.05, "admission_latency_factor": 50.0}
        parameters = {**maker.parameters, **usual, **(parameters or {})}
        self.manager = harness.add(ModelManagerNode, parameters=parameters, **(manager or {}))
        self.features = harness.subscribe(msg.Feature, "features/lidar")
        self.events = harness.subscribe(msg.ModelEvent, "model_events", qos.EVENTS)
        self.publisher = harness.driver.create_publisher(
            PointCloud2, "lidar/points", qos_profile_sensor_data
        )
        self.harness = harness
        harness.start()
        wait_until(
            lambda: (
                self.publisher.get_subscription_count()
                and harness.driver.count_publishers("features/lidar")
                and self.manager.parts.client.nodes()
            ),
            "discovery",
        )

    def feature(self):
        since = len(self.features.messages)
        self.publisher.publish(sensors.cloud(time.time_ns(), points=500))
        return self.features.wait(since=since)

    def call(self, type_, service, **request):
        return self.harness.call(type_, f"/model_manager/{service}", type_.Request(**request))

    def swap(self, name, version="", **more):
        more = {"role": "lidar", "skip_trial": True, **more}
        return self.call(srv.SwapModel, "swap_model", name=name, version=version, **more)


@pytest.fixture
def robot(harness, prepared):
    return Robot(harness, prepared)


def test_versions_are_reported_as_the_nodes_serve_them(robot):
    feature = robot.feature()
    answer = robot.call(srv.GetVersions, "get_versions")
    assert not answer.unreachable
    (info,) = answer.models
    assert info.model == feature.model
    assert info.node == "/lidar_encoder"
    assert info.provider == "CPUExecutionProvider"
    assert info.frames_served == 1


def test_a_swap_takes_effect_at_a_stamp_and_rolls_back(robot, prepared):
    before = robot.feature().model
    answer = robot.swap("second")
    assert answer.success, answer.reason
    assert prepared.store.slots.get("current")["lidar"] == answer.current.sha256
    assert answer.previous == before
    assert answer.current.version == "9.9.9"
    wait_until(lambda: robot.feature().model.version == "9.9.9", "the second release serves")
    answer = robot.call(srv.RollbackModel, "rollback_model", role="lidar")
    assert answer.success, answer.reason
    wait_until(lambda: robot.feature().model == before, "the first release serves again")


def test_a_rollback_takes_the_session_that_is_still_loaded(robot, prepared, monkeypatch):
    from edge_perception.nodes.changes import steps as change_steps
    from edge_perception.nodes.encoder import models as encoder_models

    def must_not_run(*_, **__):
        raise AssertionError("a rollback loads, verifies and admits nothing")

    before = robot.feature().model
    answer = robot.swap("second")
    assert answer.success, answer.reason
    wait_until(lambda: robot.feature().model.version == "9.9.9", "the second release serves")
    # The model that left is taken before the next frame at the latest.
    listed = robot.call(srv.GetVersions, "get_versions").models
    assert [(info.slot, info.model) for info in listed] == [
        ("current", answer.current),
        ("previous", before),
    ]
    monkeypatch.setattr(encoder_models, "load_model", must_not_run)
    monkeypatch.setattr(change_steps, "admit_once", must_not_run)
    monkeypatch.setattr(ManagedStore, "verify", must_not_run)
    for version in (
        before.version,
        "9.9.9",
        before.version,
    ):  # to and fro: each leaves the other one loaded
        answer = robot.call(srv.RollbackModel, "rollback_model")
        assert answer.success, answer.reason
        wait_until(lambda v=version: robot.feature().model.version == v, f"{version} serves")


def test_without_a_kept_session_a_rollback_loads(harness, prepared):
    robot = Robot(harness, prepared, encoder={"keep_previous_warm": False, "threads": 2})
    before = robot.feature().model
    assert robot.swap("second").success
    # It was tried as this node runs it.
    measured = prepared.store.notes.remembered(prepared.store.find("second").sha256)["measured"]
    assert 2 in [json.loads(way)[0]["threads"] for way in measured]
    wait_until(lambda: robot.feature().model.version == "9.9.9", "the second release serves")
    (info,) = robot.call(srv.GetVersions, "get_versions").models
    assert info.slot == "current"
    answer = robot.call(srv.RollbackModel, "rollback_model")
    assert answer.success, answer.reason
    wait_until(lambda: robot.feature().model == before, "the first release serves again")


@pytest.mark.parametrize(
    ("name", "version", "text"),
    [
        ("damaged", "", "sha256"),
        ("second_audio", "", "expected a model of role lidar, got audio"),
        ("second", "1.0.0", "expected version 1.0.0, got 9.9.9"),
        ("nowhere", "", "known:"),
        ("../../etc", "", "known:"),
    ],
)
def test_a_bad_model_is_refused_and_the_running_one_untouched(robot, name, version, text):
    before = robot.feature().model
    answer = robot.swap(name, version)
    assert not answer.success
    assert text in answer.reason
    assert robot.feature().model == before


def test_an_unknown_role_names_the_served_ones(robot):
    answer = robot.call(srv.SwapModel, "swap_model", role="radar", name="second")
    assert not answer.success
    assert "served: lidar" in answer.reason


@pytest.mark.parametrize("missing", ["trust_file", "model_store"])
def test_swapping_is_off_without_trusted_keys_or_store(harness, prepared, missing):
    robot = Robot(harness, prepared, parameters={missing: ""})
    answer = robot.swap("second")
    assert not answer.success
    assert missing in answer.reason


def test_stored_models_are_listed_and_verified(robot):
    listed = robot.call(srv.ListModels, "list_models", role="lidar").models
    assert {info.model.name for info in listed} >= {"second", "bev_lite_lidar"}
    assert {info.model.role for info in listed} == {"lidar"}
    second = next(info for info in listed if info.model.name == "second")
    assert second.signer
    assert robot.call(srv.VerifyModel, "verify_model", name="second").success
    damaged = robot.call(srv.VerifyModel, "verify_model", name="damaged")
    assert not damaged.success
    assert "model.onnx" in damaged.problems[0]


def test_every_step_is_an_event_and_in_the_log(robot, prepared):
    before = robot.feature().model
    answer = robot.swap("second")
    assert answer.success, answer.reason
    wait_until(lambda: robot.feature().model.version == "9.9.9", "the second release serves")
    robot.events.wait(lambda e: e.event == "done")
    mine = [e for e in robot.events.messages if e.transaction_id == answer.transaction_id]
    assert [e.event for e in mine] == [
        "begin",
        "admitted",
        "prepared",
        "commit",
        "committed",
        "done",
    ]
    log = (prepared.root / "events.jsonl").read_text()
    assert log.count(answer.transaction_id) == len(mine)
    answer = robot.call(
        srv.RollbackModel, "rollback_model", role="lidar", slot="factory", reason=""
    )
    assert answer.success, answer.reason
    wait_until(lambda: robot.feature().model == before, "the factory's model serves again")


def test_prepare_commit_abort_in_the_wrong_order(harness, prepared):
    robot = Robot(harness, prepared, encoder={"trust_file": ""})  # where anybody is answered
    second = prepared.store.find("second").sha256

    def call(type_, service, **request):
        return robot.harness.call(type_, f"/lidar_encoder/{service}", type_.Request(**request))

    assert not call(srv.CommitModel, "commit_model", transaction_id="x").success
    prepared = call(srv.PrepareModel, "prepare_model", sha256=second)
    assert prepared.success, prepared.reason
    assert "prepared already" in call(srv.PrepareModel, "prepare_model", sha256=second).reason
    assert call(srv.AbortModel, "abort_model", transaction_id=prepared.transaction_id).success
    assert not call(srv.CommitModel, "commit_model", transaction_id=prepared.transaction_id).success
    assert robot.feature().model.version != "9.9.9"


@pytest.mark.parametrize("step", ["warming", "encoder", "newest frame"])
def test_a_model_that_cannot_be_prepared_leaves_no_session(harness, prepared, step, monkeypatch):
    node = harness.add(EncoderNode, "lidar", parameters=prepared.node_parameters)
    of, name = {
        "warming": (SharedSession, "warm_up"),
        "encoder": (ServedModel, "build"),
        "newest frame": (EncoderPipeline, "prepare"),
    }[step]

    def fails(*_, **__):
        raise InvalidOutputError("NaN")

    before = set(SESSIONS._entries)
    monkeypatch.setattr(of, name, fails)
    for _ in range(3):
        with pytest.raises(InvalidOutputError, match="NaN"):
            node._models.prepare_model("", "", prepared.store.find("second").sha256)
    assert set(SESSIONS._entries) == before


@pytest.mark.parametrize("error", [KeyError("boxes"), SystemExit(3)])
def test_a_preparation_that_raises_what_it_likes_is_answered_and_the_next_one_is_taken(
    harness, prepared, error, monkeypatch
):
    robot = Robot(harness, prepared, encoder={"trust_file": ""})  # where anybody is answered
    second = prepared.store.find("second").sha256

    def fails(*_):
        raise error

    def prepare():
        request = srv.PrepareModel.Request(sha256=second)
        return robot.harness.call(srv.PrepareModel, "/lidar_encoder/prepare_model", request)

    with monkeypatch.context() as patch:
        patch.setattr(ServedModel, "build", fails)
        answer = prepare()
    assert not answer.success
    assert answer.reason == f"{type(error).__name__}: {error}"
    answer = prepare()
    assert answer.success, answer.reason


def test_a_commit_that_is_heard_after_its_stamp_says_what_the_model_before_served(
    harness, prepared
):
    robot = Robot(harness, prepared, encoder={"trust_file": ""})  # where anybody is answered
    second = prepared.store.find("second").sha256

    def call(type_, service, **request):
        return robot.harness.call(type_, f"/lidar_encoder/{service}", type_.Request(**request))

    transaction = call(srv.PrepareModel, "prepare_model", sha256=second).transaction_id
    robot.feature()
    stamp = robot.feature().header.stamp
    robot.feature()
    answer = call(
        srv.CommitModel, "commit_model", transaction_id=transaction, effective_stamp=stamp
    )
    assert answer.success
    assert answer.reason == ("heard after its stamp: the model before served 2 frames from it on")
    assert robot.feature().model.version == "9.9.9"
    before = call(srv.GetVersions, "get_versions").models[1].model.sha256
    later = robot.feature().header.stamp
    later.sec += 1
    answer = call(srv.CommitModel, "commit_model", kept_sha256=before, effective_stamp=later)
    assert (answer.success, answer.reason) == (True, "")


def test_the_manager_tells_of_frames_that_a_late_commit_left_to_the_model_before(robot):
    first = robot.feature()
    before, stamp = first.model.sha256, first.header.stamp
    groups = robot.manager.parts.groups
    groups.change_stamp_ns = lambda *_, **__: stamp.sec * 10**9 + stamp.nanosec
    answer = robot.swap("second")
    assert answer.success, answer.reason
    event = robot.events.wait(lambda e: e.event == "heard late")
    assert event.error
    assert event.transaction_id == answer.transaction_id
    assert event.reason == (
        "/lidar_encoder/commit_model: heard after its stamp: the model before served 1 frame "
        "from it on"
    )
    wait_until(lambda: robot.feature().model.version == "9.9.9", "the second release serves")
    go_back(robot, before)


def go_back(robot, sha256):
    answer = robot.call(srv.RollbackModel, "rollback_model", role="lidar")
    assert answer.success, answer.reason
    wait_until(lambda: robot.feature().model.sha256 == sha256, "the release before serves again")


def test_the_slower_nodes_answer_the_earlier_they_hear_of_a_commit(robot):
    before = robot.feature().model.sha256
    asked = []
    parts = robot.manager.parts
    stamp_of = parts.groups.change_stamp_ns
    parts.groups.change_stamp_ns = lambda s, **more: asked.append(s) or stamp_of(s, **more)
    for slowest_s, delay_s in ((0.02, 0.05), (0.3, 0.6), (3.0, 2.0)):
        parts.client.slowest_answer_s = lambda slowest_s=slowest_s: slowest_s
        asked.clear()
        answer = robot.swap("second")
        assert answer.success, answer.reason
        assert asked == [pytest.approx(delay_s)]
        wait_until(lambda: robot.feature().model.version == "9.9.9", "the second release serves")
        go_back(robot, before)
