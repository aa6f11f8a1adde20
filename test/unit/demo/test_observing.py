"""What the demo makes of alerts, and of a machine without Prometheus."""

from __future__ import annotations

import io
import json

import pytest
import yaml

pytest.importorskip("prometheus_client", reason="prometheus-client, extra 'observe', is missing")

from edge_perception.demo import observed
from edge_perception.demo.drifting import live_drift, parameters_of
from edge_perception.demo.observed import AlertSpan, DemoObserver, StateChange, of_pull
from edge_perception.recordings.player import CutEvent, PlayReport
from edge_perception.recordings.schedule import Cut

BEGAN_S = 1_700_000_000.0
LIDAR = Cut(name="lidar", start_s=10.0, end_s=22.0)


def stamp(seconds: float) -> str:
    return f"2023-11-14T22:13:{20 + seconds:012.9f}Z"  # 20 s past is BEGAN_S; nanoseconds as Go has


def alert(status: str, fired_s: float, ends_s: float) -> dict:
    return {
        "status": status,
        "fingerprint": "1",
        "labels": {"alertname": "EdgePerceptionSourceLost", "source": "lidar"},
        "annotations": {"summary": "lidar is missing"},
        "startsAt": stamp(fired_s),
        "endsAt": stamp(ends_s) if status == "resolved" else "0001-01-01T00:00:00Z",
    }


def observer(tmp_path, monkeypatch, *, missing=(), alerts=()):
    monkeypatch.setattr(observed, "missing_packages", lambda: missing)
    monkeypatch.setattr(observed, "program", lambda _: None)
    monkeypatch.setattr(observed, "drift_page", lambda *_: "drift      nothing")
    said = []
    made = DemoObserver(tmp_path, said.append)
    made.folder.mkdir()
    made._began_s, made._alerts = BEGAN_S, alerts
    made._metrics = "x 1.0\n"
    return made, said


def report(returned_s: float = 22.0) -> PlayReport:
    first_ns, last_ns = (round((BEGAN_S + s) * 1e9) for s in (10.0, returned_s))
    return PlayReport(cuts=[CutEvent(cut=LIDAR, first_missing_ns=first_ns, returned_ns=last_ns)])


def test_an_alert_that_fired_and_was_resolved_is_told_with_its_times(tmp_path, monkeypatch):
    alerts = (alert("firing", 16.25, 0.0), alert("resolved", 16.25, 23.5))
    made, said = observer(tmp_path, monkeypatch, alerts=alerts)
    assert made.write(tmp_path / "r.mcap", (), report()) == []
    told = json.loads((made.folder / "alerts.json").read_text())
    assert [(a["fired_s"], a["resolved_s"]) for a in told["alerts"]] == [(16.2, 23.5)]
    assert any(
        "pulled at 10.0 s, fired at 16.2 s; back at 22.0 s, resolved at 23.5 s" in s for s in said
    )
    assert any("not checked: promtool" in line for line in said)
    assert (made.folder / "dashboards/overview.json").exists()


@pytest.mark.parametrize(
    ("alerts", "problem"),
    [
        ((), "lidar was pulled at 10.0 s and EdgePerceptionSourceLost did not fire"),
        ((alert("firing", 16.0, 0.0),), "lidar came back and EdgePerceptionSourceLost was not"),
    ],
)
def test_an_alert_that_does_not_come_or_stays_is_not_as_expected(
    tmp_path, monkeypatch, alerts, problem
):
    made, _ = observer(tmp_path, monkeypatch, alerts=alerts)
    (found,) = made.write(tmp_path / "r.mcap", (), report())
    assert found.startswith(problem)


@pytest.mark.parametrize(
    ("spans", "pull", "problem"),
    [
        ([(8.1, 9.1)], (10.2, 22.1), "did not fire"),
        ([(8.1, None)], (10.2, 22.1), "did not fire: it stood since 8.1 s"),
        ([(8.1, 30.0)], (10.2, 22.1), "did not fire: it stood since 8.1 s"),
        ([(25.0, 26.0)], (10.2, 22.1), "did not fire"),
        ([(15.2, 18.0)], (10.2, 22.1), "was resolved at 18.0 s, before lidar came back"),
        ([(16.7, 23.6)], (None, None), "the recording ended before it was pulled"),
        ([(8.1, 9.1), (16.7, 23.6)], (10.2, 22.1), None),
        ([(15.2, 18.0), (20.0, 23.6)], (10.2, 22.1), None),
    ],
)
def test_an_alert_of_another_time_is_none_of_the_pull(spans, pull, problem):
    told = [
        AlertSpan(
            alert="EdgePerceptionSourceLost", labels={"source": "lidar"}, text="",
            fired_s=fired_s, resolved_s=resolved_s,
        )
        for fired_s, resolved_s in spans
    ]  # fmt: skip
    cut = {"source": "lidar", "from_s": pull[0], "to_s": pull[1]}
    line, problems = of_pull(cut, told)
    assert (problem is None) == (not problems)
    assert problem is None or problem in problems[0]
    assert problem is not None or "resolved at 23.6 s" in line


def test_without_prometheus_no_alert_is_claimed(tmp_path, monkeypatch):
    made, said = observer(tmp_path, monkeypatch, missing=("prometheus",))
    made._changes = [StateChange(at_s=11.0, source="lidar", state="STALE")]
    assert made.write(tmp_path / "r.mcap", (), report()) == []
    told = json.loads((made.folder / "alerts.json").read_text())
    assert told["alerts"] == []
    assert told["not_evaluated_because"] == "not installed: Debian's prometheus"
    assert any("alerts     not evaluated, not installed: Debian's prometheus" in s for s in said)
    assert any("11.0 s lidar STALE" in line for line in said)


def test_the_nodes_get_the_references_of_the_recording(tmp_path):
    files = {"camera": tmp_path / "camera.drift.json", "lidar": tmp_path / 'a "b".drift.json'}
    params = yaml.safe_load(parameters_of(files))
    assert {node: held["ros__parameters"] for node, held in params.items()} == {
        f"/**/{name}_encoder": {"monitor.drift_reference": str(path)}
        for name, path in files.items()
    }


def test_live_drift_is_told_as_the_metrics_have_it():
    metrics = (
        'edge_perception_drift_known{source="camera"} 1.0\n'
        'edge_perception_drifted_quantities{source="camera"} 2.0\n'
        'edge_perception_drift_known{source="lidar"} 0.0\n'
    )
    assert list(live_drift(metrics, ("camera", "lidar"))) == [
        "drift      live, camera: 2 quantities drifted",
        "drift      live, lidar: not known yet",
    ]


@pytest.mark.parametrize("back", [True, False])
def test_a_scrape_that_fails_is_a_problem_only_at_the_end(tmp_path, monkeypatch, back):
    made, _ = observer(tmp_path, monkeypatch)
    answers = [OSError("timed out"), io.BytesIO(b"y 1.0\n")]
    answers = iter(answers if back else answers[::-1])

    class Twice:
        def wait(self, _):
            self.left = getattr(self, "left", 3) - 1
            return not self.left

    def asked(*_, **__):
        answer = next(answers)
        if isinstance(answer, OSError):
            raise answer
        return answer

    monkeypatch.setattr(observed.urllib.request, "urlopen", asked)
    made._sample(Twice())
    assert made._metrics == "y 1.0\n"
    assert len(made._problems) == (0 if back else 1)
