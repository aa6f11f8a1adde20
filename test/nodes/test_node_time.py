"""A node's time is the system's, and /clock's as soon as that is asked for."""

import time

from harness import wait_until
from rclpy.parameter import Parameter
from rosgraph_msgs.msg import Clock

from edge_perception.nodes.fusion.node import FusionNode


def test_simulated_time_may_be_switched_on_and_off(harness):
    node = harness.add(FusionNode)
    clock = harness.driver.create_publisher(Clock, "/clock", 10)
    harness.start()
    before_ns = time.time_ns()
    assert before_ns <= node.clock.now().node_ns <= time.time_ns()

    node.set_parameters([Parameter("use_sim_time", value=True)])
    message = Clock()
    message.clock.sec = 1234

    def told() -> bool:
        clock.publish(message)
        return node.clock.now().node_ns == 1_234_000_000_000

    wait_until(told, "the time of /clock")
    node.set_parameters([Parameter("use_sim_time", value=False)])
    assert node.clock.now().node_ns >= before_ns
