"""Bundles of one feature space side by side: what each costs, on the same frames, in one run."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from edge_perception.core.errors import ConfigurationError, EdgePerceptionError
from edge_perception.models.loading import open_bundle, whole_model
from edge_perception.models.manifest import Bundle
from edge_perception.optimize.candidates import Remembered, about_of
from edge_perception.optimize.configuration import Configuration
from edge_perception.optimize.findings import ERROR, NOTE, Outcome
from edge_perception.optimize.judging import Judge
from edge_perception.optimize.measuring import Runner
from edge_perception.optimize.verdicts import Verdict, failed


class Comparing:
    """Ways to run bundles that may stand in for each other; the first is what they are held to.

    Args:
        ways: bundles of one role and feature space, each with the runtime that it runs on.
        names: of the ways, for people.
        judge: says what each costs; its base is the first way's bundle.
        remembered: verdicts of an interrupted command.
        about: which frames they are on.
        outcome: is added to.
        say: is told what is done.
    """

    def __init__(
        self,
        ways: Sequence[Configuration],
        names: Sequence[str],
        judge: Judge,
        outcome: Outcome,
        say: Callable[[str], None],
        *,
        remembered: Remembered,
        about: str,
    ) -> None:
        self._remembered, self._about = remembered, about_of(judge, about)
        self._ways, self._names, self._judge = list(ways), list(names), judge
        self._outcome, self._say = outcome, say

    def run(self, *, rounds: int, runs: int) -> None:
        """Judge all, then time all in turns; fill the table `candidates` and the raw times.

        Args:
            rounds: turns; the ratio of each is to the first way in the same turn.
            runs: inferences of a turn.
        """
        verdicts = [
            self._judged(way, name) for way, name in zip(self._ways, self._names, strict=True)
        ]
        began = os.getloadavg()[0]
        times, memory = self._timed(rounds, runs)
        base = [float(np.median(turn)) for turn in times.get(0, [])]
        rows = []
        for index, (way, name, verdict) in enumerate(
            zip(self._ways, self._names, verdicts, strict=True)
        ):
            row: dict[str, Any] = {
                "candidate": name, "backend": way.backend,
                "precision": way.bundle.manifest.runtime.precision,
                "bytes": len(whole_model(way.bundle)), "score_points": verdict.score,
                "loss_points": verdict.loss, "loss_low": verdict.interval[0],
                "loss_high": verdict.interval[1], "note": verdict.failure,
                "losses_points": dict(verdict.slices),
            }  # fmt: skip
            if index in times:
                medians = [float(np.median(turn)) for turn in times[index]]
                ratios = [m / b for m, b in zip(medians, base, strict=True)] or [np.nan]
                row |= {
                    "p50_ms": float(np.median(np.concatenate(times[index]))),
                    "ratio": float(np.median(ratios)), "ratio_low": min(ratios),
                    "ratio_high": max(ratios), "memory_mb": memory[index],
                }  # fmt: skip
            rows.append(row)
        self._outcome.tables["candidates"] = rows
        self._outcome.figures.update(
            judge={"measure": self._judge.what, "frames": self._judge.frames},
            machine=machine(), load_before=began, load_after=os.getloadavg()[0],
            rounds=rounds, runs=runs,
            times_ms={self._names[i]: turns for i, turns in times.items()},
        )  # fmt: skip

    def _judged(self, way: Configuration, name: str) -> Verdict:
        key = f"compared {way.bundle.sha256} {way.backend} {self._about}"
        known = self._remembered.get(key)
        verdict = Verdict(**known) if known else self._verdict(way, name)
        if verdict.failure:
            self._outcome.add(ERROR, "does_not_run", f"{name}: {verdict.failure}")
            return verdict
        self._remembered.put(key, asdict(verdict))
        self._say(f"{name}: loses {verdict.loss:.2f} points")
        return verdict

    def _verdict(self, way: Configuration, name: str) -> Verdict:
        try:
            loaded = open_bundle(way.bundle, way.options())
        except EdgePerceptionError as error:
            return failed(error)
        try:
            self._say(f"{name} on {self._judge.frames} frames")
            return self._judge.judge(loaded.backend)
        finally:
            loaded.backend.close()

    def _timed(
        self, rounds: int, runs: int
    ) -> tuple[dict[int, list[list[float]]], dict[int, float]]:
        """Return times by way and turn, ms, and the memory of each, MB."""
        role = self._ways[0].bundle.manifest.role
        runners: dict[int, Runner] = {}
        times: dict[int, list[list[float]]] = {}
        with ExitStack() as stack:
            for index, way in enumerate(self._ways):
                try:
                    runners[index] = stack.enter_context(Runner({role: way}))
                except EdgePerceptionError as error:
                    self._outcome.add(NOTE, "not_timed", f"{self._names[index]}: {error}")
                    continue
                runners[index].run(3)
            if 0 not in runners:
                return {}, {}
            for turn in range(rounds):
                self._say(f"times: turn {turn + 1} of {rounds}")
                for index, runner in runners.items():
                    times.setdefault(index, []).append(runner.run(runs)["set_ms"])
            memory = {i: float(r.told[role]["memory_mb"]) for i, r in runners.items()}
        return times, memory


def machine() -> str:
    """Return the processor and how many cores this process may use."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    name = next((ln.split(":", 1)[1].strip() for ln in lines if ln.startswith("model name")), name)
    return f"{name}, {len(os.sched_getaffinity(0))} cores"


def check_family(bundles: Sequence[Bundle], names: Sequence[str]) -> None:
    """Hold bundles to the first: one role, feature space, inputs.

    Raises:
        ConfigurationError: one cannot stand in for it.
    """
    first = bundles[0].manifest
    for bundle, name in zip(bundles[1:], names[1:], strict=True):
        for field in ("role", "feature_space", "inputs"):
            ours, theirs = (getattr(m, field) for m in (first, bundle.manifest))
            if ours != theirs:
                raise ConfigurationError(
                    f"{name}: expected the {field.replace('_', ' ')} of {names[0]}, {ours}, got "
                    f"{theirs}"
                )
