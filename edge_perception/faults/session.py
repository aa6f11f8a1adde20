"""Real nodes under supervision with sensors that feed them, for fault runs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from edge_perception.core.errors import EdgePerceptionError
from edge_perception.faults.driver import SensorDriver
from edge_perception.faults.virtual import SOURCES
from edge_perception.running.supervised_nodes import node_processes
from edge_perception.running.supervision import RespawnLimits, Supervisor
from edge_perception.running.transport import transport_environment

READY_S = 60.0
RECOVERY_TIMEOUT_S = 20.0
# A source that nobody placed is never called fine.
POSES = (
    "-p", "camera_encoder:T_base_sensor:=[1.5, 0.0, 1.6, -0.5, 0.5, -0.5, 0.5]",
    "-p", "lidar_encoder:T_base_sensor:=[0.0, 0.0, 1.8, 0.0, 0.0, 0.0, 1.0]",
)  # fmt: skip
LATENCY_S = 0.1  # real encoders take tens of milliseconds a frame


class NotReadyError(EdgePerceptionError):
    """The nodes did not get ready in time."""


@dataclass(frozen=True, kw_only=True)
class Session:
    """Running nodes and the sensors that feed them."""

    driver: SensorDriver
    supervisor: Supervisor
    latency_s: float = LATENCY_S  # added to the bounds
    problems: list[str] = field(default_factory=list)  # of the present fault, beside the views


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
        node_processes(SOURCES, POSES, logs=logs),
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


def settle(driver: SensorDriver) -> None:
    """End all injections and wait until everything is fine."""
    driver.inject(())
    if not driver.wait(driver.healthy, RECOVERY_TIMEOUT_S):
        raise NotReadyError(f"nodes: not FULL before the next fault; last: {driver.observed[-1]}")


def wait_polling(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Wait for a condition that no message tells of."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


def watch(running: Session, seconds: float) -> float:
    """Let time pass under supervision; returns the time."""
    end = time.monotonic() + seconds

    def over() -> bool:
        running.supervisor.poll()
        return time.monotonic() >= end

    wait_polling(over, seconds + 1.0)
    return time.monotonic()
