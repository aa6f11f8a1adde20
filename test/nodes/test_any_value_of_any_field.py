"""No value of any field of any message ends a node, stops the output or makes a view untrue.

Real nodes over DDS. What they subscribe to is asked of the graph: a topic that is added later must
be tried here.
"""

from __future__ import annotations

import itertools
import math
import random
import time
from typing import ClassVar

import cv2
import numpy as np
import pytest
import sensors
from any_value import spoiled
from harness import wait_until
from nav_msgs.msg import Odometry
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CompressedImage

from edge_perception import msg
from edge_perception.core.errors import EdgePerceptionError
from edge_perception.core.types import (
    DetectedObject,
    Feature,
    ImageObject,
    LateEvidence,
    ModelVersion,
    SoundEvent,
)
from edge_perception.nodes.conversion import (
    feature_msg,
    late_evidence_msg,
    stamp_ns,
    time_msg,
)
from edge_perception.nodes.encoder.node import EncoderNode
from edge_perception.nodes.fusion.node import FusionNode

SEED = 21
MIXED = 12
RELIABLE = QoSProfile(depth=50, reliability=ReliabilityPolicy.RELIABLE)
ENCODERS = {  # source: modality, and which of a camera's two ways
    "camera": ("camera", {"input": "raw"}),
    "camera_rear": ("camera", {"input": "compressed"}),
    "lidar": ("lidar", {}),
    "audio": ("audio", {}),
}
FUSED = ("camera", "lidar", "audio")  # the fusion model takes one camera
GOOD = "lidar_good"  # nothing is wrong with this one: views are valid through all of it
SOURCES = (*FUSED, GOOD)
# A machine that is busy makes nobody late.
PATIENT = {"late_after_s": 60.0, "stale_after_s": 70.0, "missing_after_s": 80.0, "max_age_s": 60.0}
CAR = DetectedObject(
    class_name="car", score=0.9, center_m=(10.0, 0.0, 0.8), size_m=(4.5, 1.8, 1.6), yaw_rad=0.1
)
SIREN = SoundEvent(class_name="siren", score=0.9, window_start_ns=10**9, window_end_ns=2 * 10**9)
PERSON = ImageObject(class_name="person", score=0.9, x_min=10, y_min=20, x_max=50, y_max=100)
VERSION = ModelVersion(role="lidar", name="hand-made", version="1.0.0", sha256="0" * 64)


class Noted:
    """Keeps what a node's threads raised; an error of this package is a refusal."""

    def _on_error(self, error):
        if not isinstance(error, EdgePerceptionError):
            self.raised.append(error)
        super()._on_error(error)


class Fusion(Noted, FusionNode):
    raised: ClassVar = []


class Encoder(Noted, EncoderNode):
    raised: ClassVar = []


class Robot:
    """Fusion and four encoders; the driver publishes whatever it likes."""

    def __init__(self, harness):
        self.harness, self.rng = harness, random.Random(SEED)
        parameters = {"sources": list(SOURCES), "odometry_topic": "odometry"}
        parameters |= {"late_hold_s": 60.0}
        parameters |= {"deadline_s": 0.015, "deadline_margin_s": 0.005}  # a view soon after each
        for source in SOURCES:
            parameters |= {f"{source}.{name}": value for name, value in PATIENT.items()}
        self.fusion = harness.add(Fusion, parameters=parameters)
        self.encoders = {
            name: harness.add(
                Encoder, modality, source=name, parameters={**more, "budget_ms": 10_000.0}
            )
            for name, (modality, more) in ENCODERS.items()
        }
        self.fused = harness.subscribe(msg.FusedPerception, "perception/fused", RELIABLE)
        self.features = {
            name: harness.subscribe(msg.Feature, f"features/{name}", RELIABLE) for name in ENCODERS
        }
        self._publishers = {}
        self._samples, self._numbers = itertools.count(0, sensors.CHUNK), itertools.count()
        harness.start()
        wait_until(lambda: len(self.subscribed()) >= 15, "discovery")
        self.good()

    def subscribed(self):
        """Return what our nodes subscribe to, by topic."""
        return {
            topic: (node, types[0])
            for node in (self.fusion, *self.encoders.values())
            for topic, types in self.harness.driver.get_subscriber_names_and_types_by_node(
                node.get_name(), "/"
            )
        }

    def publish(self, topic, kind, message):
        if topic not in self._publishers:
            publisher = self.harness.driver.create_publisher(kind, topic, RELIABLE)
            wait_until(publisher.get_subscription_count, topic)
            self._publishers[topic] = publisher
        self._publishers[topic].publish(message)

    def good(self):
        """Publish a feature that nothing is wrong with, and return its stamp."""
        message = hand_made(time.time_ns(), objects=(CAR,))
        message.sequence = next(self._numbers)
        self.publish(f"features/{GOOD}", msg.Feature, message)
        return message.header.stamp

    # -- good messages of every topic --

    def sensor_messages(self):
        """Return what makes a good message of each topic of the sensors."""
        return {
            "/camera/image_raw": lambda now: sensors.image(now),
            "/camera_rear/image_raw/compressed": jpeg,
            "/camera/camera_info": lambda now: sensors.camera_info(now),
            "/camera_rear/camera_info": lambda now: sensors.camera_info(now),
            "/lidar/points": lambda now: sensors.cloud(now),
            "/audio": lambda now: sensors.chunk(now, next(self._samples)),
        }

    def sense(self):
        """Publish a good message of each sensor."""
        now = time.time_ns()
        for topic, make in self.sensor_messages().items():
            message = make(now)
            self.publish(topic, type(message), message)

    # -- spoiled ones --

    def view(self):
        """Wait for a valid view of this moment."""
        since, stamp = len(self.fused.messages), self.good()
        return self.fused.wait(
            lambda view: view.valid and stamp_ns(view.header.stamp) >= stamp_ns(stamp), since=since
        )

    def spoil(self, topic, make, arrived, *, every):
        """Publish every spoiled message of a topic, each once the one before has arrived.

        Args:
            topic: where.
            make: returns a good message.
            arrived: changes with each arrival.
            every: so many of them, and a view is waited for.
        """
        message = make(time.time_ns())

        def fresh():
            other = make(time.time_ns())
            for name in other.get_fields_and_field_types():
                old, new = getattr(message, name), getattr(other, name)
                if not hasattr(new, "get_fields_and_field_types"):
                    if name in ("data", "sequence", "first_sample_index"):
                        setattr(message, name, new)
                elif name == "header":
                    old.stamp = new.stamp

        for sent, (what, data) in enumerate(
            spoiled(message, self.rng, fresh=fresh, mixed=MIXED), start=1
        ):
            before = arrived()
            self.publish(topic, type(message), data)
            end_s = time.monotonic() + 60.0
            while arrived() == before:
                assert time.monotonic() < end_s, f"{topic}: not taken: {what}"
                time.sleep(0.0005)
            if not sent % every:
                self.view()
        self.view()

    def assert_fine(self):
        """Hold what was published against what a reader may rely on."""
        assert self.harness.callback_errors == []
        assert Fusion.raised + Encoder.raised == []
        views = self.fused.messages
        first = next(index for index, view in enumerate(views) if view.valid)
        for before, view in itertools.pairwise(views[first:]):
            assert view.sequence == before.sequence + 1
            check(view)


def check(view):
    """Hold one view against what every reader may rely on, whatever came in."""
    assert view.valid, view.reason
    assert view.mode >= view.MODE_DEGRADED
    assert math.isfinite(view.confidence)
    assert 0.0 <= view.confidence <= 1.0
    assert 0 <= view.header.stamp.nanosec < 10**9
    assert {status.source for status in view.sources} == set(SOURCES)
    for status in view.sources:
        assert status.state in range(5)
        assert len(status.reason) <= 2100
        assert status.state == status.OK or status.reason
    for item in view.objects:
        numbers = [getattr(xyz, axis) for xyz in (item.center, item.size) for axis in "xyz"]
        assert all(map(math.isfinite, (item.score, item.yaw, *numbers)))
        assert 0.0 <= item.score <= 1.01
        assert len(item.class_name) <= 256
    for late in view.late_evidence:
        assert late.source in SOURCES
        assert 0.0 <= late.age_s < 3600.0
        assert len(late.tier) <= 2100
        for item in (*late.objects, *late.image_objects, *late.sound_events):
            assert 0.0 <= item.score <= 1.01
    assert len(serialize_message(view)) < 4_000_000


def hand_made(now, **more):
    return feature_msg(
        Feature(
            stamp_ns=now,
            frame_id="lidar",
            source=GOOD,
            modality="lidar",
            model=VERSION,
            sequence=0,
            **more,
        )
    )


def late_evidence(now):
    return late_evidence_msg(
        LateEvidence(
            source="camera",
            modality="camera",
            tier="site",
            stamp_ns=now,
            asked_stamp_ns=now,
            round_trip_s=0.1,
            doubt_bits=0.9,
            answer_doubt_bits=0.1,
            model=VERSION,
            objects=(CAR,),
            image_objects=(PERSON,),
            sound_events=(SIREN,),
        )
    )


def jpeg(now):
    pixels = np.frombuffer(sensors.image(now).data, np.uint8).reshape(240, 320, 3)
    message = CompressedImage(format="jpeg", data=cv2.imencode(".jpg", pixels)[1].tobytes())
    message.header.stamp, message.header.frame_id = time_msg(now), "camera_optical"
    return message


def odometry(now):
    message = Odometry(child_frame_id="base_link")
    message.header.stamp, message.header.frame_id = time_msg(now), "odom"
    message.pose.pose.orientation.w = 1.0
    return message


@pytest.fixture(scope="module")
def robot(shared_harness):
    Fusion.raised, Encoder.raised = [], []
    robot = Robot(shared_harness)
    templates = {}

    def known():
        robot.sense()
        robot.good()
        for name, received in robot.features.items():
            templates[name] = next((f for f in received.messages if f.valid and f.tensors), None)
        return all(templates.values())

    wait_until(known, "a valid feature of every source", period_s=0.1)
    robot.templates = templates
    return robot


def test_of_any_message_of_a_sensor(robot):
    topics = {
        topic: node for topic, (node, _) in robot.subscribed().items() if node is not robot.fusion
    }
    messages = robot.sensor_messages()
    assert set(topics) == set(messages)
    for topic, make in messages.items():
        receiver = topics[topic]._inlet
        robot.spoil(topic, make, lambda r=receiver, t=topic: r.arrivals()[t].received, every=20)
    robot.assert_fine()
    # And all of them still work.
    since = {name: len(received.messages) for name, received in robot.features.items()}

    def all_valid():
        robot.sense()
        return all(
            any(feature.valid for feature in received.messages[since[name] :])
            for name, received in robot.features.items()
        )

    wait_until(all_valid, "a valid feature of every source", period_s=0.1)


def test_of_any_feature_and_odometry(robot):
    for encoder in robot.encoders.values():  # their place is taken by the driver
        assert encoder.trigger_deactivate()
        assert encoder.trigger_cleanup()
    topics = {topic for topic, (node, _) in robot.subscribed().items() if node is robot.fusion}
    trials = {f"/trial/features/{name}" for name in SOURCES}  # of a set in the shadow
    late = {f"/late_evidence/{name}" for name in SOURCES}
    assert topics == {"/odometry", *(f"/features/{name}" for name in SOURCES), *trials, *late}
    worker = robot.fusion._worker
    whole = hand_made(1, objects=(CAR,), image_objects=(PERSON,), sound_events=(SIREN,))
    for name in FUSED:
        template = robot.templates[name]
        for part in ("objects", "image_objects", "sound_events"):
            setattr(template, part, getattr(whole, part))

        def make(now, template=template):
            template.header.stamp, template.sequence = time_msg(now), next(robot._numbers)
            return template

        def arrived(name=name):
            return worker.last_arrivals_ns().get(name)

        robot.spoil(f"/features/{name}", make, arrived, every=1 if name == "lidar" else 10)
        # Nothing is tried now: what comes there is looked at by nobody, and must not matter.
        robot.spoil(f"/trial/features/{name}", make, itertools.count().__next__, every=20)
    board = robot.fusion._board
    robot.spoil(
        "/late_evidence/camera",
        late_evidence,
        lambda: board.taken + sum(board.refused.values()),
        every=20,
    )
    assert board.taken
    receiver = robot.fusion._inlets._receiver
    robot.spoil("/odometry", odometry, lambda: receiver.arrivals()["/odometry"].received, every=1)
    robot.assert_fine()

    def full():
        now = time.time_ns()
        robot.good()
        for name in FUSED:
            template = robot.templates[name]
            template.header.stamp = time_msg(now)
            robot.publish(f"/features/{name}", msg.Feature, template)
        last = robot.fused.messages[-1]
        return last.mode == last.MODE_FULL and last.level == last.LEVEL_FEATURE

    wait_until(full, "FULL at the level of features", period_s=0.1)
