"""What a fault run must show, and how it is measured; the same for virtual and real runs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from edge_perception.core.types import FusedView, Mode, SourceState

OK = SourceState.OK
# A dead source is named within two periods or 200 ms, counted from the moment at which its first
# missing or bad message was due: up to then the stream is exactly what a healthy one is.
DETECTION_S = 0.2
CYCLE_S = 0.1
DEADLINE_S = 0.25


@dataclass(frozen=True, kw_only=True)
class SourceView:
    """What one fused message said of a source."""

    state: SourceState
    reason: str = ""
    warning: str = ""

    @property
    def fine(self) -> bool:
        """Whether a reader would take the source for healthy."""
        return self.state is OK and not self.warning


@dataclass(frozen=True, kw_only=True)
class Observed:
    """One fused message."""

    at_s: float  # steady clock, of its publication
    mode: Mode
    valid: bool
    confidence: float
    safe_stop: bool
    sources: dict[str, SourceView]


def observed_of(view: FusedView, at_s: float) -> Observed:
    """Return what is judged of a view that was published at a time of the steady clock."""
    return Observed(
        at_s=at_s,
        mode=view.mode,
        valid=view.valid,
        confidence=view.confidence,
        safe_stop=bool(view.safe_stop_reason),
        sources={
            status.source: SourceView(
                state=status.state, reason=status.reason, warning=status.warning
            )
            for status in view.sources
        },
    )


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """What a row of the matrix expects of the messages while its fault lasts."""

    affected: tuple[str, ...]
    modes: tuple[Mode, ...] = (Mode.DEGRADED,)
    states: tuple[SourceState, ...] = ()  # of the affected sources; (): nothing is to be raised
    warns: bool = False  # usable but doubtful: OK with a warning
    worthless: bool = False  # seconds that look healthy are counted as wrong
    detection_s: float = DETECTION_S
    recovery_s: float = 0.5  # three frames, their way through the encoder, and one cycle
    gap_s: float = DEADLINE_S + CYCLE_S
    mute: bool = False  # fusion itself is the fault: silence is expected
    optional: bool = False  # the fault comes and goes: these states may be seen, or none


@dataclass(frozen=True, kw_only=True)
class Result:
    """One row of the matrix as measured. NaN: does not apply."""

    fault: str
    layer: str
    expected: str
    seen: str
    passed: bool
    problems: tuple[str, ...]
    detection_ms: float
    recovery_ms: float
    longest_gap_ms: float
    wrong_ok_s: float
    start_s: float = 0.0
    end_s: float = 0.0
    observed: tuple[Observed, ...] = field(default=(), repr=False)


def judge(
    name: str,
    layer: str,
    expectation: Expectation,
    observed: Sequence[Observed],
    start_s: float,
    end_s: float,
    *,
    bad_from_s: Mapping[str, float],
    latency_s: float = 0.0,
) -> Result:
    """Measure a run.

    Args:
        name: of the fault.
        layer: virtual or nodes.
        expectation: what must be seen.
        observed: all fused messages, in order.
        start_s: when the fault began.
        end_s: when the first good message was due again.
        bad_from_s: when the first bad or missing message of each affected source was due.
        latency_s: added to every bound: the path through an encoder.
    """
    affected = expectation.affected
    bound_s = expectation.detection_s + latency_s
    settled_s = start_s if expectation.optional else max(bad_from_s.values()) + bound_s
    during = [item for item in observed if settled_s < item.at_s < end_s]
    modes = {item.mode for item in during}
    states = {item.sources[name].state for item in during for name in affected}
    detection_s = max(_named(observed, name, bad_from_s[name]) for name in affected)
    recovery_s = _recovered(observed, end_s, affected) - end_s
    gap_s = longest_gap_s(observed, start_s, end_s + 1.0)
    wrong_s = 0.0
    if expectation.worthless:
        wrong_s = sum(
            _wrong_ok_s(observed, name, bad_from_s[name] + bound_s, end_s) for name in affected
        )
    raises = (bool(expectation.states) or expectation.warns) and not expectation.optional
    problems = []
    if not during and not expectation.mute:
        problems.append("no fused message during the fault")
    if not modes <= set(expectation.modes):
        problems.append(f"modes {_names(modes)}")
    allowed = {*expectation.states, *((OK,) if expectation.warns else ())} or {OK}
    if expectation.optional:
        allowed.add(OK)
    if not states <= allowed:
        problems.append(f"states {_names(states)}")
    if raises and not detection_s <= bound_s:
        problems.append(f"detection {detection_s:.3f} s > {expectation.detection_s:.3f} s")
    quiet_wanted = not raises and not expectation.optional
    if quiet_wanted and not _quiet(observed, affected, start_s, end_s):
        problems.append("raised although nothing is wrong")
    if not recovery_s <= expectation.recovery_s + latency_s:
        problems.append(f"recovery {recovery_s:.3f} s > {expectation.recovery_s:.3f} s")
    if gap_s > expectation.gap_s:
        problems.append(f"gap {gap_s:.3f} s > {expectation.gap_s:.3f} s")
    if wrong_s > 0.0:
        problems.append(f"{wrong_s:.2f} s of OK on worthless input")
    return Result(
        fault=name,
        layer=layer,
        expected=_expected(expectation),
        seen=f"{_names(modes)} {_names(states)}{' +warning' if _warned(during, affected) else ''}",
        passed=not problems,
        problems=tuple(problems),
        detection_ms=detection_s * 1e3 if raises else math.nan,
        recovery_ms=recovery_s * 1e3,
        longest_gap_ms=gap_s * 1e3,
        wrong_ok_s=wrong_s,
        start_s=start_s,
        end_s=end_s,
        observed=tuple(observed),
    )


def longest_gap_s(observed: Sequence[Observed], start_s: float, end_s: float) -> float:
    """Return the longest gap between messages that touches an interval."""
    gaps = [
        after.at_s - before.at_s
        for before, after in itertools.pairwise(observed)
        if after.at_s >= start_s and before.at_s <= end_s
    ]
    return max(gaps, default=math.inf)


def _fine(item: Observed, affected: Sequence[str]) -> bool:
    """Whether a reader takes all affected sources for healthy."""
    return all(item.sources[name].fine for name in affected)


def _named(observed: Sequence[Observed], source: str, from_s: float) -> float:
    """Return how long after its first bad message a source was not called fine any more."""
    named_s = (i.at_s for i in observed if i.at_s >= from_s and not i.sources[source].fine)
    return next(named_s, math.inf) - from_s


def _recovered(observed: Sequence[Observed], end_s: float, affected: Sequence[str]) -> float:
    """Return when the first of three full views in a row came that call the affected fine."""
    after = [item for item in observed if item.at_s >= end_s]
    good = [_fine(item, affected) and item.mode is Mode.FULL for item in after]
    for index, item in enumerate(after):
        if len(good) >= index + 3 and all(good[index : index + 3]):
            return item.at_s
    return math.inf


def _quiet(
    observed: Sequence[Observed], affected: Sequence[str], start_s: float, end_s: float
) -> bool:
    return all(_fine(i, affected) for i in observed if start_s <= i.at_s < end_s)


def _wrong_ok_s(observed: Sequence[Observed], source: str, from_s: float, end_s: float) -> float:
    """Add up the time for which the newest message called a worthless source healthy."""
    total = 0.0
    for before, after in itertools.pairwise(observed):
        begin, end = max(before.at_s, from_s), min(after.at_s, end_s)
        if begin < end and before.sources[source].fine:
            total += end - begin
    return total


def _warned(during: Sequence[Observed], affected: Sequence[str]) -> bool:
    return any(item.sources[name].warning for item in during for name in affected)


def _names(values: set) -> str:
    return "/".join(value.name for value in sorted(values)) or "-"


def _expected(expectation: Expectation) -> str:
    text = f"{_names(set(expectation.modes))} {_names(set(expectation.states) or {OK})}"
    text = f"{text} or OK" if expectation.optional else text
    return f"{text} +warning" if expectation.warns else text
