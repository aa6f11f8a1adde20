"""Keeps processes running: respawn after a delay, up to a limit, and an end within two seconds.

Only the steady clock is used. A process that ends by itself is started again after `delay_s`; one
that ends too often within `window_s` is left alone and named, because a crash loop hides its cause
and starves the others.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

from edge_perception.core.child_process import ending, signal_group
from edge_perception.core.clock import Clock, SystemClock
from edge_perception.core.parameter import parameter
from edge_perception.running.ending import lifeline, signals_held

NS = 1_000_000_000
TERM_PATIENCE_S = 2.0  # from SIGTERM to SIGKILL


@dataclass(frozen=True, kw_only=True)
class ProcessSpec:
    """A process to keep running."""

    name: str
    command: tuple[str, ...]
    log: Path | None = None  # stdout and stderr; None: ours
    takes_signals: bool = False  # it calls `watch_signals`, and none must hit it before


@dataclass(frozen=True, kw_only=True)
class RespawnLimits:
    """How often a process may come back."""

    delay_s: float = parameter(0.5, unit="s", low=0.0, high=3600.0)
    most: int = parameter(10, low=0, high=10000)
    window_s: float = parameter(60.0, unit="s", low=0.1, high=86400.0)


@dataclass(kw_only=True)
class _Child:
    spec: ProcessSpec
    process: subprocess.Popen | None = None
    restarts: deque[int] = field(default_factory=deque)  # steady clock
    due_ns: int | None = None  # when to start it again
    given_up: bool = False


class Supervisor:
    """Starts processes, starts them again, and ends all of them."""

    def __init__(
        self,
        specs: Sequence[ProcessSpec],
        *,
        environment: Mapping[str, str],
        limits: RespawnLimits | None = None,
        say: Callable[[str], None] = print,
        clock: Clock | None = None,
    ) -> None:
        self._children = {spec.name: _Child(spec=spec) for spec in specs}
        self._environment = dict(environment)
        self._limits = limits or RespawnLimits()
        self._say = say
        self._clock: Clock = clock or SystemClock()
        self._stopping = Event()

    @property
    def pids(self) -> dict[str, int]:
        """Process ids of what runs now, by name."""
        return {
            name: child.process.pid
            for name, child in self._children.items()
            if child.process is not None and child.process.poll() is None
        }

    @property
    def given_up(self) -> list[str]:
        """Processes that ended too often."""
        return [name for name, child in self._children.items() if child.given_up]

    def restarts(self, name: str) -> int:
        """Return how often a process was started again within the window."""
        return len(self._children[name].restarts)

    def start(self) -> None:
        """Start all processes."""
        for child in self._children.values():
            self._launch(child)

    def poll(self) -> None:
        """Notice what ended and start what is due; never waits."""
        now_ns = self._clock.now().steady_ns
        for child in self._children.values():
            process = child.process
            if process is not None and process.poll() is not None:
                child.process = None
                self._on_end(child, process.returncode, now_ns)
            if child.due_ns is not None and now_ns >= child.due_ns:
                child.due_ns = None
                self._launch(child)

    def run(self, poll_s: float = 0.05) -> int:
        """Watch until `request_stop`, or until nothing is left to run; end everything.

        Returns:
            0 after a requested end, 1 when every process was given up.
        """
        try:
            while not self._stopping.is_set():
                self.poll()
                if len(self.given_up) == len(self._children):
                    return 1
                self._stopping.wait(poll_s)
            return 0
        finally:
            self.stop()

    def request_stop(self) -> None:
        """End `run` soon; safe in a signal handler."""
        self._stopping.set()

    def stop(self, patience_s: float = TERM_PATIENCE_S) -> None:
        """End all processes: SIGTERM, and SIGKILL for what is left after `patience_s`."""
        self._stopping.set()
        running = [c.process for c in self._children.values() if c.process is not None]
        for process in running:
            signal_group(process, signal.SIGTERM)
        end = time.monotonic() + patience_s
        for process in running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=max(0.0, end - time.monotonic()))
        for process in running:
            signal_group(process, signal.SIGKILL)  # and children that outlived their parent
            process.wait()
        for child in self._children.values():
            child.process, child.due_ns = None, None

    def _launch(self, child: _Child) -> None:
        spec = child.spec
        log = None if spec.log is None else spec.log.open("ab")
        bound, descriptors = lifeline()
        try:
            with signals_held() if spec.takes_signals else contextlib.nullcontext():
                child.process = subprocess.Popen(
                    list(spec.command),
                    env=self._environment | bound,
                    pass_fds=descriptors,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT if log else None,
                    start_new_session=True,
                )
        finally:
            if log is not None:
                log.close()

    def _on_end(self, child: _Child, code: int, now_ns: int) -> None:
        limits, name = self._limits, child.spec.name
        window_ns = round(limits.window_s * NS)
        while child.restarts and now_ns - child.restarts[0] > window_ns:
            child.restarts.popleft()
        how = ending(code)
        if len(child.restarts) >= limits.most:
            child.given_up = True
            self._say(
                f"{name} ended with {how}: given up after {limits.most} restarts "
                f"within {limits.window_s:g} s"
            )
            return
        child.restarts.append(now_ns)
        child.due_ns = now_ns + round(limits.delay_s * NS)
        self._say(f"{name} ended with {how}: starts again in {limits.delay_s:g} s")
