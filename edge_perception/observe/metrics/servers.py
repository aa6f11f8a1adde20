"""Real Prometheus and Alertmanager beside one run, with the shipped rules and faster intervals.

They are processes on loopback with their data in a folder of the run. Alerts come to a receiver in
this process, as they would come to anybody's webhook.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

from edge_perception.core.errors import EdgePerceptionError
from edge_perception.core.ports import free_port
from edge_perception.core.share import share_file
from edge_perception.running.processes import NodeProcesses

# What a program is called, Debian's name first, and the package that brings it.
PROGRAMS: Mapping[str, tuple[tuple[str, ...], str]] = {
    "prometheus": (("prometheus",), "prometheus"),
    "alertmanager": (("prometheus-alertmanager", "alertmanager"), "prometheus-alertmanager"),
    "promtool": (("promtool",), "prometheus"),
}
_INTERVAL = "1s"
_ANSWER_S = 5.0


class ServerError(EdgePerceptionError):
    """Prometheus or Alertmanager is not installed, has ended, or does not answer as expected."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One series of a query over a span of time."""

    labels: Mapping[str, str]
    points: tuple[tuple[float, float], ...]  # s since the epoch, value


def program(name: str) -> str | None:
    """Return the path of one of PROGRAMS, None where it is not installed."""
    return next(filter(None, map(shutil.which, PROGRAMS[name][0])), None)


def missing_packages() -> tuple[str, ...]:
    """Return Debian's packages without which `AlertServers` cannot run."""
    names = ("prometheus", "alertmanager")
    return tuple(PROGRAMS[name][1] for name in names if program(name) is None)


class Alerts:
    """What Alertmanager sent, in the order of arrival; from any thread."""

    def __init__(self) -> None:
        self._came = threading.Condition()
        self._alerts: list[dict[str, Any]] = []

    def add(self, alert: dict[str, Any]) -> None:
        """Take one."""
        with self._came:
            self._alerts.append(alert)
            self._came.notify_all()

    @property
    def all(self) -> tuple[dict[str, Any], ...]:
        """Those that came."""
        with self._came:
            return tuple(self._alerts)

    def wait(self, wanted: Callable[[dict[str, Any]], bool], timeout_s: float) -> dict[str, Any]:
        """Return the first that is wanted.

        Raises:
            ServerError: none came in time.
        """
        end = time.monotonic() + timeout_s
        with self._came:
            while True:
                found = next(filter(wanted, self._alerts), None)
                if found is not None:
                    return found
                if (left_s := end - time.monotonic()) <= 0.0:
                    raise ServerError(
                        f"no such alert within {timeout_s:g} s; came: "
                        f"{[(a['labels'].get('alertname'), a['status']) for a in self._alerts]}"
                    )
                self._came.wait(left_s)


class AlertServers:
    """A context manager that leaves no process behind.

    Args:
        folder: of this run; gets configuration, data and logs.
        metrics_port: where metrics are served on loopback.
    """

    def __init__(self, folder: Path, metrics_port: int) -> None:
        self._folder, self._metrics_port = folder, metrics_port
        self._prometheus, self._alertmanager = free_port(), free_port()
        self._stack = contextlib.ExitStack()
        self._processes: NodeProcesses | None = None
        self.alerts = Alerts()

    def __enter__(self) -> AlertServers:
        """Start.

        Raises:
            ServerError: one of them is not installed.
        """
        if packages := missing_packages():
            raise ServerError(f"not installed: Debian's {' and '.join(packages)}")
        with contextlib.ExitStack() as stack:
            hook = stack.enter_context(_receiver(self.alerts.add))
            self._configure(hook)
            processes = NodeProcesses(
                self._commands(), environment=os.environ, log_folder=self._folder / "logs"
            )
            self._processes = stack.enter_context(processes)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def ready(self) -> bool:
        """Whether both answer, and Prometheus has read the metrics once.

        Raises:
            ServerError, NodeDiedError: one has ended.
        """
        if not self._ask(self._alertmanager, "-/ready"):
            return False
        return bool(self.query("edge_perception_fused_silence_seconds"))

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the series of an instant query; empty also before Prometheus listens."""
        return self._result("query", {"query": expression})

    def query_range(
        self, expression: str, start_s: float, end_s: float, step_s: float = 1.0
    ) -> list[Line]:
        """Return the series of a query over time, s since the epoch."""
        times = {"start": f"{start_s:.3f}", "end": f"{end_s:.3f}", "step": f"{step_s:g}"}
        return [
            Line(
                labels=item["metric"],
                points=tuple((float(at), float(value)) for at, value in item["values"]),
            )
            for item in self._result("query_range", {"query": expression, **times})
        ]

    def _result(self, kind: str, parameters: Mapping[str, str]) -> list[dict[str, Any]]:
        path = f"api/v1/{kind}?{urllib.parse.urlencode(parameters)}"
        text = self._ask(self._prometheus, path)
        return list(json.loads(text)["data"]["result"]) if text else []

    def _ask(self, port: int, path: str) -> str:
        """Return what a server says; empty before it listens.

        Raises:
            ServerError: it refuses the question.
            NodeDiedError: one has ended.
        """
        assert self._processes is not None
        self._processes.check()
        url = f"http://127.0.0.1:{port}/{path}"
        try:
            with urllib.request.urlopen(url, timeout=_ANSWER_S) as said:
                return str(said.read().decode())
        except urllib.error.HTTPError as error:
            if error.code == 503:  # it listens and is not ready yet
                return ""
            raise ServerError(f"{url}: {error}: {error.read().decode()[:300]}") from error
        except OSError:
            return ""

    def _commands(self) -> dict[str, list[str]]:
        found = {name: str(program(name)) for name in ("prometheus", "alertmanager")}
        return {
            "alertmanager": [
                found["alertmanager"],
                f"--config.file={self._folder}/alertmanager.yaml",
                f"--storage.path={self._folder}/alerts",
                f"--web.listen-address=127.0.0.1:{self._alertmanager}",
                "--cluster.listen-address=",
            ],
            "prometheus": [
                found["prometheus"],
                f"--config.file={self._folder}/prometheus.yaml",
                f"--storage.tsdb.path={self._folder}/series",
                f"--web.listen-address=127.0.0.1:{self._prometheus}",
            ],
        }

    def _configure(self, hook: str) -> None:
        """Write the shipped configuration with other ports, faster."""
        shutil.copytree(share_file("config/observing"), self._folder, dirs_exist_ok=True)
        with _edited(self._folder / "prometheus.yaml") as config:
            config["global"] = {"scrape_interval": _INTERVAL, "evaluation_interval": _INTERVAL}
            target = f"127.0.0.1:{self._metrics_port}"
            config["scrape_configs"][0]["static_configs"][0]["targets"] = [target]
            managers = config["alerting"]["alertmanagers"][0]["static_configs"][0]
            managers["targets"] = [f"127.0.0.1:{self._alertmanager}"]
        with _edited(self._folder / "recording_rules.yaml") as config:
            for group in config["groups"]:
                group["interval"] = _INTERVAL
        with _edited(self._folder / "alertmanager.yaml") as config:
            config["route"] |= {
                "receiver": "run", "group_wait": _INTERVAL, "group_interval": _INTERVAL,
            }  # fmt: skip
            webhooks = [{"url": hook, "send_resolved": True}]
            config["receivers"] = [{"name": "run", "webhook_configs": webhooks}]


@contextlib.contextmanager
def _edited(file: Path) -> Iterator[dict[str, Any]]:
    config = yaml.safe_load(file.read_text(encoding="utf-8"))
    yield config
    file.write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True), encoding="utf-8")


@contextlib.contextmanager
def _receiver(take: Callable[[dict[str, Any]], None]) -> Iterator[str]:
    """Take what Alertmanager sends; yields where."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()
            for alert in body["alerts"]:
                take(alert)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, name="alerts", daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
