"""The SROS 2 example gives each node what it uses, checked against the graph of running nodes.

Enforcing it needs a DDS build with the security plugins, which the wheels lack.
"""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from harness import wait_until

from edge_perception.core.share import share_file
from edge_perception.nodes.encoder.node import EncoderNode
from edge_perception.nodes.fusion.node import FusionNode
from edge_perception.nodes.manager.node import ModelManagerNode
from edge_perception.observe.metrics.node import MetricsNode
from edge_perception.observe.resources.node import ResourcesNode
from edge_perception.observe.traces.node import TracesNode

NODES = {
    "camera_encoder": (EncoderNode, ("camera",)),
    "lidar_encoder": (EncoderNode, ("lidar",)),
    "audio_encoder": (EncoderNode, ("audio",)),
    "fusion": (FusionNode, ()),
    "model_manager": (ModelManagerNode, ()),
    "metrics": (MetricsNode, ()),
    "resources": (ResourcesNode, ()),
    "traces": (TracesNode, ()),
}

# Used where simulated time, or the package of a message type, is there.
NOT_ALWAYS = {
    "/clock",
    "/audio_stamped",
    "/audio_info",
    "/audio_common",
    "/perception/detections",
    "/rosout",
}


def rights(node: str, kind: str, right: str, item: str) -> set[str]:
    root = ElementTree.parse(share_file("config/sros2/policy.xml")).getroot()
    found = root.findall(f".//profile[@node='{node}']/{kind}[@{right}='ALLOW']/{item}")
    return {f"/{(name.text or '').lstrip('/')}" for name in found}


@pytest.mark.parametrize("name", NODES)
def test_a_node_has_the_rights_it_uses(harness, name):
    make, args = NODES[name]
    if make is MetricsNode:
        pytest.importorskip("prometheus_client", reason="extra 'observe' is not installed")
        harness.add(make, *args, parameters={"port": 0})
    elif make is TracesNode:
        pytest.importorskip("opentelemetry", reason="extra 'traces' is not installed")
        harness.add(make, *args)
    else:
        harness.add(make, *args)
    harness.start()
    driver = harness.driver
    wait_until(lambda: name in driver.get_node_names(), "discovery")
    wait_until(
        lambda: any(
            service.endswith("/get_parameters")
            for service, _ in driver.get_service_names_and_types_by_node(name, "/")
        ),
        "services",
    )
    published = {topic for topic, _ in driver.get_publisher_names_and_types_by_node(name, "/")}
    subscribed = {topic for topic, _ in driver.get_subscriber_names_and_types_by_node(name, "/")}
    served = {item for item, _ in driver.get_service_names_and_types_by_node(name, "/")}
    actions = rights(name, "actions", "execute", "action")
    published = {topic for topic in published if topic.split("/_action/")[0] not in actions}
    served = {item for item in served if "/_action/" not in item}
    for used, kind, right, item in (
        (published, "topics", "publish", "topic"),
        (subscribed, "topics", "subscribe", "topic"),
        (served, "services", "reply", "service"),
    ):
        allowed = rights(name, kind, right, item)
        assert used <= allowed
        assert allowed - used <= NOT_ALWAYS, "no right that the node has no use for"


def test_only_encoders_publish_features_and_only_fusion_the_view():
    for name in NODES:
        published = rights(name, "topics", "publish", "topic")
        own = {f"/features/{name.removesuffix('_encoder')}"} if name.endswith("_encoder") else set()
        assert {topic for topic in published if topic.startswith("/features/")} == own
        assert ("/perception/fused" in published) == (name == "fusion")
        assert ("/perception/safe_stop" in published) == (name == "fusion")
