"""What the messages of a swap run prove: nothing lost, doubled or mixed. No ROS in here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_perception.bench._machine_watch import Used, used_between

FUSION = "fusion"
_BEFORE_NS = 100_000_000  # frames of a view are that much older than it


@dataclass(frozen=True, kw_only=True)
class FeatureSeen:
    """One feature as it was published."""

    source: str
    stamp_ns: int
    sequence: int
    sha256: str
    space: str
    dropped: int = 0  # the encoder's own count of overwritten frames, since its start


@dataclass(frozen=True, kw_only=True)
class FusedSeen:
    """One fused message as it was published."""

    published_ns: int
    sequence: int
    end_to_end_s: float
    models: tuple[tuple[str, str, str], ...]  # role, sha256, feature space
    feature_level: bool


@dataclass(frozen=True, kw_only=True)
class SwapSeen:
    """One change, as the manager told of it."""

    requested_ns: int
    stamp_ns: int  # from which the new set serves
    answered_ns: int
    back: bool = False  # a rollback


@dataclass(kw_only=True)
class RunSeen:
    """Everything that was seen of one run."""

    set_of: Mapping[str, int]  # number of the set by digest
    sent: dict[str, list[int]] = field(default_factory=dict)  # stamps by source
    features: list[FeatureSeen] = field(default_factory=list)
    fused: list[FusedSeen] = field(default_factory=list)
    swaps: list[SwapSeen] = field(default_factory=list)
    memory_bytes: list[int] = field(default_factory=list)
    played: list[tuple[int, int]] = field(default_factory=list)  # stamp, published so late, ns
    used: Sequence[Used] = ()  # of the machine's cores


def summarise(run: RunSeen, *, cycle_s: float, tail_s: float = 0.2) -> dict[str, Any]:
    """Return the figures of a run.

    Args:
        run: what was seen.
        cycle_s: period of the fused output.
        tail_s: how long after its stamp a change may still cost time.
    """
    lost, doubled, wrong_set = _features(run)
    fused_lost, fused_doubled, mixed, decision = _fused(run)
    published = np.array([view.published_ns for view in run.fused], np.int64)
    gaps_s = np.diff(published) / 1e9
    during, steady = _latencies(run, tail_s)
    p99 = [
        float(np.percentile(part, 99)) if len(part) else float("nan") for part in (during, steady)
    ]
    return {
        "swaps": sum(not swap.back for swap in run.swaps),
        "lost": sum(lost.values()) + fused_lost,
        "doubled": doubled + fused_doubled,
        "mixed": mixed + wrong_set,
        "longest_gap_cycles": round(float(gaps_s.max(initial=0.0)) / cycle_s, 3),
        "longest_gap_steady_cycles": round(
            float(gaps_s[~_in_changes(run, published[:-1], published[1:], tail_s)].max(initial=0.0))
            / cycle_s,
            3,
        ),
        "gap_p99_cycles": round(float(np.percentile(gaps_s, 99)) / cycle_s, 3)
        if len(gaps_s)
        else float("nan"),
        "p99_ratio": round(p99[0] / p99[1], 3),
        "memory_ratio": round(run.memory_bytes[-1] / run.memory_bytes[0], 4)
        if run.memory_bytes
        else float("nan"),
        **_rollbacks(run),
        "longest_gaps": _longest_gaps(run, cycle_s),
        "lost_frames": dict(lost),
        "features": dict(Counter(feature.source for feature in run.features)),
        "fused": len(run.fused),
        "decision_level": decision,
        "fused_of_two_sets": mixed,
        "features_of_the_wrong_set": wrong_set,
        "p99_during_s": round(p99[0], 5),
        "p99_steady_s": round(p99[1], 5),
        "fused_during": len(during),
        "fused_steady": len(steady),
        "memory_mb": [round(size / 1e6, 1) for size in run.memory_bytes],
    }


def _longest_gaps(run: RunSeen, cycle_s: float, count: int = 20) -> list[dict[str, Any]]:
    """Return the longest gaps: when after a request and a change's stamp they ended, and whose.

    Of each: what of the cores went to other programs and to the host meanwhile, and how late the
    bench's own sensors were played. What a gap is, none of that changes.
    """
    published = [view.published_ns for view in run.fused]
    ended = np.array(published[1:], np.int64)
    gaps_s = np.diff(published) / 1e9
    requested = [swap.requested_ns for swap in run.swaps]
    found = []
    for index in np.argsort(-gaps_s)[:count]:
        last = int(np.searchsorted(requested, ended[index], side="right")) - 1
        swap = run.swaps[last] if last >= 0 else None
        requested_ns = None if swap is None else swap.requested_ns
        stamp_ns = None if swap is None else swap.stamp_ns
        found.append(
            {
                "cycles": round(float(gaps_s[index]) / cycle_s, 3),
                "after_request_s": _since(ended[index], requested_ns),
                "after_stamp_s": _since(ended[index], stamp_ns),
                **_surroundings(run, published[index], published[index + 1]),
            }
        )
    return found


def _surroundings(run: RunSeen, start_ns: int, end_ns: int) -> dict[str, float | None]:
    """Return what of a gap is not of the nodes: other programs, the host, late sensors."""
    used = used_between(run.used, start_ns, end_ns)
    late = [late for stamp, late in run.played if start_ns - _BEFORE_NS <= stamp <= end_ns]
    return {
        "others_s": None if used is None else round(used[0], 2),
        "stolen_s": None if used is None else round(used[1], 2),
        "played_late_s": round(max(late) / 1e9, 3) if late else None,
    }


def _since(now_ns: int, then_ns: int | None) -> float | None:
    return None if then_ns is None else round((int(now_ns) - then_ns) / 1e9, 3)


def _rollbacks(run: RunSeen) -> dict[str, Any]:
    """Time from a request to the stamp of its effect, and frames that the left set still served."""
    backs = [swap for swap in run.swaps if swap.back]
    if not backs:
        return {}
    times_ms = [(swap.stamp_ns - swap.requested_ns) / 1e6 for swap in backs]
    frames = [
        max(
            sum(swap.requested_ns <= stamp < swap.stamp_ns for stamp in stamps)
            for stamps in run.sent.values()
        )
        for swap in backs
    ]
    return {
        "rollbacks": len(backs),
        "rollback_ms_p50": round(float(np.median(times_ms)), 1),
        "rollback_ms_max": round(max(times_ms), 1),
        "rollback_frames": max(frames),
    }


def _features(run: RunSeen) -> tuple[Counter[str], int, int]:
    """Compare features with what was sent, and each with the set that its stamp asks for."""
    lost: Counter[str] = Counter()
    doubled = wrong = 0
    for source, stamps in run.sent.items():
        mine = [feature for feature in run.features if feature.source == source]
        if not mine:
            lost[source] = len(stamps)
            continue
        seen = Counter(feature.stamp_ns for feature in mine)
        doubled += sum(count - 1 for count in seen.values())
        doubled += len(mine) - len({feature.sequence for feature in mine})
        first, last = min(seen), max(seen)
        lost[source] = sum(1 for stamp in stamps if first <= stamp <= last and stamp not in seen)
        sets = [run.set_of.get(feature.sha256, -1) for feature in mine]
        changes = [swap.stamp_ns for swap in run.swaps]
        expected = sets[0] + np.searchsorted(changes, [f.stamp_ns for f in mine], side="right")
        wrong += int(np.count_nonzero(expected % _sets(run) != np.array(sets) % _sets(run)))
    return lost, doubled, wrong


def _fused(run: RunSeen) -> tuple[int, int, int, int]:
    sequences = [view.sequence for view in run.fused]
    steps = np.diff(sequences)
    lost = int(np.sum(np.maximum(steps - 1, 0)))
    doubled = int(np.count_nonzero(steps < 1))
    mixed = sum(
        len({run.set_of.get(sha256, -1) for _, sha256, _ in view.models}) > 1 for view in run.fused
    )
    return lost, doubled, mixed, sum(not view.feature_level for view in run.fused)


def _latencies(run: RunSeen, tail_s: float) -> tuple[list[float], list[float]]:
    """Split end-to-end times: from a request until its change took effect, and the rest."""
    # Where no source contributed it is counted elsewhere, and has no age.
    views = [view for view in run.fused if np.isfinite(view.end_to_end_s)]
    at = np.array([view.published_ns for view in views], np.int64)
    times_s = np.array([view.end_to_end_s for view in views])
    inside = _in_changes(run, at, at, tail_s)
    return times_s[inside].tolist(), times_s[~inside].tolist()


def _in_changes(
    run: RunSeen, start_ns: NDArray[np.int64], end_ns: NDArray[np.int64], tail_s: float
) -> NDArray[np.bool_]:
    """Tell which spans of time touch one from a request until its change took effect."""
    inside = np.zeros(len(start_ns), bool)
    for swap in run.swaps:
        until_ns = max(swap.stamp_ns, swap.answered_ns) + round(tail_s * 1e9)
        inside |= (end_ns >= swap.requested_ns) & (start_ns <= until_ns)
    return inside


def _sets(run: RunSeen) -> int:
    return max(len(set(run.set_of.values())), 1)


def worst(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the sums of counts and the worst of ratios over several runs."""
    ratios = (
        "longest_gap_cycles",
        "longest_gap_steady_cycles",
        "gap_p99_cycles",
        "p99_ratio",
        "memory_ratio",
    )
    counts = ("lost_steady", "lost_in_changes", "lost_by_changes")
    shares = ("lost_steady_percent", "lost_in_changes_percent")
    backs = ("rollback_ms_p50", "rollback_ms_max", "rollback_frames")
    return {
        **{
            name: sum(part[name] for part in parts)
            for name in ("swaps", "lost", "doubled", "mixed", *counts)
        },
        "lost_by_changes_surely": any(part["lost_by_changes_surely"] for part in parts),
        **{name: max(part[name] for part in parts) for name in shares},
        **{name: max(part[name] for part in parts) for name in ratios},
        **{
            name: max(part[name] for part in parts)
            for name in backs
            if all(name in part for part in parts)
        },
    }
