"""Drift of one source on the device: windows against a reference, in constant memory.

A shift counts where it is large *and* more than chance: each statistic has a floor of effect and
a limit of chance that follows from the effective number of samples, and the larger of both holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.parameter import parameter
from edge_perception.monitoring.drift.alerts import AlertBook, Damping, DriftAlert
from edge_perception.monitoring.drift.reference import ALL, QuantityReference, Reference, Section
from edge_perception.monitoring.drift.statistics import (
    PageHinkley,
    floor_of,
    ks,
    ks_of_chance,
    psi,
    psi_of_chance,
    shares,
    z_score,
)
from edge_perception.monitoring.drift.window import ClassWindow, HistogramWindow

CLASSES = "classes"
DRIFT_NOT_KNOWN, DRIFT_NONE, NO_REFERENCE = "not known", "none", "no reference"  # as it is said
# Followed by Page-Hinkley too, with the directions that matter.
FOLLOWED = {"confidence": (True, True), "latency": (True, False)}
_PSI_BINS = 10  # of the 20 of a reference, two by two


@dataclass(frozen=True, kw_only=True)
class DriftLimits:
    """What counts as drift."""

    part_s: float = parameter(10.0, "between looks", unit="s", low=0.1, high=3600.0)
    parts: int = parameter(12, "of a window", low=1, high=1000)
    least_samples: float = parameter(
        10.0, "effective samples, fewer are not judged", low=1.0, high=1e6
    )
    psi: float = parameter(0.25, "at least; chance may ask for more", low=0.01, high=100.0)
    ks: float = parameter(0.2, "at least; chance may ask for more", low=0.01, high=1.0)
    mean_shift: float = parameter(
        0.5, "of a mean, in spreads of the reference, at least", low=0.01, high=100.0
    )
    z: float = parameter(6.0, "of a mean, in standard errors, at least", low=1.0, high=1000.0)
    damping: Damping = field(default_factory=Damping)


@dataclass(frozen=True, kw_only=True)
class QuantityLook:
    """What the statistics of one quantity say now; NaN: not known."""

    samples: int
    effective: float
    psi: float = float("nan")
    ks: float = float("nan")
    z: float = float("nan")
    page_hinkley: float = float("nan")  # share of its limit


@dataclass(frozen=True, kw_only=True)
class QuantityFigure:
    """One quantity to be drawn: the reference, what the window holds, what was made of it."""

    name: str
    edges: tuple[float, ...]  # inner edges of the bins; the outer bins are open
    before: tuple[int, ...]  # counts of the reference
    now: tuple[int, ...]  # counts of the window
    look: QuantityLook | None  # the newest; None: no part of the window was full yet
    judged: bool


class _Followed:
    def __init__(self, name: str, reference: QuantityReference, parts: int) -> None:
        self.reference = reference
        self.window = HistogramWindow(np.array(reference.edges), parts)
        self.counts = np.array(reference.counts)
        directions = FOLLOWED.get(name)
        self.hinkley = (
            PageHinkley(
                mean=reference.mean,
                spread=reference.spread,
                tau=reference.tau,
                up=directions[0],
                down=directions[1],
            )
            if directions is not None
            else None
        )


class DriftDetector:
    """Follows every quantity that the reference knows. One thread uses it."""

    def __init__(
        self, source: str, reference: Reference | None, limits: DriftLimits | None = None, *,
        why_none: str = NO_REFERENCE,
    ) -> None:  # fmt: skip
        """Start.

        Args:
            source: its name.
            reference: of this source with this model; None: drift is not known.
            limits: what counts as drift.
            why_none: why there is no reference.
        """
        self._source, self._reference = source, reference
        self._limits = limits or DriftLimits()
        self._why_none = why_none
        self.book = AlertBook(self._limits.damping)
        self.looks: Mapping[str, QuantityLook] = {}
        self._judged: dict[str, int] = {}  # looks in a row that could judge, by quantity
        self._name = ""  # of the section in use
        self._quantities: dict[str, _Followed] = {}
        self._classes: ClassWindow | None = None
        self._section: Section | None = None
        self._part_ends_ns = 0
        self._filled = 0
        self._choose("")

    @property
    def unknown(self) -> str:
        """Why drift is not known; empty: it is."""
        if self._reference is None:
            return self._why_none
        if self._section is None:
            held = ", ".join(sorted(self._reference.sections))
            return f"no reference for '{self._name}', there is {held}"
        if not any(np.isfinite(look.psi) for look in self.looks.values()):
            return f"fewer than {self._limits.least_samples:g} effective samples yet"
        if not any(map(self._is_judged, self._judged)):
            return f"fewer than {self._limits.damping.confirm} looks yet"
        return ""

    @property
    def not_judged(self) -> tuple[str, ...]:
        """Quantities of the reference that no alert could tell of yet, in their order."""
        followed = [*self._quantities, *([CLASSES] if self._classes is not None else [])]
        return tuple(sorted(name for name in followed if not self._is_judged(name)))

    @property
    def figures(self) -> tuple[QuantityFigure, ...]:
        """Quantities of the reference with their histograms, by name."""
        return tuple(
            QuantityFigure(
                name=name,
                edges=followed.reference.edges,
                before=followed.reference.counts,
                now=tuple(map(int, followed.window.counts)),
                look=self.looks.get(name),
                judged=self._is_judged(name),
            )
            for name, followed in sorted(self._quantities.items())
        )

    def _is_judged(self, name: str) -> bool:
        # An alert needs as many looks: with fewer, none says nothing.
        return self._judged.get(name, 0) >= self._limits.damping.confirm

    @property
    def alerts(self) -> tuple[DriftAlert, ...]:
        """What has shifted."""
        return self.book.open

    def set_condition(self, name: str) -> None:
        """Take the reference of a condition (`day`, `night`); windows begin anew.

        One without a section of its own is not judged by that of another condition; a reference
        whose only section is `all` holds for every one.
        """
        if name != self._name:
            self._choose(name)

    def _choose(self, name: str) -> None:
        self._name = name
        sections = self._reference.sections if self._reference is not None else {}
        section = sections.get(name)
        if section is None and (not name or set(sections) == {ALL}):
            section = sections.get(ALL)
        self._section, self.looks, self._judged = section, {}, {}
        self.book.forget()
        self._part_ends_ns = self._filled = 0
        parts = self._limits.parts
        held = section.quantities if section is not None else {}
        self._quantities = {key: _Followed(key, item, parts) for key, item in held.items()}
        known = section.classes if section is not None else {}
        self._classes = ClassWindow(tuple(known), parts) if known else None

    def add(
        self,
        stamp_ns: int,
        values: Mapping[str, Sequence[float]],
        classes: Sequence[str] = (),
    ) -> None:
        """Take what one frame gave."""
        stamps = {
            name: np.full(len(items), stamp_ns, np.int64)
            for name, items in values.items()
            if name in FOLLOWED
        }
        arrays = {name: np.asarray(items, np.float64) for name, items in values.items()}
        self.add_many(stamp_ns, arrays, tuple(classes), stamps)

    def add_many(
        self,
        stamp_ns: int,
        values: Mapping[str, NDArray],
        classes: tuple[str, ...] = (),
        stamps_ns: Mapping[str, NDArray] | None = None,
    ) -> None:
        """Take what the frames up to `stamp_ns` gave, in their order."""
        if self._section is None:
            return
        length_ns = round(self._limits.part_s * 1e9)
        if not self._part_ends_ns or stamp_ns < self._part_ends_ns - length_ns:
            self._start(stamp_ns + length_ns)  # the first frame, or time went back
        elif stamp_ns >= self._part_ends_ns + length_ns * self._limits.parts:
            self._start(stamp_ns + length_ns)  # a gap longer than the window
        elif stamp_ns >= self._part_ends_ns:
            self._look(stamp_ns)
            self._turn(stamp_ns, length_ns)
        for name, followed in self._quantities.items():
            items = values.get(name)
            if items is None:
                continue
            followed.window.add(items)
            if followed.hinkley is not None:
                when = (stamps_ns or {}).get(name)
                if when is None:
                    when = np.full(len(items), stamp_ns, np.int64)
                followed.hinkley.add(items, when)
        if self._classes is not None:
            self._classes.add(classes)

    def _start(self, ends_ns: int) -> None:
        self._part_ends_ns, self._filled = ends_ns, 0
        self.looks, self._judged = {}, {}
        for followed in self._quantities.values():
            followed.window.clear()
            if followed.hinkley is not None:
                followed.hinkley.reset()
        if self._classes is not None:
            self._classes.clear()

    def _turn(self, stamp_ns: int, length_ns: int) -> None:
        while self._part_ends_ns <= stamp_ns:
            self._part_ends_ns += length_ns
            self._filled += 1
            for followed in self._quantities.values():
                followed.window.turn()
            if self._classes is not None:
                self._classes.turn()

    def _look(self, now_ns: int) -> None:
        """Judge every quantity; once a part."""
        looks = {name: self._of(name, item, now_ns) for name, item in self._quantities.items()}
        if self._classes is not None and self._section is not None:
            looks[CLASSES] = self._of_classes(self._section, self._classes, now_ns)
        self.looks = looks
        self._judged = {
            name: self._judged.get(name, 0) + 1
            for name, look in looks.items()
            if np.isfinite(look.psi)
        }

    def _of(self, name: str, followed: _Followed, now_ns: int) -> QuantityLook:
        reference, window, limits = followed.reference, followed.window, self._limits
        counts = window.counts
        samples = int(counts.sum())
        effective, known = samples / reference.tau, reference.samples / reference.tau
        if effective < limits.least_samples:
            return QuantityLook(samples=samples, effective=effective)
        coarse = [_two_by_two(item) for item in (followed.counts, counts)]
        mean = window.mean
        look = QuantityLook(
            samples=samples,
            effective=effective,
            # The prior is one of effective samples as well: thin bins must not look empty.
            psi=psi(coarse[0], coarse[1], smoothing=0.5 * reference.tau),
            ks=ks(followed.counts, counts),
            z=z_score(reference.mean, reference.spread, mean, reference=known, effective=effective),
            page_hinkley=_share(followed.hinkley),
        )
        shift = abs(mean - reference.mean) / floor_of(reference.mean, reference.spread)
        chance_psi = psi_of_chance(len(coarse[0]), known, effective)
        beyond_z = min(shift / limits.mean_shift, abs(look.z) / limits.z)
        statistics = [
            ("psi", look.psi, max(limits.psi, chance_psi)),
            ("ks", look.ks, max(limits.ks, ks_of_chance(known, effective))),
            ("mean", beyond_z, 1.0),
        ]
        since_ns = self._window_began_ns(now_ns)
        if followed.hinkley is not None:
            statistics.append(("page_hinkley", followed.hinkley.value, followed.hinkley.limit))
        which, value, limit = max(statistics, key=lambda item: item[1] / item[2])
        if which == "page_hinkley" and followed.hinkley is not None:
            since_ns = followed.hinkley.began_ns or since_ns
        say = lambda: DriftAlert(  # noqa: E731  (only what is beyond its limit is put in words)
            source=self._source,
            quantity=name,
            statistic=which,
            value=value,
            limit=limit,
            before=f"median {reference.median:.3g}, mean {reference.mean:.3g}",
            now="median {}{:.3g}, mean {:.3g}".format(*window.median(), mean),
            since_ns=since_ns,
            condition=self._section_name,
        )
        self.book.look(name, value / limit, say, now_ns)
        return look

    def _of_classes(self, section: Section, window: ClassWindow, now_ns: int) -> QuantityLook:
        counts, names = window.counts, tuple(section.classes)
        before = np.append(np.array([section.classes[name] for name in names]), 0)
        tau = section.classes_tau
        samples = int(counts.sum())
        effective, known = samples / tau, float(before.sum()) / tau
        if effective < self._limits.least_samples:
            return QuantityLook(samples=samples, effective=effective)
        value = psi(before, counts, smoothing=0.5 * tau)
        limit = max(self._limits.psi, psi_of_chance(len(before), known, effective))
        p, q = shares(before, 0.5 * tau), shares(counts, 0.5 * tau)
        at = int(np.argmax(np.abs(p - q)))
        name = (*names, "other classes")[at]
        say = lambda: DriftAlert(  # noqa: E731
            source=self._source,
            quantity=CLASSES,
            statistic="psi",
            value=value,
            limit=limit,
            before=f"{name} {before[at] / before.sum():.0%}",
            now=f"{name} {counts[at] / samples:.0%}",
            since_ns=self._window_began_ns(now_ns),
            condition=self._section_name,
        )
        self.book.look(CLASSES, value / limit, say, now_ns)
        return QuantityLook(samples=samples, effective=effective, psi=value)

    @property
    def _section_name(self) -> str:
        held = self._reference.sections if self._reference is not None else {}
        return self._name if self._name in held else ALL

    def _window_began_ns(self, now_ns: int) -> int:
        """Return when the part that was just filled began: what is new in it is the reason."""
        return now_ns - round(self._limits.part_s * 1e9)


def _two_by_two(counts: NDArray) -> NDArray:
    """Join neighbouring bins: PSI of many thin ones is mostly chance."""
    joined = max(1, len(counts) // _PSI_BINS)
    return np.add.reduceat(counts, np.arange(0, len(counts), joined))


def _share(hinkley: PageHinkley | None) -> float:
    return float("nan") if hinkley is None else hinkley.value / hinkley.limit
