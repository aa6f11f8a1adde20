"""Simulated time: what arrives before /clock, is stamped before it, or when it starts anew."""

import threading

import pytest
import sensors
from harness import wait_until
from rclpy.qos import qos_profile_sensor_data
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import PointCloud2

from edge_perception.msg import FusedPerception, SourceStatus
from edge_perception.nodes.conversion import time_msg
from edge_perception.nodes.encoder.node import EncoderNode
from edge_perception.nodes.fusion.node import FusionNode

NS = 10**9
STEP_NS = NS // 10


class Simulation:
    """A simulator that publishes clouds, and /clock where it is told to."""

    def __init__(self, harness):
        common = {"use_sim_time": True}
        harness.add(EncoderNode, "lidar", parameters={**common, "rate_hz": 5.0})
        fusion = {"sources": ["lidar"], "model": "", "lidar.rate_hz": 5.0}
        self.fusion = harness.add(FusionNode, parameters={**common, **fusion})
        self.clouds = harness.driver.create_publisher(
            PointCloud2, "lidar/points", qos_profile_sensor_data
        )
        self.clock = harness.driver.create_publisher(Clock, "clock", qos_profile_sensor_data)
        self.fused = harness.subscribe(FusedPerception, "perception/fused")
        harness.start()
        wait_until(
            lambda: self.clouds.get_subscription_count() and self.clock.get_subscription_count(),
            "discovery",
        )
        self._pause = threading.Event()

    def run(self, frames, *, start_ns, clock=True, stamp_ns=lambda now: now):
        """Let the simulation run for some frames of 0.1 s."""
        for frame in range(frames):
            now_ns = start_ns + frame * STEP_NS
            if clock:
                self.clock.publish(Clock(clock=time_msg(now_ns)))
            self.clouds.publish(sensors.cloud(stamp_ns(now_ns)))
            self._pause.wait(0.1)

    def runs_full(self, *, start_ns, since):
        """Let it run until eight full views came and all is well, up to 15 s of its time."""
        for frame in range(150):
            self.run(1, start_ns=start_ns + frame * STEP_NS)
            if len(self.full_views(since)) >= 8 and self.last_state().state == SourceStatus.OK:
                return True
        return False

    def full_views(self, since):
        return [
            message
            for message in self.fused.messages[since:]
            if message.mode == FusedPerception.MODE_FULL and message.valid
        ]

    def last_state(self):
        return self.fused.messages[-1].sources[0]


@pytest.fixture
def simulation(harness):
    return Simulation(harness)


@pytest.mark.parametrize("early_ns", [0, 60 * NS], ids=["stamped zero", "stamped ahead"])
def test_frames_before_the_first_clock_cost_nothing_after_it(simulation, early_ns):
    simulation.run(5, start_ns=60 * NS, clock=False, stamp_ns=lambda now: now if early_ns else 0)
    assert simulation.full_views(0) == []
    before = len(simulation.fused.messages)
    assert simulation.runs_full(start_ns=61 * NS, since=before)


def test_a_clock_that_comes_after_the_nodes_ran_without_it(simulation):
    """The clock starts later than the stamps: those from before it are old, not wrong."""
    simulation.run(5, start_ns=100 * NS, stamp_ns=lambda now: now - 5 * NS)
    before = len(simulation.fused.messages)
    assert simulation.runs_full(start_ns=101 * NS, since=before)


def test_a_simulation_that_starts_anew(simulation):
    simulation.run(10, start_ns=500 * NS)
    before = len(simulation.fused.messages)
    assert simulation.runs_full(start_ns=1 * NS, since=before)
