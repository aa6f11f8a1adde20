"""The text that Prometheus reads, over HTTP, and as its own tool sees it."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import urllib.request
from contextlib import closing

import pytest
from pipeline_messages import S, event, facts, source, view

pytest.importorskip("prometheus_client", reason="prometheus-client, extra 'observe', is missing")

from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_families
from prometheus_client.parser import text_string_to_metric_families

from edge_perception.cli.main import main
from edge_perception.core.errors import ConfigurationError
from edge_perception.observe.metrics.catalogue import METRICS
from edge_perception.observe.metrics.drift_values import DriftValues
from edge_perception.observe.metrics.exposition import registry_of
from edge_perception.observe.metrics.server import MetricsServer, PortError, is_loopback
from edge_perception.observe.metrics.state import PipelineState
from edge_perception.observe.metrics.told import RESOURCES, SHARING
from edge_perception.releases.slo import Slo

ACCEPT_OPEN = "application/openmetrics-text; version=1.0.0"


@pytest.fixture
def registry():
    state = PipelineState(Slo(), facts, started_ns=0, started_stamp_ns=0)
    sources = [source(clock_offset_s=0.01), source("lidar")]
    state.on_view(view(1, sources=sources, speed_advice_mps=8.0), S)
    state.on_drift("camera", DriftValues(known=True, drifted=("score",), psi={"score": 1.2}), S)
    state.on_event(event("rolled back", sec=3, error=True))
    state.on_status("fusion", 0, S)
    names = {"temperature_c": "cpu", "watts": "VDD_IN", "disk_traffic_bytes": "read",
             "network_bytes": "sent", "joules_per_inference": "bev"}  # fmt: skip
    names |= dict.fromkeys(("node_cpu_cores", "node_pss_bytes"), "fusion")
    names |= dict.fromkeys(("gpu_share", "gpu_memory_used_bytes"), "gpu0")
    names |= dict.fromkeys(("battery_charge_share", "battery_left_s", "battery_watts"), "vehicle")
    told = {f"{kind} {names.get(kind, '')}".strip(): "1" for kind in RESOURCES}
    state.told.on_resources({**told, "throttling": "none"}, S)
    load = {"load_step": "0 of 1: nothing given up", "load_skipped": "0", "load_reused": "0",
            "model_cache_hit_rate": "0.50"}  # fmt: skip
    state.told.on_encoder("camera", load | dict.fromkeys(SHARING, "1"), S)
    return registry_of(state, lambda: S)


@pytest.fixture
def server(registry):
    with closing(MetricsServer(registry, "127.0.0.1", 0)) as server:
        yield server


def fetch(server: MetricsServer, accept: str = "") -> tuple[str, str]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{server.port}/metrics", headers={"Accept": accept}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.headers["Content-Type"], answer.read().decode()


def test_both_formats_hold_every_metric_of_the_list(server):
    kind, text = fetch(server)
    assert kind.startswith("text/plain")
    shown = {f.name: f for f in text_string_to_metric_families(text)}
    for metric in METRICS:
        family = shown[metric.series if metric.kind.value == "info" else metric.family]
        assert family.documentation == metric.text
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(metric.label_names)
    kind, text = fetch(server, ACCEPT_OPEN)
    assert kind.startswith("application/openmetrics-text")
    families = {family.name: family for family in open_families(text)}
    assert {metric.family for metric in METRICS} <= set(families)
    assert all(families[metric.family].unit == metric.unit for metric in METRICS)


def test_promtool_finds_nothing_to_say(server):
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed (Debian's package prometheus)")
    _, text = fetch(server)
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stdout + done.stderr


def test_texts_of_others_cannot_break_the_format(registry):
    state = PipelineState(Slo(), facts, started_ns=0, started_stamp_ns=0)
    state.on_view(view(sources=[source('camera"} 1\n# TYPE x counter\nx 9\\')]), S)
    text = openmetrics.generate_latest(registry_of(state, lambda: S)).decode()
    assert not re.search(r"^x 9", text, re.MULTILINE)
    sources = {
        sample.labels["source"]
        for family in open_families(text)
        for sample in family.samples
        if "source" in sample.labels
    }
    assert sources == {'camera"} 1\n# TYPE x counter\nx 9\\'}


def test_a_port_in_use_is_named(registry):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(
            PortError, match=rf"127\.0\.0\.1:{port}: cannot listen: Address already"
        ):
            MetricsServer(registry, "127.0.0.1", port)
    with closing(MetricsServer(registry, "127.0.0.1", port)) as server:
        with pytest.raises(PortError, match="already in use"):
            MetricsServer(registry, "127.0.0.1", port)
        assert fetch(server)[1]


def test_an_address_is_one_of_this_machine(registry):
    with pytest.raises(PortError, match=r"192\.0\.2\.1:9464: cannot listen"):
        MetricsServer(registry, "192.0.2.1", 9464)
    with pytest.raises(ConfigurationError, match="expected an IP address"):
        MetricsServer(registry, "localhost", 9464)
    assert is_loopback("::1")
    assert not is_loopback("0.0.0.0")


@pytest.mark.parametrize(
    ("words", "said"),
    [(("--address", "nowhere"), "expected an IP address"), (("--port", "70000"), "65535")],
)
def test_the_command_refuses_where_nothing_can_listen(words, said, capsys):
    assert main(["metrics", *words]) == 2
    assert said in capsys.readouterr().err
