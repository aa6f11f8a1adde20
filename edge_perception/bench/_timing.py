"""Two ways of doing one thing, timed in turns, with what each allocates."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable, Mapping
from typing import Any

from edge_perception.bench._report import median, quantiles

WARM_UP = 3


def compare(
    ways: Mapping[str, Callable[[], Any]], *, rounds: int, calls: int,
    clock: Callable[[], int] = time.perf_counter_ns,
) -> dict[str, dict[str, Any]]:  # fmt: skip
    """Return by way: quantiles of a call in microseconds, and the bytes a call allocates.

    Args:
        ways: what to call; they take turns, round by round.
        rounds: how many turns each gets.
        calls: calls a turn.
        clock: nanoseconds; `time.thread_time_ns`: those of the processor that a call takes.
    """
    took: dict[str, list[float]] = {name: [] for name in ways}
    medians: dict[str, list[float]] = {name: [] for name in ways}
    for call in ways.values():
        for _ in range(WARM_UP):
            call()
    for _ in range(rounds):
        for name, call in ways.items():
            turn = [_time_us(call, clock) for _ in range(calls)]
            took[name] += turn
            medians[name].append(median(turn))
    return {
        name: {"us": quantiles(took[name]), "round_us": medians[name], "bytes": allocated(call)}
        for name, call in ways.items()
    }


def ratio(found: Mapping[str, Mapping[str, Any]], ours: str, other: str) -> float:
    """Return the median over rounds of ours to the other."""
    pairs = zip(found[ours]["round_us"], found[other]["round_us"], strict=True)
    return median(a / b for a, b in pairs)


def allocated(call: Callable[[], Any]) -> int:
    """Return the most bytes that a call holds beyond those held before it, in steady state.

    Counts what Python and NumPy allocate; a result that is kept until the next call counts, one
    that is written into a buffer of an earlier call does not.
    """
    kept = call()
    tracemalloc.start()
    try:
        kept = call()
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        kept = call()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    del kept
    return max(0, peak - before)


def _time_us(call: Callable[[], Any], clock: Callable[[], int]) -> float:
    begin = clock()
    call()
    return (clock() - begin) / 1e3
