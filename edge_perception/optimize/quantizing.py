"""Quantisation with a gate: methods tried, mixed precision by sensitivity, the best one kept."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from edge_perception.backends import DEFAULT_BACKEND, backends
from edge_perception.core.errors import EdgePerceptionError
from edge_perception.optimize.calibration import check_layers, sensitivity
from edge_perception.optimize.candidates import Candidate, Trials
from edge_perception.optimize.findings import ERROR, NOTE, WARNING, Outcome
from edge_perception.optimize.methods import (
    METHODS,
    Quantiser,
    UnsuitableError,
    first_layers,
    made,
)
from edge_perception.optimize.ranges import Frames, Method
from edge_perception.optimize.verdicts import Gate

MIXED = "mixed"
SPARED = "but first"
_ALSO = ("openvino",)  # the best graphs are judged and timed there too
_SENSITIVITY_FRAMES = 8
_LAYER_FRAMES = 4


class Quantizing:
    """One run of quantisation.

    Args:
        quantiser: the graph and its calibration frames.
        trials: judges and times candidates.
        gate: what may be lost.
        outcome: is added to.
        say: is told what is tried.
    """

    def __init__(
        self,
        quantiser: Quantiser,
        trials: Trials,
        *,
        gate: Gate,
        outcome: Outcome,
        say: Callable[[str], None],
    ) -> None:
        self._quantiser, self._trials, self._gate = quantiser, trials, gate
        self._outcome, self._say = outcome, say
        self.tried: list[Candidate] = []
        self._methods: dict[str, Method] = {}

    def run(
        self, methods: Sequence[str], *, mixed: bool, progress: Callable[[int], None]
    ) -> Candidate | None:
        """Try the methods; return the quickest one that the gate lets pass, None where none is."""
        for name in methods:
            self._try(METHODS[name])
        self._spare_first()
        if mixed:
            self._mixed(progress)
        self._outcome.tables["candidates"] = [c.row(self._gate) for c in self.tried]
        good = [c for c in self.tried if self._gate.holds(c.verdict)]
        if not good:
            self._refuse()
            return None
        best = min(good, key=lambda c: (c.ratio if np.isfinite(c.ratio) else np.inf, len(c.data)))
        self._outcome.figures["chosen"] = best.row(self._gate)
        self._outcome.tables["slices"] = [
            {"slice": name, "loss_points": loss} for name, loss in best.verdict.slices.items()
        ]
        tell_doubts(self._outcome, best, self._gate, self._trials.frames)
        if best.backend != DEFAULT_BACKEND:
            self._outcome.add(
                NOTE, "backend", f"{best.name} is chosen as it runs on {best.backend}: set "
                f"backend: {best.backend} where it is served",
            )  # fmt: skip
        if best.ratio >= 1.0:
            self._outcome.add(
                WARNING, "slower", f"{best.name} takes {best.ratio:.2f} of the time here: it is "
                "smaller, not faster",
            )  # fmt: skip
        return best

    def _refuse(self) -> None:
        nearest = min(self.tried, key=lambda c: self._gate.lost(c.verdict), default=None)
        text = "nothing could be tried"
        if nearest is not None:
            low, high = nearest.verdict.interval
            text = nearest.verdict.failure or (
                f"the nearest, {nearest.name}, loses {nearest.verdict.loss:.2f} points "
                f"({low:.2f} to {high:.2f} with 95 %)"
            )
        self._outcome.add(
            ERROR, "gate", f"no candidate is {self._gate}: {text}",
            "--gate, more and other --bag to calibrate with, or QAT",
        )  # fmt: skip

    def _try(self, method: Method) -> None:
        if method.kind == "corrected":
            static = self._good("static")
            if not static:
                self._outcome.add(NOTE, "unsuitable", f"{method.name}: no static method before it")
                return
            best = self._methods[min(static, key=lambda c: c.verdict.loss).name]
            method = replace(best, name=f"{best.name} corrected", corrected=True, text=method.text)
        self._methods[method.name] = method
        self._say(f"{method.name}: {method.text}")
        try:
            data = made(method, self._quantiser)
        except UnsuitableError as error:
            self._outcome.add(NOTE, "unsuitable", f"{method.name}: {error}")
            return
        except EdgePerceptionError as error:  # a library that is not installed
            self._outcome.add(NOTE, "unsuitable", f"{method.name} was not tried: {error}")
            return
        except Exception as error:  # of a library that rewrites graphs of any kind
            head = str(error).strip().splitlines()
            self._outcome.add(
                WARNING, "method", f"{method.name} stopped: {type(error).__name__}: "
                f"{head[0][:200] if head else ''}",
            )  # fmt: skip
            return
        also = _ALSO if method.kind == "nncf" or method.corrected else ()
        for backend in (DEFAULT_BACKEND, *also):
            if backend in backends().specs:
                self._take(_named(method.name, backend), data, method, backend)
        if method.kind == "static":
            frames = self._quantiser.frames[:_LAYER_FRAMES]
            check_layers(self._quantiser, data, frames, self._outcome, method.name)

    def _spare_first(self) -> None:
        """Try what is best on the default runtime with the first layers in float."""
        first = first_layers(self._quantiser.data)
        good = [c for c in self._good("static", "nncf") if c.backend == DEFAULT_BACKEND]
        if not good or not 0 < len(first) < len(self._quantiser.layers):
            return
        best = min(good, key=lambda c: self._gate.lost(c.verdict))
        method = self._methods[best.name]
        note = f"{', '.join(first)} in float"
        self._take(
            f"{best.name} {SPARED}", made(method, self._quantiser, first), method,
            DEFAULT_BACKEND, note,
        )  # fmt: skip

    def _take(
        self, name: str, data: bytes, method: Method, backend: str, note: str = ""
    ) -> Candidate:
        if backend != DEFAULT_BACKEND:
            note = "; ".join(filter(None, (note, f"of nodes with backend: {backend}")))
        candidate = self._trials.candidate(name, data, method.precision, note, backend)
        self.tried.append(candidate)
        self._tell(candidate)
        return candidate

    def _good(self, *kinds: str) -> list[Candidate]:
        """Return what runs of these kinds, all layers in 8 bits."""
        return [
            c
            for c in self.tried
            if not c.verdict.failure
            and any(
                c.name == _named(m.name, c.backend) and m.kind in kinds
                for m in self._methods.values()
            )
        ]

    def _tell(self, candidate: Candidate) -> None:
        verdict = candidate.verdict
        told = verdict.failure or (
            f"loses {verdict.loss:.2f} points, {candidate.ratio:.2f} of the time, "
            f"{len(candidate.data) / 1e6:.2f} MB"
        )
        self._say(f"  {candidate.name}: {told}")

    # -- mixed precision --

    def _mixed(self, progress: Callable[[int], None]) -> None:
        """Give layers back to float until the gate holds, on each runtime with what is best there.

        First those whose 8 bits cost the decisions most for the work that they save.
        """
        order: list[str] = []
        for best in self._bests():
            method = self._methods[best.name.removesuffix(f" {best.backend}")]
            if not order:
                rows = self._sensitivity(method if method.kind == "static" else None, progress)
                self._outcome.tables["sensitivity"] = rows
                order = [row["layer"] for row in sorted(rows, key=lambda row: -row["worth"])]
            if self._gate.holds(best.verdict):
                self._say(f"  {best.name} is within the gate with every layer in 8 bits")
                continue
            self._mix(method, best.backend, order)

    def _bests(self) -> list[Candidate]:
        """Return what loses least on each runtime."""
        found = []
        for backend in (DEFAULT_BACKEND, *_ALSO):
            fit = [c for c in self._good("static", "nncf") if c.backend == backend]
            if fit:
                found.append(min(fit, key=lambda c: self._gate.lost(c.verdict)))
        return found

    def _mix(self, method: Method, backend: str, order: Sequence[str]) -> None:
        name = _named(MIXED, backend)

        def holds(count: int) -> bool:
            verdict = self._trials.verdict(made(method, self._quantiser, order[:count]), backend)
            self._say(f"  {name}: {count} layers in float lose {verdict.loss:.2f} points")
            return self._gate.holds(verdict)

        count = self._least(holds, len(order) - 1)
        if count is None:
            self._outcome.add(
                NOTE, "mixed", f"{name}: the gate does not hold with all but one layer in float"
            )
            return
        note = f"{method.name}, {count} of {len(order)} layers in float"
        self._take(name, made(method, self._quantiser, order[:count]), method, backend, note)
        self._outcome.figures[f"{name} in_float".replace(" ", "_")] = list(order[:count])

    @staticmethod
    def _least(holds: Callable[[int], bool], most: int) -> int | None:
        """Return the least number that holds: doubled until one does, then halved in between."""
        low, high = 0, 1
        while high < most and not holds(high):
            low, high = high, high * 2
        high = min(high, most)
        if high < 1 or (high == most and not holds(most)):
            return None
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if holds(middle) else (middle, high)
        return high

    def _sensitivity(
        self, method: Method | None, progress: Callable[[int], None]
    ) -> list[dict[str, Any]]:
        method = method or METHODS["minmax"]  # stands for one that does not quantise layer by layer
        plain = replace(method, corrected=False)
        self._say(f"sensitivity of {len(self._quantiser.layers)} layers with {plain.name}")
        frames = self._quantiser.frames[:: max(1, len(self._quantiser.frames) // 8)]
        frames = frames[:_SENSITIVITY_FRAMES]
        whole = self._quantiser.static(plain)
        key = f"sensitivity {hashlib.sha256(whole).hexdigest()}"
        known = self._trials.remembered.get(key)
        if known is None:
            known = sensitivity(
                self._quantiser,
                lambda exclude: self._quantiser.static(plain, exclude=exclude),
                frames,
                progress,
            )
            self._trials.remembered.put(key, known)
        rows: list[dict[str, Any]] = known
        return rows


def tell_doubts(outcome: Outcome, best: Candidate, gate: Gate, frames: int) -> None:
    """Add what a candidate loses beyond the gate where that does not look or cannot tell.

    Args:
        outcome: is added to.
        best: the candidate that passed.
        gate: that it passed.
        frames: that it was judged on.
    """
    verdict = best.verdict
    untold = gate.untold(verdict)
    for name in untold:
        low, high = verdict.interval_of(name)
        outcome.add(
            WARNING, "slice_not_told", f"{best.name}: {name} loses {verdict.slices[name]:.2f} "
            f"points, more than {gate.points:g}, but its frames are too few to tell ({low:.2f} to "
            f"{high:.2f} with 95 %): the gate did not count it", "more frames of it, or --sure",
        )  # fmt: skip
    for name, loss in verdict.slices.items():
        if loss > gate.points and name not in untold:
            outcome.add(
                WARNING, "slice", f"{best.name}: {name} loses {loss:.2f} points, more than "
                f"{gate.points:g}; the gate looks at all frames and at light",
            )  # fmt: skip
    low, high = verdict.interval
    if high > gate.points:
        outcome.add(
            WARNING, "frames", f"{frames} frames put the loss of {best.name} between {low:.2f} and "
            f"{high:.2f} points (95 %), the gate is {gate.points:g}: other frames might say "
            "otherwise", "more of --judge-frames or --simulated, or --sure",
        )  # fmt: skip


def _named(name: str, backend: str) -> str:
    return name if backend == DEFAULT_BACKEND else f"{name} {backend}"


def digest_of(frames: Frames) -> str:
    """Return what names calibration frames, in their order."""
    digest = hashlib.sha256()
    for frame in frames:
        for name, array in sorted(frame.items()):
            digest.update(f"{name} {array.dtype} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
