"""What bad input gets: refused, counted and named, and the next good frame is processed."""

from __future__ import annotations

import time

import numpy as np
import pytest
import sensors
from diagnostic_msgs.msg import DiagnosticArray
from harness import wait_until
from rcl_interfaces.msg import Log
from rclpy.qos import qos_profile_sensor_data
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2

from edge_perception import msg
from edge_perception.encoders import place
from edge_perception.nodes.encoder.node import EncoderNode


class Source:
    """One real encoder node, a driver that publishes to it, and what comes out."""

    def __init__(self, harness, modality, type_, topic, qos):
        self.harness = harness
        self.node = harness.add(EncoderNode, modality)
        assert self.node.is_active, f"the {modality} encoder did not start"
        self.features = harness.subscribe(msg.Feature, f"features/{modality}")
        self.diagnostics = harness.subscribe(DiagnosticArray, "/diagnostics")
        self.publisher = harness.driver.create_publisher(type_, topic, qos)
        harness.start()
        wait_until(
            lambda: (
                self.publisher.get_subscription_count()
                and harness.driver.count_publishers(f"features/{modality}")
            ),
            "discovery",
        )

    def send(self, message, accept=lambda _: True):
        since = len(self.features.messages)
        self.publisher.publish(message)
        return self.features.wait(accept, since=since)

    def refuses(self, message, text):
        """Send a bad frame: a refused feature and diagnostics say why, nothing dies."""
        before = len(self.diagnostics.messages)
        feature = self.send(message, lambda feature: not feature.valid)
        assert text in feature.invalid_reason
        assert feature.refused >= 1
        assert not feature.tensors[0].data or feature.tensors[0].name == "T_base_sensor"
        status = self.diagnostics.wait(
            lambda array: any(text in status.message for status in array.status), since=before
        ).status[0]
        assert status.level == b"\x02"
        return feature


@pytest.fixture
def camera(harness):
    source = Source(harness, "camera", Image, "camera/image_raw", qos_profile_sensor_data)
    sensors.calibrate(harness.driver, source.node)
    return source


@pytest.fixture
def lidar(harness):
    return Source(harness, "lidar", PointCloud2, "lidar/points", qos_profile_sensor_data)


@pytest.fixture
def audio(harness):
    return Source(harness, "audio", msg.AudioChunk, "audio", 50)


def broken(message, **changes):
    for name, value in changes.items():
        setattr(message, name, value)
    return message


IMAGES = {
    "unknown encoding": ({"encoding": "hsv12"}, "hsv12"),
    "zero size": ({"width": 0, "height": 0}, "0"),
    "step of one plane": ({"step": 320}, "step"),
    "truncated data": ({"data": sensors.filled(np.zeros(100, np.uint8))}, "100"),
    "absurd size": ({"width": 2**31, "height": 2**31, "step": 2**31}, "2147483648"),
}


@pytest.mark.parametrize("case", IMAGES)
def test_a_bad_image_is_refused_and_the_next_is_used(camera, case):
    changes, text = IMAGES[case]
    camera.refuses(broken(sensors.image(time.time_ns()), **changes), text)
    assert camera.send(sensors.image(time.time_ns())).valid


def test_images_without_calibration_are_refused_until_it_comes(harness):
    camera = Source(harness, "camera", Image, "camera/image_raw", qos_profile_sensor_data)
    camera.refuses(sensors.image(time.time_ns()), "no camera_info yet")
    sensors.calibrate(harness.driver, camera.node)
    assert camera.send(sensors.image(time.time_ns())).valid


def test_images_whose_calibration_was_refused_say_why(harness):
    camera = Source(harness, "camera", Image, "camera/image_raw", qos_profile_sensor_data)
    known = camera.node._pipeline.place
    publisher = harness.driver.create_publisher(
        CameraInfo, "camera/camera_info", qos_profile_sensor_data
    )
    zeros = sensors.camera_info(1)
    zeros.k, zeros.p = [0.0] * 9, [0.0] * 12

    def refused() -> bool:
        publisher.publish(zeros)
        return bool(known.fault)

    wait_until(refused, "calibration")
    text = f"camera_info was refused: {known.fault}"
    feature = camera.refuses(sensors.image(time.time_ns()), text)
    assert "no camera_info yet" not in feature.invalid_reason


def test_an_image_that_comes_before_its_calibration_waits_for_it(harness, monkeypatch):
    monkeypatch.setattr(place, "FIRST_CALIBRATION_S", 30.0)
    camera = Source(harness, "camera", Image, "camera/image_raw", qos_profile_sensor_data)
    camera.publisher.publish(sensors.image(time.time_ns()))
    sensors.calibrate(harness.driver, camera.node)
    camera.publisher.publish(sensors.image(time.time_ns()))
    assert camera.features.wait().valid


def test_a_truncated_jpeg_is_refused(camera, harness):
    publisher = harness.driver.create_publisher(
        CompressedImage, "camera/image_raw/compressed", qos_profile_sensor_data
    )
    wait_until(lambda: publisher.get_subscription_count() > 0, "discovery")
    message = CompressedImage(format="jpeg", data=sensors.filled(np.full(500, 255, np.uint8)))
    message.header = sensors.image(time.time_ns()).header
    publisher.publish(message)
    assert not camera.features.wait().valid
    assert camera.send(sensors.image(time.time_ns())).valid


CLOUDS = {
    "no z": (lambda m: broken(m, fields=m.fields[:2]), "z"),
    "truncated data": (lambda m: broken(m, data=m.data[:1000]), "1000"),
    "row step too short": (
        lambda m: broken(m, width=2400, height=2, row_step=16),
        "row_step",
    ),
    "no points": (lambda m: broken(m, width=0, row_step=0, data=sensors.filled(np.zeros(0))), "0"),
    "all NaN": (
        lambda m: broken(m, data=sensors.filled(np.full((5000, 4), np.nan, np.float32))),
        "NaN",
    ),
}


@pytest.mark.parametrize("case", CLOUDS)
def test_a_bad_cloud_is_refused_and_the_next_is_used(lidar, case):
    change, text = CLOUDS[case]
    lidar.refuses(change(sensors.cloud(time.time_ns())), text)
    assert lidar.send(sensors.cloud(time.time_ns())).valid


def test_single_nan_points_are_left_out(lidar):
    message = sensors.cloud(time.time_ns())
    values = np.frombuffer(message.data, np.float32).reshape(-1, 4).copy()
    values[::7, 0] = np.nan
    message.data = sensors.filled(values)
    assert lidar.send(message).valid


@pytest.mark.parametrize("modality", ["camera", "lidar"])
def test_a_zero_stamp_is_refused(request, modality):
    source = request.getfixturevalue(modality)
    make = {"camera": sensors.image, "lidar": sensors.cloud}[modality]
    source.refuses(make(0), "stamp")
    assert source.send(make(time.time_ns())).valid


def play(audio, start_index, chunks=12):
    """Send consecutive chunks; return the index after them."""
    for number in range(chunks):
        index = start_index + number * sensors.CHUNK
        audio.publisher.publish(sensors.chunk(time.time_ns(), index))
    return start_index + chunks * sensors.CHUNK


@pytest.mark.parametrize(
    ("case", "text"),
    [
        ("gap", "gap of"),
        ("format", "s99be"),
        ("odd length", "bytes"),
    ],
)
def test_an_interrupted_stream_says_so_and_recovers(audio, case, text):
    index = play(audio, 0)
    audio.features.wait(lambda feature: feature.valid)
    bad = sensors.chunk(time.time_ns(), index)
    if case == "gap":
        bad.first_sample_index += 8000
    elif case == "format":
        bad.format = "s99be"
    else:
        bad.data = bad.data[:-1]
    audio.refuses(bad, text)
    since = len(audio.features.messages)
    play(audio, index + 100 * sensors.CHUNK, chunks=24)
    assert audio.features.wait(lambda feature: feature.valid, since=since).valid


def test_around_refused_frames_the_log_tells_of_every_frame(camera):
    told = camera.harness.subscribe(Log, "/rosout", 100)
    assert camera.send(sensors.image(time.time_ns())).valid
    for _ in range(5):
        camera.send(broken(sensors.image(time.time_ns()), step=320), lambda f: not f.valid)
    first = told.wait(lambda line: "details for 10 s" in line.msg)
    assert first.name == "camera_encoder"
    assert told.wait(lambda line: "refused: " in line.msg and line.level == Log.DEBUG)
    assert told.wait(lambda line: "before: frame " in line.msg and "inference" in line.msg)


HOSTILE = {
    "truncated": lambda data: data[:60],
    "a claimed length of 4 GB": lambda data: data[:12] + b"\xff\xff\xff\xff" + data[16:],
    "three bytes": lambda _: b"\0\1\0",
    "random": lambda _: b"\0\1\0\0" + np.random.default_rng(4).bytes(500),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_buffer_is_refused_and_the_next_image_is_used(camera, case):
    good = bytes(serialize_message(sensors.image(time.time_ns())))
    camera.refuses(HOSTILE[case](good), "sensor_msgs/msg/Image")
    assert camera.send(sensors.image(time.time_ns())).valid


def test_an_unusual_encapsulation_goes_through_the_typed_message(camera):
    good = bytes(serialize_message(sensors.image(time.time_ns())))
    assert camera.send(b"\0\3\0\0" + good[4:]).valid  # parameter list, read by rosidl
