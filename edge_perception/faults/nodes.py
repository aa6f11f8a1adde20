"""A representative third of the matrix through real processes over Fast DDS."""

from __future__ import annotations

import itertools
import math
import os
import random
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from edge_perception.faults.driver import is_healthy
from edge_perception.faults.integrator_rows import INTEGRATOR_ROWS
from edge_perception.faults.judge import DEADLINE_S, Expectation, Result, judge
from edge_perception.faults.matrix import Row, rows
from edge_perception.faults.process_rows import GAP_S, PROCESS_ROWS
from edge_perception.faults.session import (
    RECOVERY_TIMEOUT_S,
    Session,
    session,
    settle,
    wait_polling,
    watch,
)
from edge_perception.faults.virtual import SOURCES

FAULT_S = 1.5
LIVE_ROWS = {**PROCESS_ROWS, **INTEGRATOR_ROWS}


def run_nodes(
    out: Path, *, kill_minutes: float, only: str = ""
) -> tuple[list[Result], dict[str, Any] | None]:
    """Run the real rows whose name contains `only`, then kill encoders at random.

    Returns:
        The rows, and what random kills did to availability.
    """
    with session(out) as running:
        results = [run_row(running, row) for row in rows() if row.real and only in row.name]
        results += [run_process_row(running, name) for name in LIVE_ROWS if only in name]
        kills = random_kills(running, kill_minutes) if kill_minutes > 0 else None
    return results, kills


def run_row(running: Session, row: Row, *, length_s: float = FAULT_S) -> Result:
    """Run one stream fault."""
    driver = running.driver
    settle(driver)
    start_s = time.monotonic() + 0.2
    end_s = start_s + length_s
    driver.inject(row.injections(start_s, end_s))
    driver.wait(lambda: time.monotonic() >= end_s, length_s + 5.0)
    expectation = replace(
        row.expectation,
        gap_s=GAP_S,
        # The latency of the path is in the messages on both sides of the fault.
        recovery_s=row.expectation.recovery_s + 0.4,
    )
    return _judged(running, row.name, expectation, start_s, end_s)


def run_process_row(running: Session, name: str) -> Result:
    """Run one fault of the processes."""
    settle(running.driver)
    expectation, action = LIVE_ROWS[name]
    running.problems.clear()
    start_s = time.monotonic()
    end_s = action(running)
    result = _judged(running, name, expectation, start_s, end_s)
    problems = (*result.problems, *running.problems)
    return replace(result, problems=problems, passed=not problems)


def _judged(
    running: Session, name: str, expectation: Expectation, start_s: float, end_s: float
) -> Result:
    driver = running.driver

    def over() -> bool:
        running.supervisor.poll()
        last = driver.observed[-3:]
        return last[0].at_s > end_s and all(map(is_healthy, last))

    wait_polling(over, RECOVERY_TIMEOUT_S)
    wait_polling(lambda: driver.observed[-1].at_s > end_s + 0.6, 2.0)
    observed = [item for item in list(driver.observed) if item.at_s > start_s - 1.0]
    return judge(
        name,
        "nodes",
        expectation,
        observed,
        start_s,
        end_s,
        bad_from_s={item: driver.bad_from_s(item, start_s) for item in expectation.affected},
        latency_s=running.latency_s,
    )


def random_kills(running: Session, minutes: float, *, seed: int = 0) -> dict[str, Any]:
    """Kill a random encoder at random times; availability is the share of cycles in time.

    A cycle is in time when the next message follows within the deadline plus one period.
    """
    driver, chosen = running.driver, random.Random(seed)
    settle(driver)
    names = [f"{source}_encoder" for source in SOURCES]
    start_s = time.monotonic()
    end_s = start_s + minutes * 60.0
    kills = 0
    while time.monotonic() < end_s:
        watch(running, min(chosen.uniform(2.0, 6.0), max(0.0, end_s - time.monotonic())))
        name = chosen.choice(names)
        pid = running.supervisor.pids.get(name)
        if pid is not None and time.monotonic() < end_s:
            os.kill(pid, signal.SIGKILL)
            kills += 1
    seen = [item.at_s for item in list(driver.observed) if start_s <= item.at_s <= end_s]
    gaps = [b - a for a, b in itertools.pairwise(seen)]
    limit_s = DEADLINE_S + 0.1
    lost = sum(math.floor(gap / limit_s) for gap in gaps if gap > limit_s)
    return {
        "minutes": minutes,
        "kills": kills,
        "cycles": len(seen),
        "availability": round(len(seen) / (len(seen) + lost), 5) if seen else 0.0,
        "longest_gap_s": round(max(gaps, default=math.inf), 3),
    }
