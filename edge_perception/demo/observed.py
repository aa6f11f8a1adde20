"""What one run of the demo looks like from outside: metrics, alerts, dashboards, drift."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from edge_perception.core.extras import extra
from edge_perception.core.ports import free_port
from edge_perception.demo.drifting import (
    demo_references,
    drift_page,
    live_drift,
    parameters_of,
)
from edge_perception.observe.metrics.dashboards import dashboards
from edge_perception.observe.metrics.panels import write_dashboard
from edge_perception.observe.metrics.servers import (
    AlertServers,
    ServerError,
    missing_packages,
    program,
)
from edge_perception.observe.metrics.writing import write
from edge_perception.recordings.player import CutEvent, PlayReport
from edge_perception.recordings.schedule import Cut
from edge_perception.releases.slo_file import read_slo

FOLDER, METRICS_FILE, ALERTS_FILE, DRIFT_PAGE = (
    "observe",
    "metrics.txt",
    "alerts.json",
    "drift.html",
)
DURATION_S = 40.0
# Long enough for a lost source to be an alert (5 s in a row) and its return to end it.
CUTS = (
    Cut(name="lidar", start_s=10.0, end_s=22.0),
    Cut(name="camera", start_s=33.0, end_s=36.0),
)
_SAMPLE_S = 0.5
_READY_S = 20.0
_LOST = "EdgePerceptionSourceLost"
_STATE = re.compile(
    r'^edge_perception_source_state\{source="([^"]+)",state="([A-Z]+)"\} 1\.0$', re.M
)
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class AlertSpan:
    """One alert as Alertmanager told it; times in s since the start of playing."""

    alert: str
    labels: Mapping[str, str]
    text: str
    fired_s: float
    resolved_s: float | None  # None: not during the run


@dataclass(frozen=True, kw_only=True)
class StateChange:
    """A state of a source as the metrics first showed it, s since the start of playing."""

    at_s: float
    source: str
    state: str


class DemoObserver:
    """Looks at the running nodes as a monitoring system does.

    Args:
        out: folder of the demo.
        say: takes lines for the terminal.
    """

    def __init__(self, out: Path, say: Say) -> None:
        with extra("observe"):
            import prometheus_client  # noqa: F401  (the node says so too, but late)
        self.folder = out / FOLDER
        self._say = say
        self._port = free_port()
        self._missing = missing_packages()
        self._metrics = ""
        self._changes: list[StateChange] = []
        self._problems: list[str] = []
        self._alerts: Sequence[Mapping[str, Any]] = ()
        self._references: Mapping[str, Path] = {}
        self._began_s = self._ended_s = 0.0

    def prepare(self, recording: Path, params_files: Sequence[Path]) -> Sequence[Path]:
        """Make references of the recording, so that the nodes can tell drift from it."""
        self._say(
            "drift      the recording passes the encoders once, as the reference of the nodes"
        )
        self._references, missing = demo_references(recording, params_files, self.folder)
        for line in missing:
            self._say(f"           {line}")
        path = self.folder / "params.yaml"
        path.write_text(parameters_of(self._references), encoding="utf-8")
        return [path] if self._references else []

    @property
    def executables(self) -> Mapping[str, Sequence[str]]:
        """More nodes of the run, with their arguments."""
        return {"metrics": ("-p", f"port:={self._port}"), "resources": ()}

    @contextlib.contextmanager
    def beside(self) -> Iterator[None]:
        """Observe while a recording is played."""
        for old in (METRICS_FILE, ALERTS_FILE, DRIFT_PAGE):
            (self.folder / old).unlink(missing_ok=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            servers = None
            if not self._missing:
                work = self.folder / "prometheus"
                shutil.rmtree(work, ignore_errors=True)  # series of an earlier run
                servers = stack.enter_context(AlertServers(work, self._port))
                self._wait_ready(servers)
                self._say("observing  real Prometheus and Alertmanager, metrics every second")
            ended = threading.Event()
            sampler = threading.Thread(target=self._sample, args=(ended,), name="scrape")
            self._began_s = time.time()
            sampler.start()
            try:
                yield
            finally:
                self._ended_s = time.time()
                ended.set()
                sampler.join()
            if servers is not None:
                self._alerts = servers.alerts.all
                self._draw(servers)

    def write(self, recording: Path, params_files: Sequence[Path], play: PlayReport) -> list[str]:
        """Write what is left behind, say what came of it; return what was not as expected."""
        (self.folder / METRICS_FILE).write_text(self._metrics, encoding="utf-8")
        write(self.folder, read_slo(""))
        self._check_metrics()
        lost = [event for event in play.cuts if event.cut.name == "lidar"]
        spans = self._spans()
        report = {
            "pulled": [_pulled(event, self._began_s) for event in play.cuts],
            "alerts": [vars(span) for span in spans],
            "not_evaluated_because": self._why_none(),
            "states_in_metrics": [vars(change) for change in self._changes],
        }
        text = json.dumps(report, indent=1, default=dict)
        (self.folder / ALERTS_FILE).write_text(text + "\n", encoding="utf-8")
        if self._missing:
            self._say_changes()
        for event in lost:
            self._say_alert(event, spans)
        for line in live_drift(self._metrics, self._references):
            self._say(line)
        self._say("drift      the recording passes the encoders again, altered")
        references = list(self._references.values())
        self._say(drift_page(recording, params_files, references, self.folder / DRIFT_PAGE))
        names = sorted(path.name for path in self.folder.iterdir())
        self._say(f"written to {self.folder}/: {', '.join(names)}")
        return self._problems

    def _wait_ready(self, servers: AlertServers) -> None:
        end = time.monotonic() + _READY_S
        while not servers.ready():
            if time.monotonic() > end:
                raise ServerError(f"Prometheus: expected an answer within {_READY_S:g} s, got none")
            time.sleep(0.1)

    def _sample(self, ended: threading.Event) -> None:
        """Read the metrics again and again; the newest is kept, and what states it shows.

        A busy machine answers late now and then: only metrics that never came, or that had gone
        at the end, are not as expected.
        """
        before: dict[str, str] = {}
        failed = "never asked"
        while not ended.wait(_SAMPLE_S):
            try:
                url = f"http://127.0.0.1:{self._port}/metrics"
                with urllib.request.urlopen(url, timeout=5.0) as answer:
                    self._metrics = answer.read().decode()
                failed = ""
            except OSError as error:
                failed = str(error)
                continue
            at_s = round(time.time() - self._began_s, 1)
            for source, state in _STATE.findall(self._metrics):
                if before.get(source) != state:
                    self._changes.append(StateChange(at_s=at_s, source=source, state=state))
                before[source] = state
        if failed:
            self._problems.append(f"metrics at port {self._port}, at the end: {failed}")

    def _draw(self, servers: AlertServers) -> None:
        note = (
            "Drawn from what Prometheus recorded of this run, "
            f"{self._ended_s - self._began_s:.0f} s long, rates over 5 s; time in seconds. Grafana "
            "shows the same panels from dashboards/*.json."
        )
        for name, board in dashboards().items():
            write_dashboard(
                self.folder / f"dashboard_{name}.html",
                board,
                # Windows of a minute would show a run of less than one as its beginning.
                lambda query: servers.query_range(
                    query.replace("[1m]", "[5s]"), self._began_s, self._ended_s
                ),
                start_s=self._began_s,
                note=note,
            )

    def _check_metrics(self) -> None:
        promtool = program("promtool")
        if promtool is None:
            self._say("metrics    not checked: promtool (Debian's prometheus) is not installed")
            return
        done = subprocess.run(
            [promtool, "check", "metrics"],
            input=self._metrics, capture_output=True, text=True, check=False,
        )  # fmt: skip
        said = (done.stdout + done.stderr).strip()
        if done.returncode:
            self._problems.append(f"promtool check metrics: {said}")
        count = sum(not line.startswith("#") for line in self._metrics.splitlines())
        self._say(f"metrics    {count} series; promtool check metrics: {said or 'nothing to say'}")

    def _why_none(self) -> str:
        packages = " and ".join(self._missing)
        return f"not installed: Debian's {packages}" if self._missing else ""

    def _spans(self) -> list[AlertSpan]:
        found: dict[tuple[str, str], AlertSpan] = {}
        for alert in self._alerts:
            labels = dict(alert["labels"])
            resolved = _epoch_s(alert["endsAt"]) if alert["status"] == "resolved" else None
            found[alert["fingerprint"], alert["startsAt"]] = AlertSpan(
                alert=labels.pop("alertname"),
                labels=labels,
                text=alert["annotations"]["summary"],
                fired_s=round(_epoch_s(alert["startsAt"]) - self._began_s, 1),
                resolved_s=None if resolved is None else round(resolved - self._began_s, 1),
            )
        return sorted(found.values(), key=lambda span: span.fired_s)

    def _say_changes(self) -> None:
        self._say(f"alerts     not evaluated, {self._why_none()}. What the metrics said instead:")
        for change in self._changes:
            self._say(f"           {change.at_s:5.1f} s {change.source} {change.state}")

    def _say_alert(self, event: CutEvent, spans: Sequence[AlertSpan]) -> None:
        if self._missing:
            return
        line, problems = of_pull(_pulled(event, self._began_s), spans)
        self._problems += problems
        if line:
            self._say(f"alert      {line}")


def of_pull(cut: Mapping[str, Any], spans: Sequence[AlertSpan]) -> tuple[str, list[str]]:
    """Return what the alerts of a lost source say of a pull, and what is wrong with it.

    An alert that stood before the pull, or ended before the return, is not of this pull.

    Args:
        cut: as `ALERTS_FILE` has it: source, from_s, to_s.
        spans: all alerts, in the order in which they fired.
    """
    source, from_s, to_s = cut["source"], cut["from_s"], cut["to_s"]
    if from_s is None:
        return "", [f"{source}: the recording ended before it was pulled"]
    lost = [s for s in spans if s.alert == _LOST and s.labels.get("source") == source]
    during = [s for s in lost if from_s <= s.fired_s and (to_s is None or s.fired_s <= to_s)]
    if not during:
        before = [s for s in lost if s.fired_s < from_s <= (s.resolved_s or from_s)]
        why = f": it stood since {before[-1].fired_s} s" if before else ""
        return "", [f"{source} was pulled at {from_s} s and {_LOST} did not fire{why}"]
    span = during[-1]  # the one that stood when the source came back
    line = (
        f"{_LOST}: {source} pulled at {from_s} s, fired at {during[0].fired_s} s; "
        f"back at {to_s} s, resolved at {span.resolved_s} s"
    )
    if span.resolved_s is None:
        return line, [f"{source} came back and {_LOST} was not resolved"]
    if to_s is not None and span.resolved_s < to_s:
        return line, [f"{_LOST} was resolved at {span.resolved_s} s, before {source} came back"]
    return line, []


def _pulled(event: CutEvent, began_s: float) -> dict[str, Any]:
    ends = [event.first_missing_ns, event.returned_ns]
    first_s, last_s = (round(ns / 1e9 - began_s, 1) if ns else None for ns in ends)
    return {"source": event.cut.name.strip("/"), "from_s": first_s, "to_s": last_s}


def _epoch_s(stamp: str) -> float:
    """Return the time of RFC 3339, which Go writes with up to nine digits of a second."""
    shortened = re.sub(r"(\.\d{6})\d+", r"\1", stamp.replace("Z", "+00:00"))
    return datetime.fromisoformat(shortened).timestamp()
