"""Pages of dashboards and of drift, drawn from planted data."""

from __future__ import annotations

import re

import pytest

from edge_perception.monitoring.drift.detector import QuantityFigure, QuantityLook
from edge_perception.observe.drift.making import Held
from edge_perception.observe.drift.page import write_drift_page
from edge_perception.observe.metrics import servers
from edge_perception.observe.metrics.dashboards import dashboards
from edge_perception.observe.metrics.panels import write_dashboard
from edge_perception.observe.metrics.servers import (
    Alerts,
    AlertServers,
    Line,
    ServerError,
    missing_packages,
)


def test_a_dashboard_is_drawn_and_a_panel_without_data_says_so(tmp_path):
    asked = []

    def ask(query: str) -> list[Line]:
        asked.append(query)
        if "source_state" in query:
            points = tuple((100.0 + n, 1.0) for n in range(5))
            return [Line(labels={"source": "lidar", "state": "OK"}, points=points)]
        if "confidence_ratio" in query:
            labels = {"instance": "<b>"}
            return [Line(labels=labels, points=((100.0, 0.5), (103.0, 0.9)))]
        return []

    page = tmp_path / "overview.html"
    write_dashboard(page, dashboards()["overview"], ask, start_s=100.0, note="made & drawn")
    text = page.read_text()
    assert text.count("<svg") == len(dashboards()["overview"]["panels"])
    assert "lidar OK" in text
    assert "&lt;b&gt;" in text
    assert "<b>" not in text
    assert "made &amp; drawn" in text
    assert text.count("no data") == len(dashboards()["overview"]["panels"]) - 2
    assert not any("$" in query for query in asked)
    assert not re.search(r"(src|href)=.?http", text), "it needs no network"


def test_states_are_lanes_and_amounts_are_curves():
    kinds = {panel["title"]: panel["type"] for panel in dashboards()["overview"]["panels"]}
    assert kinds["Mode"] == kinds["Node level"] == "state-timeline"
    assert kinds["End to end"] == "timeseries"


def test_a_page_of_drift_tells_what_is_not_judged(tmp_path):
    def quantity(name, look, judged):
        return QuantityFigure(name=name, edges=(1.0, 2.0), before=(4, 4, 4), now=(0, 2, 9),
                              look=look, judged=judged)  # fmt: skip

    figures = (
        quantity("score", QuantityLook(samples=99, effective=40.0, psi=1.2, ks=0.4, z=7.0), True),
        quantity("input.sky", QuantityLook(samples=9, effective=3.1), False),
        quantity("latency", None, False),
    )
    held = Held(
        source="camera",
        said={"drift": "score", "conditions": "day 0.90", "drift_not_judged": "input.sky"},
        findings=("camera: drift of score: <from> -> to",),
        figures=figures,
    )
    page = tmp_path / "drift.html"
    write_drift_page(page, [("today.mcap", [held])])
    text = page.read_text()
    assert text.count("<svg") == 3
    assert "score: psi 1.20, ks 0.40, z 7.0" in text
    assert "input.sky: not judged, 3.1 effective samples" in text
    assert "latency: no window yet" in text
    assert "&lt;from&gt;" in text


def test_servers_that_are_not_installed_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(servers.shutil, "which", lambda _: None)
    assert missing_packages() == ("prometheus", "prometheus-alertmanager")
    with pytest.raises(ServerError, match="Debian's prometheus and prometheus-alertmanager"):
        AlertServers(tmp_path, 1).__enter__()


def test_an_alert_that_does_not_come_is_an_error_with_those_that_came():
    alerts = Alerts()
    alerts.add({"status": "firing", "labels": {"alertname": "Other"}})
    assert alerts.wait(lambda alert: alert["status"] == "firing", 0.0)
    with pytest.raises(ServerError, match=r"\('Other', 'firing'\)"):
        alerts.wait(lambda alert: alert["status"] == "resolved", 0.0)
