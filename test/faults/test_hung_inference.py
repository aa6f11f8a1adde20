"""An inference that does not end: a new session first, a new process when that does not help."""

from __future__ import annotations

import threading
import time

import pytest
import sensors
from harness import Harness, wait_until
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import PointCloud2

from edge_perception import msg
from edge_perception.core.errors import StoreError
from edge_perception.encoders.watchdog import InferenceWatchdog, Remedy, WatchdogLimits
from edge_perception.nodes.encoder.node import EncoderNode

NS = 1_000_000_000
FAST = {"watchdog.hung_after_s": 0.3, "watchdog.hung_after_budgets": 1.0, "budget_ms": 100.0}


def test_the_remedy_grows():
    watchdog = InferenceWatchdog()
    limits = WatchdogLimits(hung_after_budgets=10.0, hung_after_s=0.5, session_restarts=2)

    def look(busy_s, at_s):
        return watchdog.look(busy_s=busy_s, budget_s=0.1, limits=limits, steady_ns=round(at_s * NS))

    assert look(1.0, 0) is Remedy.NONE
    assert look(1.1, 1) is Remedy.NEW_SESSION
    assert look(1.1, 2) is Remedy.NEW_SESSION
    assert look(1.1, 3) is Remedy.NEW_PROCESS
    assert look(1.1, 70) is Remedy.NEW_SESSION  # the old ones are a minute ago


def test_no_watchdog_where_it_is_switched_off():
    limits = WatchdogLimits(hung_after_budgets=0.0)
    look = InferenceWatchdog().look(busy_s=1e6, budget_s=0.1, limits=limits, steady_ns=0)
    assert look is Remedy.NONE


@pytest.fixture
def harness(ros_domain):
    harness = Harness(ros_domain)
    yield harness
    harness.close()


@pytest.fixture
def lidar(harness):
    """An encoder whose model can be made to hang; `release` lets go of what hangs."""
    node = harness.add(EncoderNode, "lidar", parameters=FAST)
    features = harness.subscribe(msg.Feature, "features/lidar")
    publisher = harness.driver.create_publisher(
        PointCloud2, "lidar/points", qos_profile_sensor_data
    )
    harness.start()
    wait_until(
        lambda: (
            publisher.get_subscription_count() and harness.driver.count_publishers("features/lidar")
        ),
        "discovery",
    )
    release = threading.Event()
    yield node, features, publisher, release
    release.set()


def hang(node, release):
    """Make the present session hang for good, as a driver that waits for its device does."""
    encoder = node._pipeline.model.encoder
    infer = encoder.infer

    def hanging(inputs):
        release.wait()
        return infer(inputs)

    encoder.infer = hanging


def test_a_new_session_takes_over(lidar):
    node, features, publisher, release = lidar
    publisher.publish(sensors.cloud(time.time_ns()))
    features.wait(lambda feature: feature.valid)
    pipeline = node._pipeline
    hang(node, release)
    hung_ns = time.time_ns()
    publisher.publish(sensors.cloud(hung_ns))
    wait_until(lambda: node._pipeline is not pipeline, "a new session")
    since = len(features.messages)
    stamps = []

    def served():
        """Send frames as a sensor does: on a busy machine one may take longer than the limit."""
        stamps.append(time.time_ns())
        publisher.publish(sensors.cloud(stamps[-1]))
        return any(feature.valid for feature in features.messages[since:])

    wait_until(served, "a feature of the new session")
    feature = features.wait(lambda feature: feature.valid, since=since)
    release.set()  # the old thread comes back: its feature is thrown away
    assert feature.header.stamp.nanosec in {stamp_ns % NS for stamp_ns in stamps}
    publisher.publish(sensors.cloud(time.time_ns()))
    features.wait(lambda feature: feature.valid, since=since + 1)
    assert all(
        feature.header.stamp.nanosec != hung_ns % NS for feature in features.messages[since:]
    )


def test_what_is_committed_takes_over_from_what_hangs(lidar, monkeypatch):
    """A rollback of a model that hangs: no frame of the new stamps reaches the thread that hangs,
    and the model that hangs is in quarantine.
    """
    node, features, publisher, release = lidar
    publisher.publish(sensors.cloud(time.time_ns()))
    features.wait(lambda feature: feature.valid)
    pipeline = node._pipeline
    hang(node, release)
    since = len(features.messages)
    node._models.prepare_model("bev_lite_lidar_int8", "", "")
    node._models.commit_model(time.time_ns() + 3600 * NS)

    def load_nothing(**which):
        raise StoreError("in quarantine")

    node._models._load = load_nothing
    ended = threading.Event()
    monkeypatch.setattr(
        "edge_perception.nodes.encoder.hang_guard.os._exit", lambda code: ended.set()
    )
    publisher.publish(sensors.cloud(time.time_ns()))
    wait_until(lambda: node._pipeline is not pipeline or ended.is_set(), "a new session")
    assert not ended.is_set(), "the process would have ended"

    def served():
        publisher.publish(sensors.cloud(time.time_ns()))
        return any(feature.valid for feature in features.messages[since:])

    wait_until(served, "a feature of the committed model")
    feature = features.wait(lambda feature: feature.valid, since=since)
    assert feature.model.name == "bev_lite_lidar_int8"
    assert node._models.model_infos()[0].model.name == "bev_lite_lidar_int8"
    assert not node._models.model_changing


def test_the_process_ends_when_sessions_keep_hanging(harness, monkeypatch):
    ended = threading.Event()
    monkeypatch.setattr(
        "edge_perception.nodes.encoder.hang_guard.os._exit", lambda code: ended.set()
    )
    node = harness.add(EncoderNode, "lidar", parameters={**FAST, "watchdog.session_restarts": 0})
    publisher = harness.driver.create_publisher(
        PointCloud2, "lidar/points", qos_profile_sensor_data
    )
    harness.start()
    wait_until(publisher.get_subscription_count, "discovery")
    release = threading.Event()
    hang(node, release)
    publisher.publish(sensors.cloud(time.time_ns()))
    try:
        assert ended.wait(60.0)
    finally:
        release.set()
