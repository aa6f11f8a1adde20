"""The text that Prometheus reads, over HTTP, and as its own tool sees it."""

from __future__ import annotations

import gzip
import math
import re
import shutil
import socket
import subprocess
import urllib.error
import urllib.request
from contextlib import closing

import pytest
from library_exposition import registry_of
from pipeline_messages import S, event, facts, source, view

pytest.importorskip("prometheus_client", reason="prometheus-client, extra 'observe', is missing")

from prometheus_client import generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_families
from prometheus_client.parser import text_string_to_metric_families

from edge_perception.cli.main import main
from edge_perception.core.errors import ConfigurationError
from edge_perception.observe.metrics.catalogue import METRICS
from edge_perception.observe.metrics.drift_values import DriftValues
from edge_perception.observe.metrics.exposition import PipelineText
from edge_perception.observe.metrics.server import (
    MetricsServer,
    PortError,
    application,
    is_loopback,
)
from edge_perception.observe.metrics.state import PipelineState
from edge_perception.observe.metrics.told import RESOURCES, SHARING
from edge_perception.releases.slo import Slo

ACCEPT_OPEN = "application/openmetrics-text; version=1.0.0"


@pytest.fixture
def state():
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
    return state


def serve(state: PipelineState, address: str, port: int) -> MetricsServer:
    return MetricsServer(PipelineText(state, lambda: S).write, address, port)


@pytest.fixture
def server(state):
    with closing(serve(state, "127.0.0.1", 0)) as server:
        yield server


def fetch(server: MetricsServer, accept: str = "") -> tuple[str, str]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{server.port}/metrics", headers={"Accept": accept}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
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


def pipeline_lines(text: bytes) -> list[str]:
    """Return the lines of a text but for those of the process, which change from call to call."""
    return [line for line in text.decode().split("\n") if "_metrics_process_" not in line]


def test_the_text_is_the_one_of_the_library_byte_by_byte(state):
    hard = {"end_to_end_s": math.inf, "deadline_missed_total": 123_456_789, "confidence": 1e-9}
    odd = source('q"\\\n', rate_hz=-math.inf, age_s=1e21, received=2**64 - 1)
    text, registry = PipelineText(state, lambda: 2 * S), registry_of(state, lambda: 2 * S)
    for number in (2, 3, 4):  # fronts of lines that were kept, and new ones beside them
        state.on_view(view(number, sources=[source(), odd], **(hard if number > 2 else {})), S)
        for is_open, library in ((False, generate_latest), (True, openmetrics.generate_latest)):
            ours, theirs = pipeline_lines(text.write(is_open=is_open)), library(registry)
            assert ours == pipeline_lines(theirs)
            assert len(ours) > 300
    state.refresh(60 * S)
    assert 'state="OK"' not in PipelineText(state, lambda: 60 * S).write(is_open=False).decode()


def test_an_answer_is_compressed_for_a_network_only_and_other_methods_are_refused(server, state):
    url = f"http://127.0.0.1:{server.port}/metrics"
    request = urllib.request.Request(url, headers={"Accept-Encoding": "gzip"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert answer.headers["Content-Encoding"] is None, "nothing is saved on loopback"
    with pytest.raises(urllib.error.HTTPError, match="405"):
        urllib.request.urlopen(urllib.request.Request(url, method="DELETE"), timeout=60)
    said = {}
    answered = application(PipelineText(state, lambda: S).write)(
        {"REQUEST_METHOD": "GET", "PATH_INFO": "/metrics", "REMOTE_ADDR": "192.0.2.7",
         "HTTP_ACCEPT_ENCODING": "br;q=1.0, gzip;q=0.8"},
        lambda _status, headers: said.update(headers),
    )  # fmt: skip
    assert said["Content-Encoding"] == "gzip"
    assert b"edge_perception_objects 2.0" in gzip.decompress(answered[0])


def test_texts_of_others_cannot_break_the_format():
    state = PipelineState(Slo(), facts, started_ns=0, started_stamp_ns=0)
    state.on_view(view(sources=[source('camera"} 1\n# TYPE x counter\nx 9\\')]), S)
    text = PipelineText(state, lambda: S).write(is_open=True).decode()
    assert not re.search(r"^x 9", text, re.MULTILINE)
    sources = {
        sample.labels["source"]
        for family in open_families(text)
        for sample in family.samples
        if "source" in sample.labels
    }
    assert sources == {'camera"} 1\n# TYPE x counter\nx 9\\'}


def test_a_port_in_use_is_named(state):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(
            PortError, match=rf"127\.0\.0\.1:{port}: cannot listen: Address already"
        ):
            serve(state, "127.0.0.1", port)
    with closing(serve(state, "127.0.0.1", port)) as server:
        with pytest.raises(PortError, match="already in use"):
            serve(state, "127.0.0.1", port)
        assert fetch(server)[1]


def test_an_address_is_one_of_this_machine(state):
    with pytest.raises(PortError, match=r"192\.0\.2\.1:9464: cannot listen"):
        serve(state, "192.0.2.1", 9464)
    with pytest.raises(ConfigurationError, match="expected an IP address"):
        serve(state, "localhost", 9464)
    assert is_loopback("::1")
    assert not is_loopback("0.0.0.0")


@pytest.mark.parametrize(
    ("words", "said"),
    [(("--address", "nowhere"), "expected an IP address"), (("--port", "70000"), "65535")],
)
def test_the_command_refuses_where_nothing_can_listen(words, said, capsys):
    assert main(["metrics", *words]) == 2
    assert said in capsys.readouterr().err
