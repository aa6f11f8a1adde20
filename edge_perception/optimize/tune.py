"""Finds how the models of a set run best together on this machine, by measuring.

What is fast alone may not be fast beside the others, so every choice is measured in the whole set,
in turns with the choice before it. Alone, ways are only sorted and the hopeless ones left out. The
best ways of all models are tried together first: one comparison tells most of what can be won, and
leaves what remains of the budget to single models.

Then what is left: which other models are cheaper still than the chosen ones, in the same way, for
load control; and what settings cost in accuracy that speed alone had ruled out, for the picture.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

from edge_perception.core.errors import BackendError
from edge_perception.models.manifest import Bundle
from edge_perception.optimize.configuration import Configuration, configurations
from edge_perception.optimize.joules import EnergyMeter
from edge_perception.optimize.measuring import Comparison, Runner, alone, compare

_ALONE_RUNS = 8
_FINALISTS = 3
_ROUNDS, _LAST_ROUNDS = 3, 7
# Of one round. Fast models need more sets: six of a few milliseconds are over in one hiccup of the
# machine, and chance chooses.
_ROUND_S, _LEAST_SETS, _MOST_SETS = 0.2, 6, 60
# Of the budget: until then ways run alone, and until then in the set. The rest is for the choice
# against the default, without which nothing is known.
_ALONE_SHARE, _SET_SHARE, _CHEAPER_SHARE = 0.45, 0.65, 0.9
_BETTER = 0.98  # of the time: less is noise
_HOPELESS = 1.3  # times the best alone
CHEAPER = 0.9  # of the time: less is not worth a step of load control
_CHEAPER_TURNS = 3
_MUCH_DEARER = 1.2  # times the chosen one, alone: no need to look again
FASTER = "faster"
TOGETHER = "faster, with the best ways of the others"


@dataclass(frozen=True, kw_only=True)
class Tried:
    """One way of one model, and what became of it."""

    role: str
    configuration: Configuration
    alone_ms: float | None = None
    set_ratio: float | None = None  # against the choice before it, in the whole set
    memory_mb: float | None = None  # in a process of its own
    accuracy_loss: float | None = None  # points of mAP
    verdict: str = ""
    runtime_mb: float | None = None  # that its runtime takes before any model


@dataclass(kw_only=True)
class MeasuredSet:
    """A whole setting that was measured."""

    setting: dict[str, Configuration]
    ratio: float  # of the default's time of a set
    low: float = 1.0  # of the rounds, the least and the greatest
    high: float = 1.0
    loss: float | None = None  # points of mAP; None: not measured


@dataclass(frozen=True, kw_only=True)
class CheaperModel:
    """Another model, in the way of the chosen one and in turns with it."""

    role: str
    configuration: Configuration
    time: float  # of what the chosen one takes
    accuracy_loss: float | None = None  # points of mAP in the place of the chosen one
    verdict: str = ""  # why it is not listed; empty: it is


@dataclass(kw_only=True)
class Tuning:
    """What was found."""

    default: dict[str, Configuration]
    chosen: dict[str, Configuration]
    sets: list[MeasuredSet] = field(default_factory=list)  # the default first
    compared: list[CheaperModel] = field(default_factory=list)
    cheaper_loss: float = 0.0  # points of mAP that a cheaper model may cost
    measured_on: str = "golden inputs"  # what sets ran on
    judged_on: tuple[str, ...] = ()  # what accuracy was measured on
    energy_why_not: str = "it was not measured"
    last: Comparison | None = None  # the choice against the default
    map_default: float | None = None
    map_chosen: float | None = None
    recording_default: float | None = None  # mAP on labelled recordings, points
    recording_chosen: float | None = None
    tried: list[Tried] = field(default_factory=list)
    out_of_time: bool = False

    @property
    def gain(self) -> float:
        """Throughput of the choice over that of the default."""
        if self.last is None or self.chosen == self.default:
            return 1.0
        return 1.0 / self.last.ratio

    def memory(self, role: str) -> Tried | None:
        """Return the run alone that tells the memory of what was chosen; None: there is none."""
        found = [t for t in self.tried if t.role == role and t.memory_mb is not None]
        return next((t for t in found if t.configuration == self.chosen[role]), None)

    @property
    def map_loss(self) -> float | None:
        """Points of mAP that the choice costs; None: not measured, nothing may differ."""
        if self.map_default is None or self.map_chosen is None:
            return None
        return self.map_default - self.map_chosen


Accuracy = Callable[[Mapping[str, Configuration]], float]


class Tuner:
    """Looks for the best setting within a budget of time."""

    def __init__(
        self,
        variants: Mapping[str, Sequence[Bundle]],
        *,
        cores: int,
        budget_s: float,
        allowed_loss: float,
        accuracy: Accuracy,
        say: Callable[[str], None],
        on_recordings: Accuracy | None = None,
        cheaper_loss: float = 5.0,
        frames: Path | None = None,
        meter: EnergyMeter | None = None,
        sources: Mapping[str, int] | None = None,
        steady_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare.

        Args:
            variants: bundles by role, the served one first.
            cores: that may be used.
            budget_s: for all of it; a way that is being tried at the end of its share is finished.
            allowed_loss: points of mAP that a choice may cost in all.
            accuracy: gives the mAP of a setting, in points, always on the same frames.
            say: takes progress lines.
            on_recordings: the same on labelled recordings; the greater loss counts. None: there
                are none.
            cheaper_loss: points of mAP that a cheaper model for load control may cost.
            frames: file of `SetFrames` that sets run on; None: golden inputs.
            meter: reads energy; None: nobody does.
            sources: by role, how many run its model at the same time in one process; None: one
                each.
            steady_s: the steady clock.
        """
        self._variants, self._cores, self._say = variants, cores, say
        self._allowed, self._steady_s = allowed_loss, steady_s
        self._accuracies = [accuracy, *([on_recordings] if on_recordings else [])]
        self._frames, self._meter = frames, meter
        self._measured: list[tuple[dict[str, Configuration], list[float]]] = []
        self._judging_s = 0.0  # the last measurement of accuracy
        self._alone_of: dict[str, list[Tried]] = {}  # by role, fastest first
        self._sets = _LEAST_SETS  # in a round
        self._inexact = False  # whether the choice may decide otherwise than the default
        self._began_s, self._budget_s = steady_s(), budget_s
        self._end_s = self._began_s
        self._sources = {role: (sources or {}).get(role, 1) for role in variants}
        default = {
            role: Configuration(bundle=found[0], sources=self._sources[role])
            for role, found in variants.items()
        }
        self._found = Tuning(
            default=default,
            chosen=dict(default),
            cheaper_loss=max(cheaper_loss, allowed_loss),
            sets=[MeasuredSet(setting=dict(default), ratio=1.0, loss=0.0)],
        )

    def run(self) -> Tuning:
        """Try, choose, and measure the choice against the default once more at the end.

        Raises:
            BackendError: the default itself does not run here.
        """
        found = self._found
        if self._meter is not None:
            found.energy_why_not = self._meter.why_not()
            if found.energy_why_not:
                self._meter = None
        with Runner(found.default, self._frames) as base:
            # The dearest model first: what is won there is won for all.
            first = base.run(_LEAST_SETS)
            self._sets = _sets_in_round(first["set_ms"])
            took = first["role_ms"]
            order = sorted(self._variants, key=lambda role: -sum(took[role]))
            finalists: dict[str, list[Tried]] = {}
            share = {
                role: sum(took[role]) / sum(sum(took[other]) for other in order[place:])
                for place, role in enumerate(order)
            }
            for role in order:
                self._give(share[role], _ALONE_SHARE)
                finalists[role] = self._finalists(role)
            self._give(1.0, _SET_SHARE)
            self._try_together(base)
            for role in order:
                self._give(share[role], _SET_SHARE)
                self._tune(role, finalists[role])
            if found.chosen != found.default:
                found.last = self._compare(base, found.default, found.chosen, last=True)
                if found.last.ratio > 1.0:  # what won in parts does not win as a whole
                    self._say("the choice is no faster than the default: the default stays")
                    found.chosen = dict(found.default)
            self._judge_choice()
            if found.chosen == found.default:
                found.last = self._compare(base, found.default, found.default, last=True)
        self._find_cheaper()
        self._find_memory()
        self._judge_others()
        return found

    def _compare(
        self,
        base: Runner,
        running: Mapping[str, Configuration],
        setting: Mapping[str, Configuration],
        *,
        last: bool = False,
    ) -> Comparison:
        """Compare a setting with a running one, and note it for the picture."""
        rounds = _LAST_ROUNDS if last and setting != running else _ROUNDS
        meter = {"meter": self._meter} if last and self._meter is not None else {}
        found = compare(base, setting, rounds=rounds, sets=self._sets, **meter)
        if meter and not found.energy.known:
            self._found.energy_why_not = found.energy.why_not
        before = next((i.ratio for i in self._found.sets if i.setting == running), 1.0)
        item = next((i for i in self._found.sets if i.setting == setting), None)
        if item is None:
            item = MeasuredSet(setting=dict(setting), ratio=1.0)
            self._found.sets.append(item)
        if setting != self._found.default:
            item.ratio = found.ratio * before
            item.low, item.high = found.ratio_low * before, found.ratio_high * before
            if not any(self._may_differ(role, setting, found) for role in setting):
                item.loss = 0.0  # it decides as the default does
        return found

    def _find_cheaper(self) -> None:
        """Run the other models in the way of the chosen ones, in turns with them, and judge them.

        Load control lets one of them stand in where the chosen model takes too long.
        """
        found = self._found
        self._end_s = self._began_s + _CHEAPER_SHARE * self._budget_s
        for role, way in found.chosen.items():
            own = replace(way, threads=1, batch=1)
            others = []
            for bundle in self._variants[role]:
                if bundle.sha256 != way.bundle.sha256:
                    other = replace(own, bundle=bundle)
                    known = self._alone_share(role, other, own)
                    if known > _MUCH_DEARER:
                        self._judge_cheaper(role, replace(way, bundle=bundle), known, "")
                    else:
                        others.append(other)
            if not others or self._over():
                for other in others:
                    unknown = "was not measured: no time left"
                    left = replace(way, bundle=other.bundle)
                    self._judge_cheaper(role, left, math.nan, unknown)
                continue
            took: dict[str, list[float]] = {}
            why: dict[str, str] = {}
            for _ in range(_CHEAPER_TURNS):
                for item, told in alone(role, [own, *others], runs=_ALONE_RUNS):
                    if "error" in told:
                        why[item.bundle.sha256] = f"does not run: {told['error']}"
                    else:
                        took.setdefault(item.bundle.sha256, []).append(told["p50_ms"])
            mine = took.get(own.bundle.sha256, [])
            for other in others:
                theirs = took.get(other.bundle.sha256, [])
                share, reason = math.nan, why.get(other.bundle.sha256, "")
                if len(theirs) == len(mine) == _CHEAPER_TURNS:
                    turns = [a / b for a, b in zip(theirs, mine, strict=True)]
                    share = median(turns)
                    if share < CHEAPER and max(turns) >= 1.0:  # the machine was busy with others
                        reason = f"takes {min(turns):.2f} to {max(turns):.2f} of the time by turn"
                self._judge_cheaper(role, replace(way, bundle=other.bundle), share, reason)

    def _alone_share(self, role: str, way: Configuration, own: Configuration) -> float:
        """Return what a way takes of the time of another, as both ran alone; NaN: not known."""
        took = [
            next((t.alone_ms for t in self._alone_of.get(role, ()) if t.configuration == of), None)
            for of in (way, own)
        ]
        return took[0] / took[1] if took[0] and took[1] else math.nan

    def _judge_cheaper(self, role: str, way: Configuration, share: float, why: str) -> None:
        found, loss = self._found, None
        if not why and not share < CHEAPER:
            why = f"takes {share:.2f} of the time"
        elif not why and self._over():
            why = f"takes {share:.2f} of the time; no time left to measure its accuracy"
        elif not why:
            loss = self._loss({**found.chosen, role: way})
            if not loss <= found.cheaper_loss:
                why = f"costs {loss:.2f} points of mAP > {found.cheaper_loss:g}"
        name = f"{way.bundle.manifest.name} {way.bundle.manifest.version}"
        self._say(f"{role}: beside the chosen one, {name}: {why or f'{share:.2f} of its time'}")
        found.compared.append(
            CheaperModel(role=role, configuration=way, time=share, accuracy_loss=loss, verdict=why)
        )

    def _find_memory(self) -> None:
        """Measure what chosen ways take that did not run alone for want of time."""
        for role, way in self._found.chosen.items():
            if self._found.memory(role) is None:
                for _, told in alone(role, [way], runs=1):
                    if "error" not in told:
                        self._note(_told(role, way, told), verdict="run for its memory")

    def _judge_others(self) -> None:
        """Measure what settings cost that were not chosen, the fastest first, in the time left."""
        found = self._found
        self._end_s = self._began_s + self._budget_s - self._judging_s
        for item in sorted(found.sets, key=lambda item: item.ratio):
            known = any(setting == item.setting for setting, _ in self._measured)
            if not known and item.loss is None and not self._judging_fits():
                continue
            if known or item.loss is None:
                item.loss = self._loss(item.setting)

    def _judging_fits(self) -> bool:
        """Whether accuracy may be measured once more; that it may not is no want of the plan."""
        return bool(self._judging_s) and self._steady_s() < self._end_s

    def _give(self, share: float, until: float) -> None:
        """Give a role its part of the time that a stage still has: what it leaves is the others'.

        Args:
            share: what it takes of the time of all roles that are left; so much can be won.
            until: part of the whole budget at which the stage ends.
        """
        now_s = self._steady_s()
        left_s = self._began_s + until * self._budget_s - now_s
        self._end_s = now_s + share * max(left_s, 0.0)

    def _try_together(self, base: Runner) -> None:
        """Choose the best way of every model at once, where that holds in speed and accuracy.

        Where the best ones cost too much accuracy, the best ones of the served bundles: another
        precision of the runtime costs less of it than other weights do.
        """
        first = self._best_alone(self._alone_of)
        second = self._best_alone(
            {
                role: [item for item in ways if self._served(role, item.configuration)]
                for role, ways in self._alone_of.items()
            }
        )
        for best in (first, second) if second != first else (first,):
            # One alone is tried by itself.
            if len(best) > 1 and not self._over() and self._holds_together(best, base):
                return

    def _best_alone(self, measured: Mapping[str, Sequence[Tried]]) -> dict[str, Tried]:
        """Return what is faster alone than the served way, by role.

        On one thread: in the set the cores are shared, and threads alone promise too much.
        """
        best: dict[str, Tried] = {}
        for role, ways in measured.items():
            default = self._found.default[role]
            served = [item for item in ways if item.configuration == default]
            single = [item for item in ways if item.configuration.threads == 1]
            if served and _alone_ms(single[0]) <= _BETTER * _alone_ms(served[0]):
                best[role] = single[0]
        return best

    def _holds_together(self, best: Mapping[str, Tried], base: Runner) -> bool:
        """Whether these ways at once are faster than the default, and right: they are chosen."""
        found = self._found
        setting = {**found.default, **{role: item.configuration for role, item in best.items()}}
        try:
            comparison = self._compare(base, found.default, setting)
        except BackendError as error:
            self._say(f"the best ways do not run together: {error}")
            return False
        told = f"the best ways together, {comparison.ratio:.2f} of a set's time"
        if comparison.ratio > _BETTER:
            self._say(f"{told}: no faster")
            return False
        inexact = any(self._may_differ(role, setting, comparison) for role in best)
        loss = self._loss(setting) if inexact else None
        if loss is not None and not loss <= self._allowed:
            self._say(f"{told}: costs {loss:.2f} points of mAP > {self._allowed:g}")
            return False
        self._say(told)
        found.chosen, self._inexact = setting, inexact
        for item in best.values():
            self._note(item, verdict=TOGETHER)
        return True

    def _tune(self, role: str, finalists: Sequence[Tried]) -> None:
        """Choose the way of one model, the others as they are chosen now."""
        found = self._found
        left = [item for item in finalists if item.configuration != found.chosen[role]]
        if left and not self._over():
            with Runner(found.chosen, self._frames) as base:
                while left and not self._over():
                    self._try_in_set(role, left.pop(0), base)
        for tried in left:
            self._note(tried, verdict="not tried in the set: no time left")
        best = min(
            (t for t in found.tried if t.role == role and t.verdict == FASTER),
            key=lambda t: t.set_ratio or 1.0,
            default=None,
        )
        if best is not None:
            found.chosen[role] = best.configuration
            self._inexact |= best.accuracy_loss is not None
            self._say(f"{role}: {best.configuration.name}, {best.set_ratio:.2f} of a set's time")

    def _finalists(self, role: str) -> list[Tried]:
        """Return the few ways that are worth a run in the set, fastest first.

        All ways run alone on one thread, frame by frame; the best of them with more threads, and
        with frames of several sources in one run, too.
        """
        ways = list(
            configurations(self._variants[role], cores=self._cores, sources=self._sources[role])
        )
        single = self._alone(role, [way for way in ways if way.threads == way.batch == 1])
        best = [item.configuration for item in single[:_FINALISTS]]
        more = [
            way
            for way in ways
            if max(way.threads, way.batch) > 1 and replace(way, threads=1, batch=1) in best
        ]
        measured = sorted([*single, *self._alone(role, more)], key=_alone_ms)
        self._alone_of[role] = measured
        if not measured:
            return []
        limit_ms = _HOPELESS * _alone_ms(measured[0])
        kept = [
            item
            for item in measured
            if _alone_ms(item) <= limit_ms and item.configuration != self._found.chosen[role]
        ][:_FINALISTS]
        for left in measured:
            if left not in kept:
                served = left.configuration == self._found.chosen[role]
                self._note(left, verdict="served" if served else "slower alone")
        return kept

    def _alone(self, role: str, ways: Sequence[Configuration]) -> list[Tried]:
        """Run ways alone, one after the other; fastest first, what does not run is noted."""
        measured: list[Tried] = []
        results = alone(role, ways, runs=_ALONE_RUNS)
        for way, told in results:
            if "error" in told:
                tried = Tried(role=role, configuration=way)
                self._note(tried, verdict=f"does not run: {told['error']}")
            else:
                self._say(f"{role}: {way.name}: {told['p50_ms']:.2f} ms alone")
                measured.append(replace(_told(role, way, told), alone_ms=told["p50_ms"]))
            if self._over():
                results.close()
                break
        seen = [item.configuration for item in [*measured, *self._found.tried]]
        for way in ways:
            if way not in seen and self._found.out_of_time:
                self._note(Tried(role=role, configuration=way), verdict="not tried: no time left")
        return sorted(measured, key=_alone_ms)

    def _try_in_set(self, role: str, tried: Tried, base: Runner) -> None:
        found = self._found
        setting = {**found.chosen, role: tried.configuration}
        try:
            comparison = self._compare(base, found.chosen, setting)
        except BackendError as error:
            self._note(tried, verdict=f"does not run beside the others: {error}")
            return
        ratio = comparison.ratio
        if ratio > _BETTER:
            self._note(tried, verdict="no faster in the set", set_ratio=ratio)
            return
        loss = None
        if self._may_differ(role, setting, comparison):
            loss = self._loss(setting)
        if loss is not None and not loss <= self._allowed:
            verdict = f"costs {loss:.2f} points of mAP > {self._allowed:g}"
            self._note(tried, verdict=verdict, set_ratio=ratio, accuracy_loss=loss)
            return
        self._note(tried, verdict=FASTER, set_ratio=ratio, accuracy_loss=loss)

    def _served(self, role: str, way: Configuration) -> bool:
        """Whether a way runs the very bundle that the default runs."""
        return way.bundle.sha256 == self._found.default[role].bundle.sha256

    def _may_differ(
        self, role: str, setting: Mapping[str, Configuration], comparison: Comparison
    ) -> bool:
        """Whether a model may decide otherwise: its outputs differ, or it is another bundle."""
        return bool(comparison.told[role]["golden"]) or not self._served(role, setting[role])

    def _judge_choice(self) -> None:
        """Measure the accuracy of the whole choice where a part of it is not exact."""
        found = self._found
        if self._inexact and found.chosen != found.default:
            before, after = self._points(found.default), self._points(found.chosen)
            found.map_default, found.map_chosen = before[0], after[0]
            if len(before) > 1:
                found.recording_default, found.recording_chosen = before[1], after[1]

    def _loss(self, setting: Mapping[str, Configuration]) -> float:
        """Return the points that a setting costs, where it costs most; NaN: not known of one."""
        pairs = zip(self._points(self._found.default), self._points(setting), strict=True)
        losses = [before - after for before, after in pairs]
        return math.nan if any(map(math.isnan, losses)) else max(losses)

    def _points(self, setting: Mapping[str, Configuration]) -> list[float]:
        """Return the mAP of a setting on simulated frames and, where there are, on recordings."""
        for known, points in self._measured:
            if known == setting:
                return points
        self._say("  measuring accuracy")
        began_s = self._steady_s()
        points = [accuracy(setting) for accuracy in self._accuracies]
        self._judging_s = self._steady_s() - began_s
        self._measured.append((dict(setting), points))
        return points

    def _over(self) -> bool:
        over = self._steady_s() > self._end_s
        self._found.out_of_time |= over
        return over

    def _note(self, tried: Tried, **more: Any) -> None:
        self._found.tried.append(replace(tried, **more))


def _sets_in_round(set_ms: Sequence[float]) -> int:
    return min(max(round(_ROUND_S * 1e3 / median(set_ms)), _LEAST_SETS), _MOST_SETS)


def _alone_ms(item: Tried) -> float:
    return item.alone_ms if item.alone_ms is not None else float("inf")


def _told(role: str, way: Configuration, told: Mapping[str, Any]) -> Tried:
    return Tried(
        role=role,
        configuration=way,
        memory_mb=told["memory_mb"],
        runtime_mb=told.get("runtime_mb"),
    )
