"""Starts nodes and ends them at random moments: every process ends with 0, soon, and says nothing.

As `ros2 launch` does it: the executables, ended by SIGINT or SIGTERM, some of them twice.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edge_perception.core.errors import ConfigurationError
from edge_perception.running.ending import CUT
from edge_perception.running.transport import transport_environment

LIMIT_S = 2.0  # from the first signal to the end
SEPARATE = ("camera_encoder", "lidar_encoder", "audio_encoder", "fusion", "model_manager")
COMPOSED = "perception"
SETUPS: Mapping[str, tuple[str, ...]] = {
    **{name: (name,) for name in SEPARATE},
    "composed": (COMPOSED,),
    "separate": SEPARATE,
    "composed beside separate": (COMPOSED, "lidar_encoder"),
}
_NEVER_S = 20.0  # a process that has not ended by then is killed
_SAID = 20_000  # characters of its output: every thread of it
_ABORT_S = 2.0  # for the traceback of one that is killed
_BAD_WORDS = ("Traceback", "KeyboardInterrupt", "terminate called", "Fatal")


@dataclass(frozen=True, kw_only=True)
class Start:
    """One process that was started and ended."""

    setup: str
    executable: str
    after_s: float  # from its start to the signal
    signals: tuple[str, ...]
    code: int
    took_s: float  # from the first signal to the end
    cut: bool  # in a step that cannot be interrupted, such as the loading of a model
    said: str  # its output, where that is not as it should be

    @property
    def passed(self) -> bool:
        """Whether it ended with 0, in time, without a stack trace."""
        return self.code == 0 and self.took_s <= LIMIT_S and not self.said


def run_starts(
    count: int,
    *,
    seed: int,
    say: Callable[[Start], None] = lambda _: None,
    longest_s: float = 5.0,
    setups: Sequence[str] = tuple(SETUPS),
) -> list[Start]:
    """Start and end at least `count` processes.

    Args:
        count: processes.
        seed: of the set-ups, moments and signals.
        say: is told each process as it ends.
        longest_s: time from a start to its end at the most.
        setups: which of `SETUPS` take turns.

    Raises:
        ConfigurationError: the executables are not on the path.
    """
    missing = [name for name in (*SEPARATE, COMPOSED) if shutil.which(name) is None]
    if missing:
        raise ConfigurationError(f"not on PATH: {', '.join(missing)}; `. scripts/env.sh` first")
    rng = random.Random(seed)
    starts: list[Start] = []
    with tempfile.TemporaryDirectory(prefix="edge_perception_starts_") as folder:
        while len(starts) < count:
            for result in _round(setups[rng.randrange(len(setups))], rng, longest_s, Path(folder)):
                starts.append(result)
                say(result)
    return starts


def _round(setup: str, rng: random.Random, longest_s: float, folder: Path) -> list[Start]:
    # Half of the moments lie in the first second, in which everything is made.
    after_s = rng.uniform(0.0, 1.0) if rng.random() < 0.5 else rng.uniform(1.0, longest_s)
    signals = [(rng.choice((signal.SIGINT, signal.SIGTERM)), 0.0)]
    if rng.random() < 0.4:
        signals.append((rng.choice((signal.SIGINT, signal.SIGTERM)), rng.uniform(0.0, 0.3)))
    environment = {
        **os.environ, **transport_environment(os.environ), "ROS_LOG_DIR": str(folder),
        "PYTHONFAULTHANDLER": "1",
    }  # fmt: skip
    with ExitStack() as stack:
        ended = [_Ended(name, folder / f"{name}.log", environment, stack) for name in SETUPS[setup]]
        time.sleep(after_s)
        signalled_s = time.monotonic()
        for number, wait_s in signals:
            time.sleep(wait_s)
            for each in ended:
                each.signal(number)
        return [
            Start(
                setup=setup,
                executable=each.name,
                after_s=round(after_s, 4),
                signals=tuple(signal.Signals(number).name for number, _ in signals),
                **each.result(signalled_s),
            )
            for each in ended
        ]


class _Ended:
    """A process, whose end is noticed the moment it comes."""

    def __init__(
        self, name: str, log: Path, environment: Mapping[str, str], stack: ExitStack
    ) -> None:
        self.name, self._log = name, log
        self._process = subprocess.Popen(
            [name, "--ros-args", "--log-level", "warn"],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=stack.enter_context(log.open("wb")),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._ended_s = 0.0
        self._waiting = threading.Thread(target=self._wait, daemon=True)
        self._waiting.start()

    def _wait(self) -> None:
        self._process.wait()
        self._ended_s = time.monotonic()

    def signal(self, number: int) -> None:
        self._process.send_signal(number)  # a process that has ended is left alone

    def result(self, signalled_s: float) -> dict[str, Any]:
        self._waiting.join(max(0.0, signalled_s + _NEVER_S - time.monotonic()))
        if self._waiting.is_alive():
            # Where each thread is comes into the log, also where none of them can run.
            self._process.send_signal(signal.SIGABRT)
            self._waiting.join(_ABORT_S)
            self._process.kill()
            self._waiting.join()
        text = self._log.read_text(encoding="utf-8", errors="replace")
        return {
            "code": self._process.returncode,
            "took_s": round(max(0.0, self._ended_s - signalled_s), 4),
            "cut": CUT in text,
            "said": text[-_SAID:] if any(word in text for word in _BAD_WORDS) else "",
        }


def summary(starts: Sequence[Start]) -> dict[str, Any]:
    """Return the figures of all starts as plain data."""
    took_s = sorted(start.took_s for start in starts)
    return {
        "starts": len(starts),
        "passed": sum(start.passed for start in starts),
        "cut": sum(start.cut for start in starts),
        "limit_s": LIMIT_S,
        "took_s": {
            "p50": took_s[len(took_s) // 2],
            "p95": took_s[int(len(took_s) * 0.95)],
            "max": took_s[-1],
        },
        "failed": [asdict(start) for start in starts if not start.passed],
    }
