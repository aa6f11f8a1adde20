"""The metrics of real nodes over HTTP: the view of fusion, its sources, the level of the nodes."""

from __future__ import annotations

import re
import socket
import sys
import time
import urllib.request

import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from harness import Harness, wait_until
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState

pytest.importorskip("prometheus_client", reason="prometheus-client, extra 'observe', is missing")

from edge_perception import msg
from edge_perception.nodes.fusion.node import FusionNode
from edge_perception.nodes.topics import qos
from edge_perception.nodes.topics.polled import PolledTopics
from edge_perception.observe.metrics.node import MetricsNode


def fetch(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
        return answer.read().decode()


def value(text: str, series: str) -> float | None:
    found = re.search(rf"^edge_perception_{re.escape(series)} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else None


@pytest.mark.timeout(90)
def test_metrics_of_real_nodes_and_a_port_in_use(harness: Harness):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        harness.add(FusionNode, parameters={"sources": ["lidar"], "model": ""})
        node = harness.add(MetricsNode, parameters={"port": port})
        harness.start()
        assert node.is_active, "a port in use is no reason to end"
        assert f"127.0.0.1:{port}: cannot listen" in node.health().message
    wait_until(lambda: node.address, "the port is taken once it is free")

    def shows(series: str, least: float) -> bool:
        return (value(fetch(port), series) or 0.0) >= least

    wait_until(lambda: shows('fused_views_total{mode="NONE",valid="false"}', 3), "views")
    wait_until(lambda: shows('source_state{source="lidar",state="MISSING"}', 1), "a source")
    wait_until(lambda: shows('node_level{level="ERROR",node="fusion"}', 1), "diagnostics")
    assert value(fetch(port), 'source_state{source="lidar",state="OK"}') == 0.0
    wait_until(lambda: (value(fetch(port), "fused_silence_seconds") or 9.0) < 2.0, "a new view")

    events = harness.driver.create_publisher(msg.ModelEvent, "model_events", qos.EVENTS)
    stamp = harness.driver.get_clock().now().to_msg()
    events.publish(msg.ModelEvent(event="rolled back", error=True, stamp=stamp))
    wait_until(lambda: shows('model_events_total{error="true",event="rolled_back"}', 1), "an event")

    views = harness.driver.create_publisher(msg.FusedPerception, "perception/fused", qos.FUSED)
    wait_until(views.get_subscription_count, "discovery")
    assert node._tending is not None
    node._tending.stop()  # a scrape takes what has come, whatever the node's own rhythm
    views.publish(msg.FusedPerception(mode=77))
    wait_until(lambda: shows('metrics_bad_messages_total{topic="fused"}', 1), "a bad message")

    request = ChangeState.Request(transition=Transition(id=Transition.TRANSITION_DEACTIVATE))
    assert harness.call(ChangeState, "metrics/change_state", request).success
    with pytest.raises(OSError, match="refused"):
        fetch(port)
    state = harness.call(GetState, "metrics/get_state", GetState.Request()).current_state
    assert state.id == State.PRIMARY_STATE_INACTIVE
    assert not harness.callback_errors


def test_without_the_library_the_node_says_so_and_is_no_reason_to_end(harness, monkeypatch):
    for module in ("exposition", "server"):
        monkeypatch.delitem(sys.modules, f"edge_perception.observe.metrics.{module}", raising=False)
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    node = harness.add(MetricsNode)
    assert node.state == "unconfigured"
    diagnostics = harness.subscribe(DiagnosticArray, "/diagnostics")
    harness.start()
    said = diagnostics.wait(lambda array: array.status[0].name == "metrics").status[0]
    assert said.level == DiagnosticStatus.ERROR
    assert "pip install 'edge_perception[observe]'" in said.message


def test_a_polled_message_tells_how_long_it_has_waited(harness):
    node, waited = harness.driver, []
    topics = PolledTopics(node)
    topics.subscribe(
        msg.ModelEvent, "polled", lambda _data: waited.append(topics.waited_ns / 1e9), 10
    )
    publisher = node.create_publisher(msg.ModelEvent, "polled", 10)
    wait_until(publisher.get_subscription_count, "discovery")
    began_s = time.monotonic()
    publisher.publish(msg.ModelEvent())
    wait_until(lambda: time.monotonic() > began_s + 0.3, "time")
    wait_until(lambda: topics.take() or waited, "the message")
    assert 0.1 < waited[0] <= time.monotonic() - began_s
    publisher.publish(msg.ModelEvent())
    wait_until(lambda: topics.take() or waited[1:], "another")
    assert waited[1] < waited[0], "no longer than since the take before"
    topics.close()
