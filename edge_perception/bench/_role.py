"""Processes of a benchmark that are asked and answer in lines of JSON."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any

from edge_perception.core.errors import EdgePerceptionError


class RoleError(EdgePerceptionError):
    """A process of the benchmark died, or did not answer in time."""


class Role:
    """One process, asked from here. A context manager that ends it.

    Args:
        module: run as ``python -m``; it calls `serve`.
        arguments: of the module.
        environment: whole environment of the process.
    """

    def __init__(
        self, module: str, arguments: Sequence[str], environment: Mapping[str, str]
    ) -> None:
        self._name = f"{module.rsplit('.', 1)[-1]} {' '.join(arguments)}"
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._buffer = b""

    def send(self, **request: Any) -> None:
        """Send a request without waiting for its answer."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise RoleError(f"{self._name}: ended with {self._process.wait()}") from error

    def answer(self, timeout_s: float) -> Any:
        """Return the next answer.

        Raises:
            RoleError: none within the time, or the process ended.
        """
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        end = time.monotonic() + timeout_s
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([descriptor], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                raise RoleError(f"{self._name}: no answer within {timeout_s:.0f} s")
            piece = os.read(descriptor, 1 << 16)
            if not piece:
                raise RoleError(f"{self._name}: ended with {self._process.wait()}")
            self._buffer += piece
        line, self._buffer = self._buffer.split(b"\n", 1)
        return json.loads(line)

    def ask(self, limit_s: float, /, **request: Any) -> Any:
        """Send a request and return its answer."""
        self.send(**request)
        return self.answer(limit_s)

    def __enter__(self) -> Role:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        with suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(3.0)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


def serve(handlers: Mapping[str, Callable[..., Any]]) -> None:
    """Answer requests of the standard input until it ends; `do` names the handler."""
    # What libraries print must not get between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        answer = handlers[request.pop("do")](**request)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
