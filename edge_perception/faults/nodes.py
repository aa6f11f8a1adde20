"""A representative third of the matrix through real processes over Fast DDS."""

from __future__ import annotations

import itertools
import math
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edge_perception.core.errors import EdgePerceptionError
from edge_perception.core.types import Mode, SourceState
from edge_perception.faults.driver import SensorDriver, is_healthy
from edge_perception.faults.judge import DEADLINE_S, Expectation, Result, judge
from edge_perception.faults.matrix import AUDIO_RECOVERY_S, INVALID, SILENT, Row, rows
from edge_perception.faults.virtual import SOURCES
from edge_perception.supervised_nodes import node_processes
from edge_perception.supervision import RespawnLimits, Supervisor
from edge_perception.transport import transport_environment

READY_S = 60.0
FAULT_S = 1.5
RECOVERY_TIMEOUT_S = 20.0
# Real encoders take tens of milliseconds a frame.
LATENCY_S = 0.1
GAP_S = DEADLINE_S + 0.25
PROCESS_RECOVERY_S = 12.0  # respawn delay, start of Python and ROS, loading of the model


class NotReadyError(EdgePerceptionError):
    """The nodes did not get ready in time."""


@dataclass(frozen=True, kw_only=True)
class Session:
    """Running nodes and the sensors that feed them."""

    driver: SensorDriver
    supervisor: Supervisor
    latency_s: float = LATENCY_S  # added to the bounds


@contextmanager
def session(
    out: Path, *, domain_id: int | None = None, latency_s: float = LATENCY_S
) -> Iterator[Session]:
    """Start all nodes under supervision with sensors; all ends at the exit.

    Args:
        out: folder for the nodes' logs.
        domain_id: ROS domain; None: one that hardly anybody uses.
        latency_s: added to the bounds, for the path through encoders on this machine.
    """
    domain_id = domain_id if domain_id is not None else 100 + os.getpid() % 100
    logs = out / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    environment = {
        **transport_environment(os.environ),
        "ROS_DOMAIN_ID": str(domain_id),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "OMP_NUM_THREADS": "1",
    }
    os.environ.update(environment)  # our own publishers use the same transport
    supervisor = Supervisor(
        node_processes(SOURCES, [], logs=logs),
        environment={**os.environ},
        limits=RespawnLimits(delay_s=0.2, most=1000),
        say=lambda _text: None,
    )
    supervisor.start()
    try:
        with SensorDriver(domain_id=domain_id) as driver:
            if not driver.wait(driver.healthy, READY_S):
                last = driver.observed[-1] if driver.observed else None
                raise NotReadyError(f"nodes: not FULL within {READY_S:g} s; last: {last}; {logs}")
            yield Session(driver=driver, supervisor=supervisor, latency_s=latency_s)
    finally:
        supervisor.stop()


def run_nodes(out: Path, *, kill_minutes: float) -> tuple[list[Result], dict[str, Any] | None]:
    """Run all real rows; returns them and what random kills did to availability."""
    with session(out) as running:
        results = [run_row(running, row) for row in rows() if row.real]
        results += [run_process_row(running, name) for name in PROCESS_ROWS]
        kills = random_kills(running, kill_minutes) if kill_minutes > 0 else None
    return results, kills


def run_row(running: Session, row: Row, *, length_s: float = FAULT_S) -> Result:
    """Run one stream fault."""
    driver = running.driver
    _settle(driver)
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
    _settle(running.driver)
    expectation, action = PROCESS_ROWS[name]
    start_s = time.monotonic()
    end_s = action(running)
    return _judged(running, name, expectation, start_s, end_s)


def _settle(driver: SensorDriver) -> None:
    driver.inject(())
    if not driver.wait(driver.healthy, RECOVERY_TIMEOUT_S):
        raise NotReadyError(f"nodes: not FULL before the next fault; last: {driver.observed[-1]}")


def _judged(
    running: Session, name: str, expectation: Expectation, start_s: float, end_s: float
) -> Result:
    driver = running.driver

    def over() -> bool:
        running.supervisor.poll()
        last = driver.observed[-3:]
        return last[0].at_s > end_s and all(map(is_healthy, last))

    _wait_polling(over, RECOVERY_TIMEOUT_S)
    _wait_polling(lambda: driver.observed[-1].at_s > end_s + 0.6, 2.0)
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


def _wait_polling(condition: Callable[[], bool], timeout_s: float) -> bool:
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


def _watch(running: Session, seconds: float) -> float:
    end = time.monotonic() + seconds
    _wait_polling(lambda: running.supervisor.poll() or time.monotonic() >= end, seconds + 1.0)
    return time.monotonic()


def _kill(name: str) -> Callable[[Session], float]:
    def action(running: Session) -> float:
        os.kill(running.supervisor.pids[name], signal.SIGKILL)
        _watch(running, 1.0)
        _wait_polling(lambda: running.supervisor.poll() or name in running.supervisor.pids, 5.0)
        return time.monotonic()

    return action


def _hang(name: str) -> Callable[[Session], float]:
    def action(running: Session) -> float:
        pid = running.supervisor.pids[name]
        os.kill(pid, signal.SIGSTOP)
        try:
            return _watch(running, 1.5)
        finally:
            os.kill(pid, signal.SIGCONT)

    return action


def _one_core(running: Session) -> float:
    import psutil

    pids = list(running.supervisor.pids.values())
    before = {pid: psutil.Process(pid).cpu_affinity() for pid in pids}
    for pid in pids:
        _pin(pid, before[pid][:1])
    try:
        return _watch(running, 3.0)
    finally:
        for pid in pids:
            _pin(pid, before[pid])


def _pin(pid: int, cores: list[int]) -> None:
    import psutil

    process = psutil.Process(pid)
    for thread in process.threads():
        os.sched_setaffinity(thread.id, cores)


def _flood(running: Session) -> float:
    from rclpy.qos import QoSProfile
    from std_msgs.msg import ByteMultiArray

    node = running.driver.node
    publisher = node.create_publisher(ByteMultiArray, "somebody/elses/topic", QoSProfile(depth=1))
    message = ByteMultiArray(data=[b"\0"] * 100_000)
    end = time.monotonic() + 2.0
    while time.monotonic() < end:
        publisher.publish(message)
        time.sleep(0.005)
    node.destroy_publisher(publisher)
    return time.monotonic()


def _no_calibration(zero: bool) -> Callable[[Session], float]:
    def action(running: Session) -> float:
        driver = running.driver
        good = driver.calibration
        if zero:
            driver.calibration = type(good)(width=good.width, height=good.height)
        else:
            driver.calibration = type(good)(width=good.width, height=good.height, k=good.k)
            driver.calibration.k = [math.nan] * 9
        try:
            return _watch(running, 1.5)
        finally:
            driver.calibration = good

    return action


def _incompatible_qos(running: Session) -> float:
    with running.driver.best_effort("audio"):
        return _watch(running, 2.0)


def _gone(source: str) -> Expectation:
    return Expectation(
        affected=(source,),
        modes=(Mode.DEGRADED,),
        states=SILENT,
        worthless=True,
        recovery_s=PROCESS_RECOVERY_S,
        gap_s=GAP_S,
    )


_ANY = Expectation(
    affected=SOURCES,
    modes=(Mode.FULL, Mode.DEGRADED),
    states=(INVALID, *SILENT),
    optional=True,
    recovery_s=2.5,
    gap_s=GAP_S,
)
PROCESS_ROWS: dict[str, tuple[Expectation, Callable[[Session], float]]] = {
    "camera encoder killed (SIGKILL)": (_gone("camera"), _kill("camera_encoder")),
    "lidar encoder hung (SIGSTOP)": (
        replace(_gone("lidar"), recovery_s=2.0),
        _hang("lidar_encoder"),
    ),
    "incompatible QoS, audio": (
        replace(_gone("audio"), recovery_s=AUDIO_RECOVERY_S + 0.4),
        _incompatible_qos,
    ),
    "model manager killed": (
        Expectation(affected=SOURCES, modes=(Mode.FULL,), recovery_s=1.0, gap_s=GAP_S),
        _kill("model_manager"),
    ),
    "calibration of zeros is not taken": (replace(_ANY, recovery_s=2.5), _no_calibration(True)),
    "calibration of NaN is not taken": (replace(_ANY, recovery_s=2.5), _no_calibration(False)),
    "DDS flood on another topic": (_ANY, _flood),
    "one core only": (_ANY, _one_core),
    # Nobody speaks until it is back: the gap is the respawn, and is stated.
    "fusion killed (SIGKILL)": (
        replace(
            _ANY,
            modes=tuple(Mode),
            mute=True,
            recovery_s=PROCESS_RECOVERY_S,
            gap_s=PROCESS_RECOVERY_S,
        ),
        _kill("fusion"),
    ),
}


def random_kills(running: Session, minutes: float, *, seed: int = 0) -> dict[str, Any]:
    """Kill a random encoder at random times; availability is the share of cycles in time.

    A cycle is in time when the next message follows within the deadline plus one period.
    """
    driver, chosen = running.driver, random.Random(seed)
    _settle(driver)
    names = [f"{source}_encoder" for source in SOURCES]
    start_s = time.monotonic()
    end_s = start_s + minutes * 60.0
    kills = 0
    while time.monotonic() < end_s:
        _watch(running, min(chosen.uniform(2.0, 6.0), max(0.0, end_s - time.monotonic())))
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


def states_of(result: Result, source: str) -> set[SourceState]:
    """Return the states a source was reported in over a run."""
    return {item.sources[source].state for item in result.observed}
