"""Ways to run a set of models, measured against each other in one run, taking turns."""

from __future__ import annotations

import contextlib
import json
import selectors
import signal
import subprocess
from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np

from edge_perception.core.child_process import ending, signal_group, start_helper
from edge_perception.core.errors import BackendError
from edge_perception.core.plugins import plugin_folders
from edge_perception.optimize.configuration import Configuration

_MODULE = "edge_perception.optimize.runner"
LOAD_TIMEOUT_S = 120.0
_RUN_TIMEOUT_S = 60.0
Setting = Mapping[str, Configuration]  # by role
H = TypeVar("H", bound="Helper")


class Helper:
    """A helper process that is asked and answers in lines of JSON; use as a context."""

    def __init__(self) -> None:
        self._process = start_helper(_MODULE, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.ask({"plugin_folders": list(map(str, plugin_folders()))})

    def ask(self, document: Mapping[str, Any]) -> None:
        """Send a request."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # the answer says why
            self._process.stdin.write(json.dumps(document).encode() + b"\n")
            self._process.stdin.flush()

    def answer(self, timeout_s: float) -> dict[str, Any]:
        """Wait for the next answer.

        Raises:
            BackendError: the helper died or hung.
        """
        assert self._process.stdout is not None
        # Not select(): it refuses file descriptors from 1,024 on.
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            if not selector.select(timeout_s):
                raise BackendError(f"the helper hung for {timeout_s:g} s")
        line = self._process.stdout.readline()
        if not line:
            raise BackendError(f"the helper ended with {ending(self._process.wait())}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End the helper."""
        signal_group(self._process, signal.SIGKILL)
        self._process.communicate()

    def __enter__(self: H) -> H:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Runner(Helper):
    """A helper with a set of models."""

    def __init__(self, setting: Setting) -> None:
        """Start it and wait until its models are warm.

        Raises:
            BackendError: a model does not run like this here, or the helper died or hung.
        """
        super().__init__()
        self.ask({"roles": {role: _job(role, way) for role, way in setting.items()}})
        try:
            answer = self.answer(LOAD_TIMEOUT_S)
            if "error" in answer:
                raise BackendError(str(answer["error"]))
        except BackendError:
            self.close()
            raise
        self.told: dict[str, dict[str, Any]] = answer["ready"]

    def run(self, sets: int) -> dict[str, Any]:
        """Run sets; times in ms as `set_ms` and by role as `role_ms`.

        Raises:
            BackendError: the helper died or hung.
        """
        self.ask({"sets": sets})
        return self.answer(_RUN_TIMEOUT_S)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A setting against the one that it is compared with, in one run."""

    ratio: float  # of the medians of a set's time; below 1: faster
    ratio_low: float  # of the rounds, the least and the greatest
    ratio_high: float
    p50_ms: float
    p99_ms: float
    role_p50_ms: Mapping[str, float]
    role_p99_ms: Mapping[str, float]
    told: Mapping[str, Mapping[str, Any]]  # of each model: memory, runtime, golden differences
    base_p50_ms: float


def compare(base: Runner, setting: Setting, *, rounds: int, sets: int) -> Comparison:
    """Run a setting in turns with a running one.

    Raises:
        BackendError: it does not run here.
    """
    with Runner(setting) as candidate:
        candidate.run(2)
        ours: list[dict[str, Any]] = []
        ratios, theirs = [], []
        for _ in range(rounds):
            before = base.run(sets)["set_ms"]
            ours.append(candidate.run(sets))
            theirs.extend(before)
            ratios.append(float(np.median(ours[-1]["set_ms"]) / np.median(before)))
        told = candidate.told
    set_ms = [value for part in ours for value in part["set_ms"]]
    by_role = {role: [v for part in ours for v in part["role_ms"][role]] for role in setting}
    return Comparison(
        ratio=float(np.median(ratios)),
        ratio_low=min(ratios),
        ratio_high=max(ratios),
        p50_ms=float(np.median(set_ms)),
        p99_ms=float(np.percentile(set_ms, 99)),
        role_p50_ms={role: float(np.median(values)) for role, values in by_role.items()},
        role_p99_ms={role: float(np.percentile(values, 99)) for role, values in by_role.items()},
        told=told,
        base_p50_ms=float(np.median(theirs)),
    )


def alone(
    role: str, ways: Sequence[Configuration], *, runs: int
) -> Generator[tuple[Configuration, dict[str, Any]], None, None]:
    """Run the model of a role in several ways, without the others.

    One process serves all ways, as starting one takes longer than to measure; one that dies or
    hangs is replaced, and the way that it was at is to blame.

    Yields:
        A way, with `p50_ms` and what the model tells of itself, or with `error`.
    """
    left = list(ways)
    while left:
        with Helper() as helper:
            helper.ask({"ways": [_job(role, way) for way in left], "runs": runs})
            while left:
                way = left.pop(0)
                try:
                    yield way, helper.answer(LOAD_TIMEOUT_S)
                except BackendError as error:
                    yield way, {"error": str(error)}
                    break


def _job(role: str, way: Configuration) -> dict[str, Any]:
    return {
        "role": role,
        "bundle": str(way.bundle.path),
        "options": asdict(way.options()),
        "sources": way.sources,
    }
