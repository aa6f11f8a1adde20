"""The annotated image of a running system: drawn while somebody listens, and only then."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml
from harness import Harness, wait_until
from sensor_msgs.msg import Image

from edge_perception import msg
from edge_perception.core.picture_style import EVIDENCE, bgr
from edge_perception.core.share import share_file
from edge_perception.core.types import Feature, Geometry, ModelVersion
from edge_perception.nodes.conversion import feature_msg, header_msg
from edge_perception.observe.overview.node import TOPIC, OverviewNode

STAMP_NS = 1_700_000_000_123_456_789
OPTICAL = np.array([[0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1]], np.float64)
K = np.array([[300.0, 0, 160], [0, 300, 120], [0, 0, 1]])


@pytest.fixture
def overview(harness: Harness):
    node = OverviewNode(
        source="camera", image="camera/image_raw", width_px=640, most_hz=60.0, namespace="",
        context=harness.context,
    )  # fmt: skip
    yield node
    node.close()


def image() -> Image:
    return Image(header=header_msg(STAMP_NS, "lens"), height=240, width=320, encoding="bgr8",
                 step=960, data=bytes([90]) * (240 * 960))  # fmt: skip


def feature(*, intrinsics: bool) -> msg.Feature:
    geometry = Geometry(T_base_sensor=OPTICAL, intrinsics=K if intrinsics else None)
    version = ModelVersion(role="camera", name="m", version="1.0.0", sha256="0" * 64)
    return feature_msg(
        Feature(stamp_ns=STAMP_NS, frame_id="lens", source="camera", modality="camera",
                model=version, sequence=1, geometry=geometry)
    )  # fmt: skip


def view() -> msg.FusedPerception:
    car = msg.DetectedObject(class_name="car", score=0.9, sources=["camera", "lidar"])
    car.center.x, car.center.z = 12.0, 0.8
    car.size.x, car.size.y, car.size.z = 4.0, 1.8, 1.6
    header = header_msg(STAMP_NS, "base_link")
    status = msg.SourceStatus(source="camera", modality="camera", contributed=True)
    status.stamp = header.stamp
    return msg.FusedPerception(header=header, mode=3, valid=True, sources=[status], objects=[car],
                               end_to_end_s=0.08, sequence=1)  # fmt: skip


def test_an_annotated_image_only_while_somebody_listens(harness: Harness, overview: OverviewNode):
    driver = harness.driver
    images = driver.create_publisher(Image, "camera/image_raw", 5)
    features = driver.create_publisher(msg.Feature, "features/camera", 5)
    views = driver.create_publisher(msg.FusedPerception, "perception/fused", 5)
    harness.start()
    overview.step()
    assert images.get_subscription_count() == 0
    pictures = harness.subscribe(Image, TOPIC)

    def stepped(condition):
        def ask():
            overview.step()
            return condition()

        return ask

    publishers = (images, features, views)
    wait_until(
        stepped(lambda: all(p.get_subscription_count() for p in publishers)), "subscriptions"
    )
    images.publish(image())
    features.publish(feature(intrinsics=False))
    views.publish(view())
    wait_until(
        stepped(lambda: "calibration is not known" in overview._annotator.why_not), "why not"
    )
    features.publish(feature(intrinsics=True))
    wait_until(stepped(lambda: pictures.messages), "a picture")
    picture = pictures.messages[0]
    assert (picture.header.stamp.sec, picture.header.stamp.nanosec) == divmod(STAMP_NS, 10**9)
    assert picture.header.frame_id == "lens"
    pixels = np.frombuffer(bytes(picture.data), np.uint8).reshape(picture.height, picture.width, 3)
    color = np.array(bgr(EVIDENCE["camera + lidar"]), np.uint8)
    assert picture.width == 640
    assert int((pixels[64:] == color).all(axis=2).sum()) > 100, "the box of the car"
    for _ in range(5):
        overview.step()
    assert overview.drawn == 1, "a view is drawn once"
    driver.destroy_subscription(next(s for s in driver.subscriptions if TOPIC in s.topic_name))
    wait_until(
        stepped(lambda: not any(p.get_subscription_count() for p in publishers)), "nobody listens"
    )


def test_the_configurations_show_topics_that_there_are():
    text = share_file("config/rviz/perception.rviz").read_text()
    displays = yaml.safe_load(text)["Visualization Manager"]["Displays"]
    shown = {item["Topic"]["Value"] for item in displays if "Topic" in item}
    assert shown == {"/lidar/points", "/perception/markers", f"/{TOPIC}"}
    layout = json.loads(share_file("config/foxglove/perception.json").read_text())
    panels = layout["configById"]
    assert set(panels["3D!perception"]["topics"]) == {"/lidar/points", "/perception/markers"}
    assert panels["Image!perception"]["imageMode"]["imageTopic"] == f"/{TOPIC}"
    fields = {
        path["value"].removeprefix("/perception/fused.")
        for panel in panels.values()
        for path in panel.get("paths", [])
    }
    assert fields <= set(msg.FusedPerception.get_fields_and_field_types())
    assert set(panels) == set(named(layout["layout"])), "each panel has its place"


def named(part):
    """Return the panels of a layout."""
    if isinstance(part, str):
        return [part]
    return [*named(part["first"]), *named(part["second"])]
