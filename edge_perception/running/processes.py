"""Starts the nodes as processes of their own, and ends them whatever happens."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from edge_perception.core.child_process import ending, signal_group
from edge_perception.core.errors import EdgePerceptionError
from edge_perception.running.ending import lifeline

# How long a process group gets to end after each signal, s.
PATIENCE = ((signal.SIGINT, 6.0), (signal.SIGTERM, 3.0), (signal.SIGKILL, 3.0))
_TAIL_LINES = 15


class NodeDiedError(EdgePerceptionError):
    """A node's process ended although nobody asked it to; the text ends with its log."""


class NodeProcesses:
    """A set of processes, each in its own group; a context manager that leaves none behind.

    Args:
        commands: command line by name.
        environment: of all of them.
        log_folder: gets one log file a process.
        patience: signals to end a process with, each with the seconds it gets.
    """

    def __init__(
        self,
        commands: Mapping[str, Sequence[str]],
        *,
        environment: Mapping[str, str],
        log_folder: Path,
        patience: Sequence[tuple[int, float]] = PATIENCE,
    ) -> None:
        self._commands = commands
        self._environment = dict(environment)
        self._log_folder = log_folder
        self._patience = patience
        self._processes: dict[str, subprocess.Popen] = {}
        self._logs: list[IO[bytes]] = []

    @property
    def pids(self) -> dict[str, int]:
        """Process ids by name."""
        return {name: process.pid for name, process in self._processes.items()}

    def check(self) -> None:
        """Raise NodeDiedError when a process has ended."""
        for name, process in self._processes.items():
            code = process.poll()
            if code is not None:
                raise NodeDiedError(
                    f"{name} ended with {ending(code)}; end of {self._log_path(name)}:\n"
                    + "\n".join(self._tail(name))
                )

    def stop(self) -> dict[str, int]:
        """End all processes, politely first; return the exit codes."""
        for number, patience_s in self._patience:
            alive = [p for p in self._processes.values() if p.poll() is None]
            for process in alive:
                signal_group(process, number)
            end = time.monotonic() + patience_s
            for process in alive:
                try:
                    process.wait(timeout=max(0.0, end - time.monotonic()))
                except subprocess.TimeoutExpired:
                    continue  # the next signal is for it
        for process in self._processes.values():
            signal_group(process, signal.SIGKILL)  # children that outlived their parent
        for log in self._logs:
            log.close()
        self._logs = []
        return {name: process.poll() or 0 for name, process in self._processes.items()}

    def _start(self) -> None:
        self._log_folder.mkdir(parents=True, exist_ok=True)
        bound, descriptors = lifeline()
        for name, command in self._commands.items():
            log = self._log_path(name).open("wb")
            self._logs.append(log)
            self._processes[name] = subprocess.Popen(
                list(command),
                env=self._environment | bound,
                pass_fds=descriptors,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _log_path(self, name: str) -> Path:
        return self._log_folder / f"{name}.log"

    def _tail(self, name: str) -> list[str]:
        text = self._log_path(name).read_text(encoding="utf-8", errors="replace")
        return text.splitlines()[-_TAIL_LINES:]

    def __enter__(self) -> NodeProcesses:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
