"""Faults of the processes and of what surrounds them: what is done, and what is expected."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from edge_perception.core.health import Level
from edge_perception.core.types import Mode
from edge_perception.faults.injector import Injection
from edge_perception.faults.judge import DEADLINE_S, Expectation
from edge_perception.faults.matrix import AUDIO_RECOVERY_S, INVALID, SILENT
from edge_perception.faults.session import READY_S, NotReadyError, Session, wait_polling, watch
from edge_perception.faults.virtual import SOURCES

GAP_S = DEADLINE_S + 0.25
PROCESS_RECOVERY_S = 12.0  # respawn delay, start of Python and ROS, loading of the model


def _kill(name: str) -> Callable[[Session], float]:
    def action(running: Session) -> float:
        def started_again() -> bool:
            running.supervisor.poll()
            return name in running.supervisor.pids

        os.kill(running.supervisor.pids[name], signal.SIGKILL)
        watch(running, 1.0)
        wait_polling(started_again, 5.0)
        return time.monotonic()

    return action


def _hang(name: str) -> Callable[[Session], float]:
    def action(running: Session) -> float:
        pid = running.supervisor.pids[name]
        os.kill(pid, signal.SIGSTOP)
        try:
            return watch(running, 1.5)
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
        return watch(running, 3.0)
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
            return watch(running, 1.5)
        finally:
            driver.calibration = good

    return action


def _full_disk(running: Session) -> float:
    """Let no file grow any more, for every node and a recorder that has an event to write.

    The limit is the kernel's for a process: it refuses what a full disk refuses, with another
    number, and fills no disk of this machine.
    """
    import psutil

    with tempfile.TemporaryDirectory() as folder, _recorder(running, Path(folder)) as recorder:
        pids = [*running.supervisor.pids.values(), recorder]
        limits = {pid: psutil.Process(pid).rlimit(psutil.RLIMIT_FSIZE) for pid in pids}
        for pid, (_, hard) in limits.items():
            psutil.Process(pid).rlimit(psutil.RLIMIT_FSIZE, (0, hard))
        start_s = time.monotonic() + 0.1
        running.driver.inject([Injection.of("black", ("camera",), start_s, start_s + 1.0)])
        try:
            named = running.driver.wait(
                lambda: running.driver.said.get("event_recorder", (0,))[0] == Level.ERROR, 5.0
            )
            watch(running, max(0.0, start_s + 1.0 - time.monotonic()))
            if not named:
                running.problems.append("no diagnostics name the disk")
            return time.monotonic()
        finally:
            for pid, limit in limits.items():
                psutil.Process(pid).rlimit(psutil.RLIMIT_FSIZE, limit)


@contextmanager
def _recorder(running: Session, folder: Path) -> Iterator[int]:
    """Run the event recorder until the exit; yields its process id."""
    code = "import sys; from edge_perception.cli.main import main; sys.exit(main())"
    options = ["--out", str(folder), "--before", "1", "--after", "0.3", "--triggers", "mode"]
    process = subprocess.Popen(
        [sys.executable, "-c", code, "record", *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ,
    )
    try:
        said = running.driver.said
        if not running.driver.wait(
            lambda: said.get("event_recorder", (Level.ERROR,))[0] == Level.OK, READY_S
        ):
            raise NotReadyError(f"the event recorder said {said.get('event_recorder', 'nothing')}")
        yield process.pid
    finally:
        process.terminate()
        process.wait(10.0)


def _incompatible_qos(running: Session) -> float:
    with running.driver.best_effort("audio"):
        return watch(running, 2.0)


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
    # The black image is the event to record, and takes the camera away.
    "no file can grow (full disk)": (
        replace(_ANY, affected=("camera",), recovery_s=1.0),
        _full_disk,
    ),
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
