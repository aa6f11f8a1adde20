"""Inputs faster than the machine: the newest wins, what was overwritten is counted."""

from __future__ import annotations

import threading
import time

import pytest
import sensors
from harness import wait_until
from rclpy.parameter import Parameter
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image

from edge_perception import msg
from edge_perception.models.quiet import under_way
from edge_perception.nodes.encoder.node import EncoderNode
from edge_perception.nodes.topics import qos


class Turnstile:
    """Lets the model run only when told, as if it were too slow."""

    def __init__(self, backend):
        self._backend = backend
        self.open = threading.Event()

    def infer(self, inputs):
        assert self.open.wait(120)
        return self._backend.infer(inputs)


@pytest.fixture
def camera(harness, request):
    node = harness.add(EncoderNode, "camera", parameters=getattr(request, "param", None))
    publisher = harness.driver.create_publisher(Image, "camera/image_raw", qos_profile_sensor_data)
    features = harness.subscribe(msg.Feature, "features/camera")
    harness.start()
    wait_until(
        lambda: (
            publisher.get_subscription_count()
            and harness.driver.count_publishers("features/camera")
        ),
        "discovery",
    )
    sensors.calibrate(harness.driver, node)
    # Frames wait behind each other while a model loads in this process and for a moment after: a
    # test before this one may have loaded one.
    wait_until(lambda: not under_way(), "the end of loading")
    return node, publisher, features


def test_the_newest_frame_wins_and_the_others_are_counted(camera):
    node, publisher, features = camera
    encoder = node._pipeline.model.encoder
    turnstile = encoder._backend = Turnstile(encoder._backend)
    first_ns = time.time_ns()
    publisher.publish(sensors.image(first_ns))
    wait_until(lambda: node._inference.worker.busy_s() > 0, "the first image in work")
    stamps = []
    mailbox = node._inference.worker._mailbox
    for _ in range(5):  # five times what the model takes
        stamps.append(time.time_ns())
        publisher.publish(sensors.image(stamps[-1]))
        wait_until(lambda: waiting_ns(mailbox) == stamps[-1], "the image in the mailbox")
    turnstile.open.set()
    stamp = divmod(stamps[-1], 1_000_000_000)
    newest = features.wait(lambda f: (f.header.stamp.sec, f.header.stamp.nanosec) == stamp)
    assert newest.valid
    assert newest.dropped == 4
    assert newest.sequence == 2  # after the first, nothing in between


def waiting_ns(mailbox):
    items = list(mailbox._items)
    return items[-1].stamp_ns if items else 0


LOAD = {"load.budget_ms": 0.1, "load.over_s": 0.1, "load.most_skipped": 1}


@pytest.mark.parametrize("camera", [LOAD], indirect=True)
def test_load_control_skips_says_so_and_gives_back(camera, harness):
    node, publisher, features = camera
    control = node._pipeline.load.control

    def frames_until(condition, what):
        def step():
            publisher.publish(sensors.image(time.time_ns()))
            return condition()

        wait_until(step, what)

    frames_until(lambda: node._pipeline.load.skipped > 2, "frames skipped")
    assert features.wait(lambda feature: feature.valid and feature.skipped > 1)
    said = node.health()
    assert "load control: 1 of 2 frames skipped" in said.message
    assert said.values["load_step"] == "1 of 1: 1 of 2 frames skipped"
    assert said.values["model_cache_hit_rate"] == "nan"  # nothing was loaded: nobody asked
    changed = node.set_parameters([Parameter("load.budget_ms", value=0.0)])
    assert changed[0].successful
    frames_until(lambda: control.number == 0, "nothing given up")
    assert "load control" not in node.health().message
    # Who comes later hears of the steps, too.
    events = harness.subscribe(msg.LoadEvent, "load_events", qos.EVENTS)
    assert events.wait(lambda event: event.back)
    down, back = events.messages
    assert (down.source, down.step, down.last_step, down.back) == ("camera", 1, 1, False)
    assert down.given_up == "1 of 2 frames skipped"
    assert "ms > 0.1 ms for 0.1 s" in down.reason
    assert (back.step, back.given_up, back.sequence) == (0, "", down.sequence + 1)


def test_a_budget_for_which_nothing_may_be_given_up_is_said(harness):
    refused = harness.add(EncoderNode, "camera", parameters={"load.budget_ms": 50.0})
    assert refused.state == "unconfigured"
    assert "set load.reuse_max_age_s" in refused._own_health().message
    planned = {"load.budget_ms": 50.0, "load.variants": ["plan"]}
    refused = harness.add(EncoderNode, "camera", source="camera_rear", parameters=planned)
    assert "load.variants: plan: device_plan is not set" in refused._own_health().message
    running = harness.add(EncoderNode, "lidar")
    assert running.set_parameters([Parameter("load.budget_ms", value=50.0)])[0].successful
    assert "nothing to give up" in running.health().message
