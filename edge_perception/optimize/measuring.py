"""Ways to run a set of models, measured against each other in one run, taking turns."""

from __future__ import annotations

import contextlib
import json
import math
import selectors
import signal
import subprocess
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from edge_perception.core.child_process import ending, signal_group, start_helper
from edge_perception.core.errors import BackendError
from edge_perception.core.plugins import plugin_folders
from edge_perception.optimize.configuration import Configuration
from edge_perception.optimize.joules import NOT_MEASURED, Energy, EnergyMeter, SetEnergy

_MODULE = "edge_perception.optimize.runner"
LOAD_TIMEOUT_S = 120.0
_RUN_TIMEOUT_S = 60.0
_IDLE_S, _ROLE_S = 0.2, 0.3  # of a turn: how long the machine idles, how long a role runs alone
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

    def __init__(self, setting: Setting, frames: Path | None = None) -> None:
        """Start it and wait until its models are warm.

        Args:
            setting: ways by role.
            frames: file of `SetFrames` that go through encoders and fusion; None: the models run
                on their golden inputs.

        Raises:
            BackendError: a model does not run like this here, or the helper died or hung.
        """
        super().__init__()
        self.frames = frames
        jobs = {role: _job(role, way) for role, way in setting.items()}
        self.ask({"roles": jobs, "frames": str(frames or "")})
        try:
            answer = self.answer(LOAD_TIMEOUT_S)
            if "error" in answer:
                raise BackendError(str(answer["error"]))
        except BackendError:
            self.close()
            raise
        self.told: dict[str, dict[str, Any]] = answer["ready"]

    def run(self, sets: int, only: str = "") -> dict[str, Any]:
        """Run sets, or one role of them; times in ms as `set_ms` and by role as `role_ms`.

        Raises:
            BackendError: the helper died or hung.
        """
        self.ask({"sets": sets, "only": only})
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
    told: Mapping[str, Mapping[str, Any]]  # of each model: runtime, golden differences
    base_p50_ms: float
    energy: SetEnergy = NOT_MEASURED


def compare(
    base: Runner, setting: Setting, *, rounds: int, sets: int, meter: EnergyMeter | None = None
) -> Comparison:
    """Run a setting in turns with a running one, on the same frames.

    Args:
        base: what it is compared with.
        setting: ways by role.
        rounds: how often both run.
        sets: that each runs in a round.
        meter: reads the energy of both, and of the idle machine in turns with them; None: nobody.

    Raises:
        BackendError: it does not run here.
    """
    energies: list[tuple[Energy, Energy, Energy]] = []  # ours, theirs, idle
    role_j: dict[str, float] = {}
    with Runner(setting, base.frames) as candidate:
        candidate.run(2)
        ours: list[dict[str, Any]] = []
        ratios, theirs = [], []
        for _ in range(rounds):
            if meter is None:
                before = base.run(sets)["set_ms"]
                ours.append(candidate.run(sets))
            else:
                told_before, their_energy = meter.measure(lambda: base.run(sets))
                told_ours, our_energy = meter.measure(lambda: candidate.run(sets))
                before = told_before["set_ms"]
                ours.append(told_ours)
                idle = meter.measure(lambda: time.sleep(_IDLE_S))[1]
                energies.append((our_energy, their_energy, idle))
            theirs.extend(before)
            ratios.append(float(np.median(ours[-1]["set_ms"]) / np.median(before)))
        told = candidate.told
        energy = _set_energy(energies, sets)
        if meter is not None and energy.known:
            role_j = {role: _role_joules(candidate, role, meter, energy.idle_w) for role in setting}
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
        energy=replace(energy, role_j=role_j),
    )


def _set_energy(energies: Sequence[tuple[Energy, Energy, Energy]], sets: int) -> SetEnergy:
    """Return joules of a set, medians of the rounds; all turns must tell of the same parts."""
    if not energies:
        return NOT_MEASURED
    turns = [energy for turn in energies for energy in turn]
    why = next((energy.why_not for energy in turns if energy.why_not), "")
    of = {energy.of for energy in turns}
    if len(of) > 1:
        return SetEnergy(why_not=f"not every turn told the same: {why or 'parts fell silent'}")
    if not all(math.isfinite(energy.joules) for energy in turns):
        return SetEnergy(why_not=why)
    ours, theirs, idle = zip(*energies, strict=True)
    return SetEnergy(
        set_j=float(np.median([energy.joules / sets for energy in ours])),
        base_set_j=float(np.median([energy.joules / sets for energy in theirs])),
        idle_w=float(np.median([energy.joules / energy.seconds for energy in idle])),
        of=turns[0].of,
        why_not=why,
    )


def _role_joules(candidate: Runner, role: str, meter: EnergyMeter, idle_w: float) -> float:
    """Return joules of a frame of one role, the others still, above what the idle machine draws."""
    probe = float(np.median(candidate.run(3, role)["set_ms"]))
    runs = max(3, round(_ROLE_S * 1e3 / max(probe, 0.01)))
    energy = meter.measure(lambda: candidate.run(runs, role))[1]
    return max(energy.joules - idle_w * energy.seconds, 0.0) / runs


def alone(
    role: str, ways: Sequence[Configuration], *, runs: int
) -> Generator[tuple[Configuration, dict[str, Any]], None, None]:
    """Run the model of a role in several ways, without the others.

    Each way has a process of its own, a copy of one that is made ready once; one that dies or hangs
    is replaced, and the way that it was at is to blame.

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
