"""What launch files of others call nodes: the name tells the source, and others find them by it."""

import pytest
from diagnostic_msgs.msg import DiagnosticArray

from edge_perception.nodes.encoder.node import EncoderNode
from edge_perception.nodes.fusion.node import FusionNode
from edge_perception.observe.doctor.observe import observe
from edge_perception.observe.doctor.rules import causes


def named(name):
    return {"cli_args": ["--ros-args", "-r", f"__node:={name}"]}


def test_the_name_of_an_encoder_tells_its_source_whichever_executable_it_is(harness):
    lidar = harness.add(EncoderNode, "lidar", **named("lidar_front_encoder"))
    harness.start()
    assert lidar.get_parameter("source").value == "lidar_front"
    topics = [s.topic_name for s in lidar.subscriptions]
    assert "/lidar_front/points" in topics
    assert [p.topic_name for p in lidar.publishers if p.topic_name.startswith("/features")] == [
        "/features/lidar_front"
    ]


@pytest.mark.parametrize(
    ("make", "name", "expected"),
    [
        (lambda **kwargs: EncoderNode("lidar", **kwargs), "front_scanner", "lidar_encoder"),
        (FusionNode, "fuser", "fusion"),
    ],
    ids=["encoder", "fusion"],
)
def test_a_name_by_which_nobody_finds_a_node_is_told(harness, ros_domain, make, name, expected):
    told = harness.subscribe(DiagnosticArray, "/diagnostics")
    parameters = {"sources": ["lidar"], "model": ""} if make is FusionNode else {}
    node = harness.add(make, parameters=parameters, **named(name))
    harness.start()
    text = f"called '{name}' and not '{expected}'"
    told.wait(lambda array: any(s.name == name for s in array.status))
    assert text in node._health().message
    for _ in range(10):
        found = {cause.code: cause for cause in causes(observe(domain_id=ros_domain, watch_s=0.5))}
        if "node_name" in found:
            break
    assert found["node_name"].text.startswith(f"/{name} serves models")
    assert "not_running" not in found
