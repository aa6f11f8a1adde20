"""A pulled LiDAR from real nodes through real Prometheus and Alertmanager, there and back."""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path

import pytest
from harness import Harness, wait_until

pytest.importorskip("prometheus_client", reason="prometheus-client, extra 'observe', is missing")

from edge_perception import msg
from edge_perception.core.types import Feature, ModelVersion
from edge_perception.nodes.conversion import feature_msg
from edge_perception.nodes.fusion.node import FusionNode
from edge_perception.observe.metrics.node import MetricsNode
from edge_perception.observe.metrics.servers import AlertServers, missing_packages

VERSION = ModelVersion(role="lidar", name="hand-made", version="1.0.0", sha256="0" * 64)


class Sensor(threading.Thread):
    """Publishes features at 10 Hz while it is plugged in."""

    def __init__(self, harness: Harness) -> None:
        super().__init__(daemon=True)
        self._publisher = harness.driver.create_publisher(msg.Feature, "features/lidar", 10)
        self.plugged, self._ended = threading.Event(), threading.Event()
        self.plugged.set()

    def run(self) -> None:
        sequence = 0
        while not self._ended.wait(0.1):
            if self.plugged.is_set():
                sequence += 1
                feature = Feature(
                    stamp_ns=time.time_ns(),
                    frame_id="lidar",
                    source="lidar",
                    modality="lidar",
                    model=VERSION,
                    sequence=sequence,
                )
                self._publisher.publish(feature_msg(feature))

    def end(self) -> None:
        self._ended.set()
        self.join()


@pytest.mark.timeout(180)
def test_a_pulled_lidar_alerts_and_its_return_resolves(harness: Harness, tmp_path: Path):
    if packages := missing_packages():
        pytest.skip(f"not installed: Debian's {' and '.join(packages)}")
    harness.add(FusionNode, parameters={"sources": ["lidar"], "model": ""})
    node = harness.add(MetricsNode, parameters={"port": 0})
    sensor = Sensor(harness)
    harness.start()
    wait_until(lambda: node.address, "metrics")
    with contextlib.ExitStack() as stack:
        stack.callback(sensor.end)
        sensor.start()
        fused = harness.subscribe(msg.FusedPerception, "perception/fused")
        fused.wait(lambda view: view.sources[0].state == msg.SourceStatus.OK)
        port = int(node.address.rpartition(":")[2])
        servers = stack.enter_context(AlertServers(tmp_path, port))

        def lost(status: str):
            return lambda alert: (
                alert["status"] == status
                and alert["labels"]["alertname"] == "EdgePerceptionSourceLost"
                and alert["labels"]["source"] == "lidar"
            )

        wait_until(servers.ready, "Prometheus and Alertmanager", 60.0, period_s=0.2)
        # Not before Prometheus has seen it well.
        seen = 'edge_perception_source_state{source="lidar",state="OK"} == 1'
        wait_until(lambda: servers.query(seen), "the source", 60.0, period_s=0.2)
        assert not any(lost("firing")(alert) for alert in servers.alerts.all)
        sensor.plugged.clear()
        fired = servers.alerts.wait(lost("firing"), 60.0)
        assert "stale, missing or invalid" in fired["annotations"]["summary"]
        sensor.plugged.set()
        resolved = servers.alerts.wait(lost("resolved"), 60.0)
        assert resolved["startsAt"] == fired["startsAt"] < resolved["endsAt"]
    print(f"fired {fired['startsAt']}, resolved {resolved['endsAt']}")
