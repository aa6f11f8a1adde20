"""Bonds of nodes; run by test_interfaces with the package bond."""

from __future__ import annotations

import pytest
from bond.msg import Status
from harness import wait_until

from edge_perception.nodes.encoder.node import EncoderNode
from edge_perception.nodes.manager.node import ModelManagerNode


class Side:
    """The manager's side of a bond, as the package bond has it."""

    def __init__(self, harness, name):
        self.name, self.sisters, self.alive = name, [], None
        harness.driver.create_subscription(Status, "/car/bond", self.on_status, 5)

    def on_status(self, status):
        if status.id != self.name:
            return
        if status.instance_id not in self.sisters:
            self.sisters.append(status.instance_id)
        self.alive = status.active


@pytest.mark.parametrize(
    ("make", "name"),
    [((EncoderNode, "lidar"), "lidar_encoder"), ((ModelManagerNode,), "model_manager")],
)
def test_a_bond_lasts_while_the_node_is_active(harness, make, name):
    side = Side(harness, name)
    statuses = harness.subscribe(Status, "/car/bond", 5)
    node = harness.add(*make, namespace="car", parameters={"bond_period_s": 0.1})
    harness.start()
    wait_until(lambda: side.alive, "the bond")
    seen = len(statuses.messages)
    wait_until(lambda: len(statuses.messages) > seen + 2, "heartbeats")
    assert statuses.messages[-1].heartbeat_period == pytest.approx(0.1)
    node.trigger_deactivate()
    wait_until(lambda: side.alive is False, "the end of the bond")
    node.trigger_activate()
    wait_until(lambda: side.alive, "the next bond")
    assert len(side.sisters) == 2  # a bond that ended is never formed again
    node.close()
    wait_until(lambda: side.alive is False, "the end with the node")


def test_nobody_asked_for_a_bond(harness):
    harness.add(ModelManagerNode)
    harness.start()
    assert harness.driver.count_publishers("bond") == 0
