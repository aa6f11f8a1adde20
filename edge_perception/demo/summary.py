"""The figures of a run, ready for JSON."""

from __future__ import annotations

import dataclasses
import math
import os
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edge_perception.core.types import Mode, PublishedView, SourceState
from edge_perception.demo.alone import FrameScores
from edge_perception.demo.cuts import CutReport, report_cut
from edge_perception.demo.latency import latency_report
from edge_perception.recordings.player import PlayReport
from edge_perception.recordings.schedule import StampMap
from edge_perception.running.memory import MemoryReport
from edge_perception.samples.matching import RULE, total
from edge_perception.samples.sounds import HeardSpan, HearingReport, heard_spans, judge_hearing
from edge_perception.samples.truth import GroundTruth

COMPARED = ("fused", "camera", "lidar")


@dataclass(frozen=True, kw_only=True)
class Run:
    """Everything that was observed of one run."""

    entries: Sequence[PublishedView]
    play: PlayReport
    stamps: StampMap
    played_s: float
    truth: GroundTruth
    frames: Sequence[FrameScores]  # compared with their labels
    memory: MemoryReport
    models: str
    composed: bool


@dataclass(frozen=True, kw_only=True)
class Hearing:
    """The sounds of a run."""

    spans: list[HeardSpan]
    reports: list[HearingReport]


def hearing_of(run: Run) -> Hearing:
    """Return what was heard, and how that compares with the clip."""
    events = [event for entry in run.entries for event in entry.view.sound_events]
    spans = heard_spans(events, run.truth.clip, run.stamps)
    reports = judge_hearing(
        spans,
        run.truth.clip,
        played_s=run.played_s * run.stamps.rate,
        period_s=run.stamps.period_ns * 1e-9,
    )
    return Hearing(spans=spans, reports=reports)


def cut_reports(run: Run) -> list[CutReport]:
    """Return what the output did during each cut."""
    return [report_cut(run.entries, event, run.stamps.play_start_ns) for event in run.play.cuts]


def summarise(run: Run) -> dict[str, Any]:
    """Return the content of summary.json."""
    hearing = hearing_of(run)
    missed = sum(entry.deadline_missed for entry in run.entries)
    count = len(run.entries)
    return plain(
        {
            "fused_messages": count,
            "played_s": round(run.played_s, 2),
            "modes": {mode.name: _count_mode(run.entries, mode) for mode in reversed(Mode)},
            "levels": dict(Counter(entry.view.level.name for entry in run.entries)),
            "closed_by": dict(Counter(entry.view.closed_by.name for entry in run.entries)),
            "sources": {name: _source(run.entries, name) for name in source_names(run.entries)},
            "latency_ms": latency_report(run.entries),
            "deadline_missed": missed,
            "cycles_by_deadline_share": (count - missed) / count if count else 0.0,
            "cuts": [dataclasses.asdict(report) for report in cut_reports(run)],
            "correct_objects": _correct(run.frames),
            "sound_events": [dataclasses.asdict(span) for span in hearing.spans],
            "sounds_expected": [dataclasses.asdict(report) for report in hearing.reports],
            "resident_mb": run.memory.summary(),
            "models": _models(run.entries),
            "set_up": {
                "models": run.models,
                "processes": "composed" if run.composed else "separate",
                "recording": run.truth.origin,
                "loops": run.play.loops,
                "messages_sent": run.play.sent,
                "messages_withheld": run.play.withheld,
                "sent_late": run.play.late,
                "worst_send_lateness_ms": round(run.play.worst_lateness_s * 1e3, 1),
                **machine(),
            },
        }
    )


def source_names(entries: Sequence[PublishedView]) -> list[str]:
    """Return the sources in the order of the messages."""
    return list(dict.fromkeys(s.source for entry in entries for s in entry.view.sources))


def machine() -> dict[str, Any]:
    """Return what the figures were taken on."""
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.split(":", 1)[1].strip() for line in file if "model name" in line]
        model = names[0] if names else model
    except OSError:
        pass  # the machine's architecture is said instead
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
    }


def plain(value: Any) -> Any:
    """Return a value with NaN as None and tuples as lists, as strict JSON wants it."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return round(value, 4) if math.isfinite(value) else None
    return value


def _count_mode(entries: Sequence[PublishedView], mode: Mode) -> int:
    return sum(entry.view.mode == mode for entry in entries)


def _source(entries: Sequence[PublishedView], name: str) -> dict[str, Any]:
    statuses = [status for entry in entries if (status := entry.view.source(name)) is not None]
    last = statuses[-1]
    states = Counter(status.state for status in statuses)
    return {
        "modality": last.modality,
        "states": {state.name: states[state] for state in SourceState if states[state]},
        "contributed": sum(status.contributed for status in statuses),
        "received": last.received,
        "dropped": last.dropped,
        "refused": last.refused,
        "late": last.late,
        "rate_hz": last.rate_hz,
    }


def _correct(frames: Sequence[FrameScores]) -> dict[str, Any]:
    """Return the counts over all frames, and by the sequence that their names start with."""
    by_sequence: dict[str, list[FrameScores]] = {}
    for frame in frames:
        by_sequence.setdefault(frame.name.split("/")[0], []).append(frame)
    return {
        **_counts(frames),
        "by_sequence": {name: _counts(found) for name, found in by_sequence.items()},
        "rule": RULE,
    }


def _counts(frames: Sequence[FrameScores]) -> dict[str, Any]:
    scores = {name: total(frame.scores[name] for frame in frames) for name in COMPARED}
    return {
        **{name: score.correct for name, score in scores.items()},
        "labelled": scores["fused"].labelled,
        "false": {name: score.false for name, score in scores.items()},
        "precision": {name: score.precision for name, score in scores.items()},
        "recall": {name: score.recall for name, score in scores.items()},
        "frames": len(frames),
    }


def _models(entries: Sequence[PublishedView]) -> list[dict[str, Any]]:
    found = {(m.role, m.sha256): m for entry in entries for m in entry.view.models}
    return [dataclasses.asdict(model) for _, model in sorted(found.items())]
