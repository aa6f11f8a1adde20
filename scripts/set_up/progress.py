"""Run a long command, show how far it is, keep its output in a file."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

PLAIN_PERIOD_S = 10.0
ERROR_LINES = 30
_PERCENT = re.compile(r"^\[\s*(\d+)%\]")
_COLLECTING = re.compile(r"^(?:Collecting|Requirement already satisfied:) (\S+)")


def run_with_progress(
    command: Sequence[str], label: str, environment: Mapping[str, str], log: Path
) -> None:
    """Run a command; show a line that is rewritten on a terminal, one each 10 s elsewhere.

    Args:
        command: pip or colcon with its arguments.
        label: what is being done.
        environment: environment of the command.
        log: file that receives all the output.

    Raises:
        RuntimeError: the command failed; the text ends with its last lines.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    started = shown = time.monotonic()
    print(label, flush=True)
    counter = _Counter()
    with (
        log.open("w") as file,
        subprocess.Popen(
            list(command),
            env=dict(environment),
            cwd=Path(__file__).resolve().parents[2],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            file.write(line)
            changed = counter.read(line)
            now = time.monotonic()
            if sys.stdout.isatty() and changed:
                print(f"\r\033[K  {counter} ({now - started:.0f} s)", end="", flush=True)
            elif not sys.stdout.isatty() and now - shown > PLAIN_PERIOD_S:
                shown = now
                print(f"  {counter} ({now - started:.0f} s)", flush=True)
    if sys.stdout.isatty():
        print("\r\033[K", end="")
    if process.returncode != 0:
        tail = "".join(log.read_text().splitlines(keepends=True)[-ERROR_LINES:])
        raise RuntimeError(f"{label}: exit status {process.returncode}, see {log}\n{tail}")
    print(f"  done in {time.monotonic() - started:.0f} s", flush=True)


class _Counter:
    """Reads pip's and CMake's lines; its text says how far they are."""

    def __init__(self) -> None:
        self._names: set[str] = set()
        self._text = "starting"

    def read(self, line: str) -> bool:
        """Take one line of output; return whether the text changed."""
        before = self._text
        if match := _PERCENT.match(line):
            self._text = f"{match[1]} % compiled"
        elif match := _COLLECTING.match(line):
            self._names.add(re.split(r"[=<>!~;\[(]", match[1])[0].lower())
            self._text = f"{len(self._names)} packages found"
        elif line.startswith("Installing collected packages"):
            self._text = f"installing {line.count(',') + 1} packages"
        return self._text != before

    def __str__(self) -> str:
        return self._text
