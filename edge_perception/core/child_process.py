"""Processes that this one starts: helpers of the package, how they are ended and how they ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys


def start_helper(module: str, *, stdin: int, stdout: int) -> subprocess.Popen[bytes]:
    """Start a module of the package in a process of its own, which imports as this one does.

    It leads a session: what is sent to this one from the terminal does not reach it, and
    `signal_group` reaches what it starts.

    Args:
        module: dotted name, run as `python -m` does.
        stdin: descriptor, or one of the constants of subprocess.
        stdout: likewise.
    """
    return subprocess.Popen(
        [sys.executable, "-m", module],
        stdin=stdin,
        stdout=stdout,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )


def signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    """Send a signal to a process that leads a session and to what it has started."""
    with contextlib.suppress(ProcessLookupError):  # it has ended, and so have its children
        os.killpg(process.pid, number)


def ending(code: int) -> str:
    """Return in words how a process ended, of its return code as subprocess tells it."""
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
