"""Figures of one run from a stream of its messages, in constant memory."""

from __future__ import annotations

import heapq
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import numpy as np

from edge_perception.validation.labels import BINS, Labels, bin_of

NS = 1_000_000_000
WORST, _CANDIDATES, _APART_S = 3, 32, 1.0  # frames shown; kept to choose from; between them
_REFUSED = ("INVALID", "STALE")  # states that say why what came is not used
_SILENCE = "silence "  # how the reason begins of a source of which nothing comes
_NUMBERS, _MOST_KINDS = re.compile(r"\d+(\.\d+)?"), 64
MODES = ("NONE", "MINIMAL", "DEGRADED", "FULL")


T = TypeVar("T")


def well_apart(ranked: Iterable[T], time_s: Callable[[T], float]) -> list[T]:
    """Return the first few that lie a second apart: neighbours show the same."""
    chosen: list[T] = []
    for item in ranked:
        if all(abs(time_s(item) - time_s(other)) >= _APART_S for other in chosen):
            chosen.append(item)
    return chosen[:WORST]


class Series:
    """A curve that halves its points whenever it has too many."""

    def __init__(self, capacity: int = 2048) -> None:
        self._capacity, self._step, self._seen = capacity, 1, 0
        self.points: list[tuple[float, float]] = []

    def add(self, x: float, y: float) -> None:
        """Append a point; x grows."""
        if self._seen % self._step == 0:
            self.points.append((x, y))
            if len(self.points) >= self._capacity:
                self.points = self.points[::2]
                self._step *= 2
        self._seen += 1


class Reasons:
    """Texts that differ in their numbers only are of one kind, of which the first is kept."""

    def __init__(self) -> None:
        self.count = 0
        self._kinds: Counter[str] = Counter()
        self._first: dict[str, str] = {}

    def add(self, text: str) -> None:
        """Count one."""
        self.count += 1
        kind = _NUMBERS.sub("0", text)
        if kind in self._kinds or len(self._kinds) < _MOST_KINDS:
            self._kinds[kind] += 1
            self._first.setdefault(kind, text)

    @property
    def most(self) -> str:
        """The text of the kind that most have, and how many where others have another one."""
        if not self._kinds:
            return ""
        kind, count = self._kinds.most_common(1)[0]
        of = f" ({count} of {self.count})" if count < self.count else ""
        return f"{self._first[kind]}{of}"


class Percentiles:
    """Percentiles of durations from a logarithmic histogram: 10 µs to 100 s, within 2 %."""

    def __init__(self) -> None:
        self._edges = np.geomspace(1e-5, 100.0, 800)
        self._counts = np.zeros(len(self._edges) + 1, np.int64)

    def add(self, seconds: float | None) -> None:
        """Count one; None is not measured."""
        if seconds is not None:
            self._counts[int(np.searchsorted(self._edges, max(seconds, 0.0)))] += 1

    def ms(self, *percents: float) -> dict[str, float]:
        """Return percentiles in ms; empty: nothing was counted."""
        total = int(self._counts.sum())
        if not total:
            return {}
        ranks = np.cumsum(self._counts)
        found = {}
        for percent in percents:
            index = int(np.searchsorted(ranks, percent / 100.0 * total))
            value = 0.0 if index == 0 else float(self._edges[min(index, len(self._edges) - 1)])
            found[f"p{percent:g}"] = round(value * 1e3, 2)
        return found


class RunFigures:
    """Everything a report shows of one run."""

    def __init__(self, start_ns: int, labels: Labels | None) -> None:
        self._start_ns = start_ns
        self.labels = labels
        self.messages = self.deadline_missed = self.valid = self.objects = self.events = 0
        self.modes: Counter[str] = Counter()
        self.levels: Counter[str] = Counter()
        self.states: dict[str, Counter[str]] = {}
        self.received: Counter[str] = Counter()  # features that came, by source
        self.contributed: Counter[str] = Counter()  # views that used one, by source
        self.silent: dict[str, str] = {}  # why nothing of what came was used later, by source
        # Views in which what came was not used though it went on coming, and why.
        self.refused: dict[str, Reasons] = {}
        # Views that used a source though something is doubtful about it, and what.
        self.doubted: dict[str, Reasons] = {}
        self.mode_line = Series()
        self.ages: dict[str, Series] = {}
        self.end_to_end, self.wait, self.fusion = Percentiles(), Percentiles(), Percentiles()
        self.scores = np.zeros(BINS, np.int64)
        self.last: Mapping[str, Any] = {}
        self._worst: list[tuple[int, int, float, Mapping[str, Any]]] = []
        self.end_s = 0.0  # of the last message

    def add(self, record: Mapping[str, Any]) -> None:
        """Take in one message."""
        time_s = (record["published_ns"] - self._start_ns) / NS
        self.messages += 1
        self.end_s = time_s
        self.valid += record["valid"]
        self.deadline_missed += record["deadline_missed"]
        self.modes[record["mode"]] += 1
        self.levels[record["level"]] += 1
        self.objects += len(record["objects"])
        self.events += len(record["sound_events"])
        self.mode_line.add(time_s, MODES.index(record["mode"]))
        for status in record["sources"]:
            name = status["source"]
            self.states.setdefault(name, Counter())[status["state"]] += 1
            self.received[name] = max(self.received[name], status["received"])
            self.contributed[name] += status["contributed"]
            if status["received"] and not status["contributed"] and status["state"] in _REFUSED:
                if status["reason"].startswith(_SILENCE):
                    self.silent.setdefault(name, status["reason"])
                else:
                    self.refused.setdefault(name, Reasons()).add(status["reason"])
            if status["contributed"] and status["warning"]:
                self.doubted.setdefault(name, Reasons()).add(status["warning"])
            if status["age_s"] is not None:
                self.ages.setdefault(name, Series()).add(time_s, status["age_s"])
        for percentiles, key in (
            (self.end_to_end, "end_to_end_s"),
            (self.wait, "wait_s"),
            (self.fusion, "fusion_s"),
        ):
            percentiles.add(record[key])
        for item in record["objects"]:
            self.scores[bin_of(item["score"])] += 1
        score = self.labels.add(record) if self.labels is not None else None
        if score is not None:
            cost = score.labelled - score.correct + score.false
            heapq.heappush(self._worst, (cost, -self.messages, time_s, record))
            if len(self._worst) > _CANDIDATES:
                heapq.heappop(self._worst)
        self.last = record

    def worst(self) -> list[tuple[float, Mapping[str, Any]]]:
        """Return time, s, and record of the messages farthest from their labels."""
        ranked = [(item[2], item[3]) for item in sorted(self._worst, reverse=True) if item[0]]
        return well_apart(ranked, lambda item: item[0])

    def metrics(self) -> dict[str, Any]:
        """Return the figures for result.json."""
        total = max(self.messages, 1)
        found: dict[str, Any] = {
            "messages": self.messages,
            "objects": self.objects,
            "sound_events": self.events,
            "modes": dict(self.modes),
            "levels": dict(self.levels),
            "states": {name: dict(counts) for name, counts in self.states.items()},
            "full_share": round(self.modes["FULL"] / total, 5),
            "valid_share": round(self.valid / total, 5),
            "deadline_missed_share": round(self.deadline_missed / total, 5),
            "end_to_end_ms": self.end_to_end.ms(50, 95, 99),
            "wait_ms": self.wait.ms(50, 95, 99),
        }
        if self.labels is not None and self.labels.score.labelled:
            score = self.labels.score
            found |= {
                "rule": self.labels.rule,
                "labelled_frames": self.labels.total,
                "labelled_frames_shown": len(self.labels.shown),
                "labelled": score.labelled,
                "correct": score.correct,
                "false": score.false,
                "recall": round(score.recall, 5),
                "precision": round(score.precision, 5) if score.correct + score.false else None,
                "average_precision": round(self.labels.average_precision(), 5),
            }
        return found
