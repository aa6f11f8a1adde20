"""A pulled LiDAR from real nodes through real Prometheus and Alertmanager, there and back."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import yaml
from harness import Harness, Received, wait_until

pytest.importorskip("prometheus_client", reason="prometheus-client, extra 'observe', is missing")

from edge_perception import msg
from edge_perception.core.share import share_file
from edge_perception.core.types import Feature, ModelVersion
from edge_perception.nodes.conversion import feature_msg
from edge_perception.nodes.fusion_node import FusionNode
from edge_perception.observe.metrics.node import MetricsNode

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


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextlib.contextmanager
def receiver() -> Iterator[tuple[str, Received]]:
    """Take what Alertmanager sends; yields where."""
    received = Received()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()
            for alert in body["alerts"]:
                received.add(alert)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/", received
    server.shutdown()
    server.server_close()
    thread.join()


def configure(folder: Path, metrics: int, alertmanager: int, hook: str) -> None:
    """Write the shipped configuration with other ports, faster."""
    shutil.copytree(share_file("config/observing"), folder, dirs_exist_ok=True)
    file = folder / "prometheus.yaml"
    config = yaml.safe_load(file.read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["scrape_configs"][0]["static_configs"][0]["targets"] = [f"127.0.0.1:{metrics}"]
    managers = config["alerting"]["alertmanagers"][0]["static_configs"][0]
    managers["targets"] = [f"127.0.0.1:{alertmanager}"]
    file.write_text(yaml.safe_dump(config))
    file = folder / "alertmanager.yaml"
    config = yaml.safe_load(file.read_text())
    config["route"] |= {"receiver": "test", "group_wait": "1s", "group_interval": "1s"}
    config["receivers"] = [
        {"name": "test", "webhook_configs": [{"url": hook, "send_resolved": True}]}
    ]
    file.write_text(yaml.safe_dump(config))


@contextlib.contextmanager
def running(*command: str, log: Path) -> Iterator[Callable[[int, str], str]]:
    """Run a server; yields what asks it, and ends the test with its log if it has ended."""
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)

    def ask(port: int, path: str) -> str:
        assert process.poll() is None, f"{command[0]} has ended: {log.read_text()[-600:]}"
        return answer(port, path)

    try:
        yield ask
    finally:
        process.terminate()
        process.wait(20.0)


@pytest.mark.timeout(180)
def test_a_pulled_lidar_alerts_and_its_return_resolves(harness: Harness, tmp_path: Path):
    for program in ("prometheus", "prometheus-alertmanager"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed (Debian's package of that name)")
    harness.add(FusionNode, parameters={"sources": ["lidar"], "model": ""})
    node = harness.add(MetricsNode, parameters={"port": 0})
    sensor = Sensor(harness)
    harness.start()
    wait_until(lambda: node.address, "metrics")
    alertmanager, prometheus = free_port(), free_port()
    with contextlib.ExitStack() as stack:
        stack.callback(sensor.end)
        sensor.start()
        fused = harness.subscribe(msg.FusedPerception, "perception/fused")
        fused.wait(lambda view: view.sources[0].state == msg.SourceStatus.OK)
        hook, alerts = stack.enter_context(receiver())
        configure(tmp_path, int(node.address.rpartition(":")[2]), alertmanager, hook)
        ask_alertmanager = stack.enter_context(
            running(
                "prometheus-alertmanager",
                f"--config.file={tmp_path}/alertmanager.yaml",
                f"--storage.path={tmp_path}/alerts",
                f"--web.listen-address=127.0.0.1:{alertmanager}",
                "--cluster.listen-address=",
                log=tmp_path / "alertmanager.log",
            )
        )
        ask_prometheus = stack.enter_context(
            running(
                "prometheus",
                f"--config.file={tmp_path}/prometheus.yaml",
                f"--storage.tsdb.path={tmp_path}/series",
                f"--web.listen-address=127.0.0.1:{prometheus}",
                log=tmp_path / "prometheus.log",
            )
        )

        def lost(status: str):
            return lambda alert: (
                alert["status"] == status
                and alert["labels"]["alertname"] == "EdgePerceptionSourceLost"
                and alert["labels"]["source"] == "lidar"
            )

        wait_until(
            lambda: "OK" in ask_alertmanager(alertmanager, "-/ready"),
            "Alertmanager",
            40.0,
            period_s=0.2,
        )
        # Not before Prometheus has seen it well.
        seen = "api/v1/query?query=edge_perception_source_state"
        wait_until(lambda: "lidar" in ask_prometheus(prometheus, seen), "rules", 60.0, period_s=0.2)
        assert not any(lost("firing")(alert) for alert in alerts.messages)
        sensor.plugged.clear()
        fired = alerts.wait(lost("firing"), timeout_s=60.0)
        assert "stale, missing or invalid" in fired["annotations"]["summary"]
        sensor.plugged.set()
        resolved = alerts.wait(lost("resolved"), timeout_s=60.0)
        assert resolved["startsAt"] == fired["startsAt"] < resolved["endsAt"]
    print(f"fired {fired['startsAt']}, resolved {resolved['endsAt']}")


def answer(port: int, path: str) -> str:
    """Return what a server says; empty before it listens."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=5) as said:
            return said.read().decode()
    except OSError:
        return ""
