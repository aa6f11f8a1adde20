"""What the output did while a sensor was pulled."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from edge_perception.core.types import Mode, PublishedView, SourceState
from edge_perception.recordings.player import CutEvent

_NS = 1e-9


@dataclass(frozen=True, kw_only=True)
class CutReport:
    """One pulled sensor. Times in seconds; None: it did not happen."""

    source: str
    from_s: float  # since the start of playing
    to_s: float
    messages: int  # fused messages in between
    longest_gap_s: float  # between fused messages, from the last before to the first after
    degraded_after_s: float | None  # first message that says so with this source, after the cut
    modes: dict[str, int]  # of the messages in between, from that one on
    other_sources_blamed: tuple[str, ...]  # not OK in these messages though they were delivering
    full_after_s: float | None  # first FULL message after the first sensor message was back


def report_cut(entries: Sequence[PublishedView], event: CutEvent, play_start_ns: int) -> CutReport:
    """Judge the fused messages around one cut.

    Args:
        entries: all fused messages of the run, by arrival.
        event: the cut as it was played; its name is the name of the source.
        play_start_ns: when playing started, node clock.
    """
    source = event.cut.name.strip("/")
    end_ns = event.returned_ns or entries[-1].at_ns if entries else event.first_missing_ns
    inside = [e for e in entries if event.first_missing_ns <= e.at_ns < end_ns]
    after = [e for e in entries if e.at_ns >= end_ns]
    degraded = [i for i, e in enumerate(inside) if e.view.mode < Mode.FULL and _lacks(e, source)]
    since = inside[degraded[0] :] if degraded else []
    full = next((e for e in after if e.view.mode == Mode.FULL), None)
    return CutReport(
        source=source,
        from_s=(event.first_missing_ns - play_start_ns) * _NS,
        to_s=(end_ns - play_start_ns) * _NS,
        messages=len(inside),
        longest_gap_s=_longest_gap_s(entries, event.first_missing_ns, end_ns),
        degraded_after_s=(
            (inside[degraded[0]].at_ns - event.first_missing_ns) * _NS if degraded else None
        ),
        modes=dict(Counter(e.view.mode.name for e in since)),
        other_sources_blamed=tuple(sorted(_blamed(since) - {source})),
        full_after_s=(full.at_ns - end_ns) * _NS if full and event.returned_ns else None,
    )


def _lacks(entry: PublishedView, source: str) -> bool:
    status = entry.view.source(source)
    return status is not None and not (status.contributed and status.state == SourceState.OK)


def _blamed(entries: Sequence[PublishedView]) -> set[str]:
    return {s.source for e in entries for s in e.view.sources if s.state != SourceState.OK}


def _longest_gap_s(entries: Sequence[PublishedView], start_ns: int, end_ns: int) -> float:
    arrivals = [e.at_ns for e in entries]
    gaps = [b - a for a, b in itertools.pairwise(arrivals) if b >= start_ns and a < end_ns]
    return max(gaps, default=0) * _NS
