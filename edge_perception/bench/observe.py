"""What observing costs, and what it tells: CPU of the metrics node, false alarms, shifts found.

The metrics node is a process of its own. Its CPU time is taken while nothing is published, and
while a pipeline of four sources publishes at its full rate and is scraped every five seconds.
Drift is judged on virtual drives of 10 Hz, frame by frame alike: ten hours in which nothing
shifts, and a shift of each kind.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

from edge_perception.bench._report import add_arguments as add_common
from edge_perception.bench._report import deliver, machine, median, say
from edge_perception.bench._role import Role, RoleError
from edge_perception.core.ports import free_port
from edge_perception.running.ending import lifeline

NAME = "observe"
HELP = "CPU of the metrics node, false alarms of drift in 10 h, frames until shifts are found"
MOST_CPU_SHARE = 0.01
_SCRAPE_S = 5.0
_SILENT_S = 4.0  # the node says after two seconds that nothing comes, and looks once a second
_HOURS = 10.0
_METRICS = "edge_perception.observe.metrics.executable"
_FEED = "edge_perception.bench._observed_feed"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_common(parser)
    parser.add_argument("--seeds", type=int, help="drives of each kind (10, quick: 2)")


def run(args: argparse.Namespace) -> int:
    """Measure, print and save; 1: a false alarm, or a shift that was not found."""
    rounds, seconds = (2, 5.0) if args.quick else (5, 20.0)
    costs = measure_cost(rounds, seconds)
    drift = measure_drift(args.seeds or (2 if args.quick else 10))
    summary = summarise(costs, drift)
    result = {
        "benchmark": NAME,
        "machine": machine(),
        "summary": summary,
        "cost": costs,
        "drift": drift,
    }
    deliver(result, args)
    return 0 if met(summary) else 1


def measure_cost(rounds: int, seconds: float) -> list[dict[str, float]]:
    """Return the shares of a core that the node used, silence and full rate taking turns."""
    from edge_perception.running.transport import transport_environment

    port = free_port()
    environment = {
        **os.environ,
        **transport_environment(os.environ),
        "ROS_DOMAIN_ID": str(100 + os.getpid() % 100),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
    }
    command = [sys.executable, "-m", _METRICS, "--ros-args", "-p", f"port:={port}"]
    found = []
    with ExitStack() as stack:
        bound, descriptors = lifeline()
        node = subprocess.Popen(
            [*command, "--log-level", "warn"],
            env=environment | bound,
            pass_fds=descriptors,
            stdout=2,
        )
        stack.callback(_end, node)
        feed = stack.enter_context(Role(_FEED, (), environment))
        if not feed.ask(60.0, do="heard", timeout_s=40.0):
            raise RoleError("the metrics node does not listen")
        # What a first message, a first scrape and a first line of the log build is no cost of later
        # ones; the line says that nothing comes any more.
        _play(feed, port, seconds)
        time.sleep(_SILENT_S)
        for _ in range(rounds):
            idle = _share(node.pid, lambda: time.sleep(seconds))
            full = _share(node.pid, lambda: _play(feed, port, seconds))
            found.append({"idle": idle, "full": full})
            say(f"metrics node: {idle:.2%} of a core idle, {full:.2%} at full rate")
    return found


def _play(feed: Role, port: int, seconds: float) -> None:
    feed.send(do="play", seconds=seconds)
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0.0:
        time.sleep(min(_SCRAPE_S, left))
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            answer.read()
    feed.answer(20.0)


def _share(pid: int, meanwhile: Callable[[], object]) -> float:
    """Return the CPU time that a process used meanwhile, as a share of one core."""
    before_s, began_s = _cpu_time_s(pid), time.monotonic()
    meanwhile()
    return (_cpu_time_s(pid) - before_s) / (time.monotonic() - began_s)


def _cpu_time_s(pid: int) -> float:
    """Return the CPU time of all threads of a process that runs or ran, in steps of nanoseconds.

    The clock of a process by its id, as `clock_getcpuclockid` makes it: /proc counts in steps of
    10 ms, which are 0.2 % of a core in five seconds.
    """
    return time.clock_gettime((~pid << 3) | 2)


def _end(node: subprocess.Popen[bytes]) -> None:
    node.terminate()
    try:
        node.wait(10.0)
    except subprocess.TimeoutExpired:
        node.kill()
        node.wait()


def measure_drift(seeds: int) -> dict[str, Any]:
    """Return the false alarms of ten hours, and the frames until each planted shift was found."""
    from edge_perception.bench._drift_trials import false_alarms, found_after, reference_of
    from edge_perception.bench._drift_trials import section_of as section
    from edge_perception.bench._virtual_drive import SHIFTS

    reference = reference_of(all=section(seed=1))
    alarms = false_alarms(reference, 2, _HOURS)
    say(f"false alarms in {_HOURS:g} h: {alarms}")
    found = {
        kind: [found_after(reference, 5 + seed, kind) for seed in range(seeds)] for kind in SHIFTS
    }
    return {"hours": _HOURS, "false_alarms": alarms, "found_after_frames": found}


def summarise(costs: list[dict[str, float]], drift: Mapping[str, Any]) -> dict[str, Any]:
    """Return medians of the shares, and of each kind the latest time that it was found."""
    full = median(item["full"] for item in costs)
    return {
        "cpu_share": full,
        "cpu_share_idle": median(item["idle"] for item in costs),
        "cpu_share_allowed": MOST_CPU_SHARE,
        "hours": drift["hours"],
        "false_alarms": drift["false_alarms"],
        "found_after_frames": {
            kind: None if None in frames else max(frames)
            for kind, frames in drift["found_after_frames"].items()
        },
    }


def met(summary: Mapping[str, Any]) -> bool:
    """Whether nothing was alarmed of without a reason, and every shift was found.

    The cost is told, not judged: it depends on the machine.
    """
    found = summary["found_after_frames"].values()
    return not summary["false_alarms"] and all(frames is not None for frames in found)
