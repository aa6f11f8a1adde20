"""The model manager and the nodes whose models it changes, over real services."""

from __future__ import annotations

import json
import shutil
import time

import pytest
import sensors
from harness import wait_until
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import PointCloud2

from edge_perception import msg, srv
from edge_perception.models.store import find_bundle, installed_model_folders
from edge_perception.nodes.encoder_node import EncoderNode
from edge_perception.nodes.model_manager_node import ModelManagerNode


@pytest.fixture
def folder(tmp_path):
    """A model folder with a second release of the LiDAR model, and a damaged one."""
    bundle = find_bundle("bev_lite/lidar", installed_model_folders())
    for name in ("second", "damaged"):
        shutil.copytree(bundle.path, tmp_path / name)
        path = tmp_path / name / "manifest.json"
        manifest = json.loads(path.read_text())
        path.write_text(json.dumps({**manifest, "version": "9.9.9", "name": name}))
    model = tmp_path / "damaged" / "model.onnx"
    data = bytearray(model.read_bytes())
    data[len(data) // 2] ^= 1
    model.write_bytes(data)
    return tmp_path


class Robot:
    def __init__(self, harness, folder, *, allow_swap=True):
        folders = {"model_folders": [str(folder)]}
        harness.add(EncoderNode, "lidar", parameters=folders)
        harness.add(ModelManagerNode, parameters={**folders, "allow_swap": allow_swap})
        self.features = harness.subscribe(msg.Feature, "features/lidar")
        self.publisher = harness.driver.create_publisher(
            PointCloud2, "lidar/points", qos_profile_sensor_data
        )
        self.harness = harness
        harness.start()
        wait_until(
            lambda: (
                self.publisher.get_subscription_count()
                and harness.driver.count_publishers("features/lidar")
            ),
            "discovery",
        )

    def feature(self):
        since = len(self.features.messages)
        self.publisher.publish(sensors.cloud(time.time_ns(), points=500))
        return self.features.wait(since=since)

    def call(self, type_, service, **request):
        return self.harness.call(type_, f"/model_manager/{service}", type_.Request(**request))

    def swap(self, name, version=""):
        return self.call(srv.SwapModel, "swap_model", role="lidar", name=name, version=version)


@pytest.fixture
def robot(harness, folder):
    return Robot(harness, folder)


def test_versions_are_reported_as_the_nodes_serve_them(robot):
    feature = robot.feature()
    answer = robot.call(srv.GetVersions, "get_versions")
    assert not answer.unreachable
    (info,) = answer.models
    assert info.model == feature.model
    assert info.node == "/lidar_encoder"
    assert info.provider == "CPUExecutionProvider"
    assert info.frames_served == 1


def test_a_swap_takes_effect_at_a_stamp_and_rolls_back(robot):
    before = robot.feature().model
    answer = robot.swap("second")
    assert answer.success, answer.reason
    assert answer.previous == before
    assert answer.current.version == "9.9.9"
    wait_until(lambda: robot.feature().model.version == "9.9.9", "the second release serves")
    answer = robot.call(srv.RollbackModel, "rollback_model", role="lidar")
    assert answer.success, answer.reason
    wait_until(lambda: robot.feature().model == before, "the first release serves again")


@pytest.mark.parametrize(
    ("name", "version", "text"),
    [
        ("damaged", "", "sha256"),
        ("bev_lite/audio", "", "expected a model of role lidar, got audio"),
        ("second", "1.0.0", "expected version 1.0.0, got 9.9.9"),
        ("nowhere", "", "known:"),
        ("../../etc", "", "not a path"),
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


def test_swapping_is_off_unless_allowed(harness, folder):
    robot = Robot(harness, folder, allow_swap=False)
    answer = robot.swap("second")
    assert not answer.success
    assert "allow_swap" in answer.reason


def test_stored_models_are_listed_and_verified(robot):
    listed = robot.call(srv.ListModels, "list_models", role="lidar").models
    assert {info.model.name for info in listed} >= {"second"}
    assert {info.model.role for info in listed} == {"lidar"}
    assert robot.call(srv.VerifyModel, "verify_model", name="second").success
    damaged = robot.call(srv.VerifyModel, "verify_model", name="damaged")
    assert not damaged.success
    assert "model.onnx" in damaged.problems[0]


def test_prepare_commit_abort_in_the_wrong_order(robot):
    def call(type_, service, **request):
        return robot.harness.call(type_, f"/lidar_encoder/{service}", type_.Request(**request))

    assert not call(srv.CommitModel, "commit_model", transaction_id="x").success
    prepared = call(srv.PrepareModel, "prepare_model", name="second")
    assert prepared.success, prepared.reason
    assert "prepared already" in call(srv.PrepareModel, "prepare_model", name="second").reason
    assert call(srv.AbortModel, "abort_model", transaction_id=prepared.transaction_id).success
    assert not call(srv.CommitModel, "commit_model", transaction_id=prepared.transaction_id).success
    assert robot.feature().model.version != "9.9.9"
