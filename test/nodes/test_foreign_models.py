"""Models of others in running nodes: imported, admitted, swapped in, their boxes fused."""

from __future__ import annotations

import time
from pathlib import Path

import foreign_graphs as graphs
import numpy as np
import pillar_graphs
import pytest
import sensors
from foreign_graphs import Signature, corners
from foreign_imports import PICTURE, expected
from harness import wait_until
from rclpy.qos import qos_profile_sensor_data
from releases import Maker
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField

from edge_perception import msg, srv
from edge_perception.cli.main import main
from edge_perception.models.manifest import Bundle, load_bundle
from edge_perception.nodes.conversion import time_msg
from edge_perception.nodes.encoder.node import EncoderNode
from edge_perception.nodes.fusion.node import FusionNode
from edge_perception.nodes.manager.node import ModelManagerNode

# Looks ahead from 1.5 m above the road: x right, y down, z ahead.
AHEAD = [0.0, 0.0, 1.5, -0.5, 0.5, -0.5, 0.5]
ON_THE_ROAD = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]
HEIGHT_PX, WIDTH_PX = PICTURE.shape[:2]


class Served:
    """One encoder, fusion of its decisions alone, and the manager that brings it a model."""

    def __init__(self, harness, maker, modality, type_, topic, pose):
        parameters = {**maker.node_parameters, "T_base_sensor": pose}
        self.encoder = harness.add(EncoderNode, modality, parameters=parameters)
        harness.add(FusionNode, parameters={"sources": [modality], "model": ""})
        limits = {"commit_delay_s": 0.05, "admission_latency_factor": 1000.0}
        manager = harness.add(ModelManagerNode, parameters={**maker.parameters, **limits})
        self.harness, self.maker = harness, maker
        self.modality = modality
        self.features = harness.subscribe(msg.Feature, f"features/{modality}")
        self.fused = harness.subscribe(msg.FusedPerception, "perception/fused")
        self.publisher = harness.driver.create_publisher(type_, topic, qos_profile_sensor_data)
        harness.start()
        wait_until(
            lambda: (
                self.publisher.get_subscription_count()
                and harness.driver.count_publishers(f"features/{modality}")
                and harness.driver.count_publishers("perception/fused")
                and manager.parts.client.nodes()
            ),
            "discovery",
        )

    def swap(self, bundle: Bundle) -> None:
        archive = self.maker.signed(bundle)
        self.maker.store.install(archive, self.maker.trust, now_ns=time.time_ns())
        answer = self.harness.call(
            srv.SwapModel,
            "/model_manager/swap_model",
            srv.SwapModel.Request(role=self.modality, name=bundle.manifest.name, skip_trial=True),
        )
        assert answer.success, answer.reason

    def seen(self, make, name):
        """Publish until the model serves and its decisions are fused; return both messages."""
        views = len(self.fused.messages)
        for _ in range(200):
            since = len(self.features.messages)
            self.publisher.publish(make(time.time_ns()))
            feature = self.features.wait(since=since)
            if feature.model.name == name:
                break
        assert feature.model.name == name
        assert feature.valid, feature.invalid_reason
        stamp = feature.header.stamp
        view = self.fused.wait(
            lambda m: m.sources[0].contributed and m.header.stamp == stamp, since=views
        )
        return feature, view


def imported(tmp_path: Path, file: Path, *options: object) -> Bundle:
    into = tmp_path / "bundles"
    given = [str(option) for option in options]
    assert (
        main(["models", "import", str(file), *given, "--into", str(into), "--name", "theirs"]) == 0
    )
    return load_bundle(into / "theirs")


def picture(stamp_ns: int) -> Image:
    # A slope of grey, never frozen, and no covered lens; these models do not look at it. It always
    # has a step, where it begins anew: without one it would be a blurred image.
    rows, columns = np.mgrid[0:HEIGHT_PX, 0:WIDTH_PX] + 100 + stamp_ns // 1_000_000 % 100
    pixels = np.stack([rows % 256, columns % 256, (rows + columns) % 256], axis=-1).astype(np.uint8)
    message = Image(
        width=WIDTH_PX, height=HEIGHT_PX, encoding="bgr8", step=3 * WIDTH_PX,
        data=sensors.filled(pixels),
    )  # fmt: skip
    message.header.stamp, message.header.frame_id = time_msg(stamp_ns), "camera_optical"
    return message


def calibrate(driver, encoder) -> None:
    """Say the intrinsics of `picture` until the encoder has them."""
    publisher = driver.create_publisher(CameraInfo, "camera/camera_info", qos_profile_sensor_data)

    def known() -> bool:
        publisher.publish(sensors.camera_info(1, width=WIDTH_PX, height=HEIGHT_PX))
        return encoder.geometry.intrinsics is not None

    wait_until(known, "calibration")


def cloud(stamp_ns: int) -> PointCloud2:
    # So many returns of one place of the road that it is a sweep; never frozen.
    road = np.random.default_rng(stamp_ns).uniform(1.1, 1.4, (60, 3)) * [1.0, 1.0, 0.0]
    points = np.concatenate([pillar_graphs.sweep().xyz_m, road]).astype(np.float32)
    message = PointCloud2(
        width=len(points), height=1, point_step=12, row_step=12 * len(points), is_dense=True,
        fields=[
            PointField(name=name, offset=4 * k, datatype=PointField.FLOAT32, count=1)
            for k, name in enumerate("xyz")
        ],
        data=sensors.filled(points),
    )  # fmt: skip
    message.header.stamp, message.header.frame_id = time_msg(stamp_ns), "lidar"
    return message


@pytest.fixture
def maker(tmp_path):
    pytest.importorskip("onnx")
    return Maker(tmp_path)


def test_a_detector_of_torchvision(harness, maker, tmp_path):
    signature = Signature(
        graphs.lists(("boxes", "scores", "labels"), 1, corners, batch=False),
        layout="CHW",
        free=(1, 2),
        follow_data=True,
    )
    file = graphs.write(tmp_path / "fasterrcnn.onnx", signature)
    bundle = imported(tmp_path, file, "--assume", "size=96x64", "--labels", "coco80")
    served = Served(harness, maker, "camera", Image, "camera/image_raw", AHEAD)
    calibrate(harness.driver, served.encoder)
    served.swap(bundle)
    feature, view = served.seen(picture, "theirs")
    assert [item.class_name for item in feature.image_objects] == ["car", "pedestrian"]
    for item, wanted in zip(feature.image_objects, expected("corner"), strict=True):
        assert [item.x_min, item.y_min, item.x_max, item.y_max] == pytest.approx(wanted, abs=0.05)
    assert view.valid, view.reason
    assert [model.name for model in view.models] == ["theirs"]
    car = next(item for item in view.objects if item.class_name == "car")
    # Where the ray through the middle of its lower edge meets the road.
    left, _, right, bottom = expected("corner")[0]
    down = (bottom - HEIGHT_PX / 2) / 300.0
    ahead = 1.5 / down
    aside = -ahead * ((left + right) / 2 - WIDTH_PX / 2) / 300.0
    assert (car.center.x, car.center.y) == pytest.approx((ahead, aside), abs=3.0)
    assert list(car.sources) == ["camera"]


def test_centerpoint_in_two_graphs(harness, maker, tmp_path):
    encoder, head, parameters = pillar_graphs.centerpoint(tmp_path)
    bundle = imported(tmp_path, encoder, "--part", head, "--config", parameters)
    served = Served(harness, maker, "lidar", PointCloud2, "lidar/points", ON_THE_ROAD)
    served.swap(bundle)
    feature, view = served.seen(cloud, "theirs")
    for items in (feature.objects, view.objects):
        found = sorted((o.class_name, round(o.center.x, 2), round(o.center.y, 2)) for o in items)
        assert found == [("car", -5.25, 1.25), ("car", 3.25, -2.25)]
    assert [list(item.sources) for item in view.objects] == [["lidar"]] * 2


@pytest.mark.parametrize("graphs_of", ["one", "two"])
def test_pointpillars(harness, maker, tmp_path, graphs_of):
    if graphs_of == "one":
        file, more = pillar_graphs.pointpillars(tmp_path), ()
    else:
        file, head = pillar_graphs.pointpillars_apart(tmp_path, chw=False)
        more = ("--part", head)
    config = tmp_path / "pointpillar.yaml"
    bundle = imported(tmp_path, file, *more, "--config", config, "--assume", "origin_m=[0,0,0]")
    served = Served(harness, maker, "lidar", PointCloud2, "lidar/points", ON_THE_ROAD)
    served.swap(bundle)
    feature, view = served.seen(cloud, "theirs")
    for items in (feature.objects, view.objects):
        named = {item.class_name: item for item in items}
        assert set(named) == {"car", "cyclist"}
        for *_, label, box in pillar_graphs.WANTED:
            item = named[("car", "cyclist")[label]]
            center = (item.center.x, item.center.y, item.center.z)
            assert center == pytest.approx(box[:3], abs=1e-3)
            assert np.cos(item.yaw - box[6]) == pytest.approx(1.0, abs=1e-3)
