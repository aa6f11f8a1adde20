"""Images and clouds between two processes: our default against the defaults of ROS.

Ours: shared memory sized for the sensors, the allocator's settings, best effort, messages read in
place in the thread that our nodes receive in. Against it Fast DDS as it comes with typed messages
in the executor, reliable and best effort. The three pairs of processes of a size stay alive and
take turns. A message counts as received when an array view of its data is at hand; its age then is
the latency.
"""

from __future__ import annotations

import argparse
import os
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from edge_perception.bench._report import (
    add_arguments as add_common,
)
from edge_perception.bench._report import deliver, machine, median, plot_quantiles, quantiles, say
from edge_perception.bench._role import Role, RoleError
from edge_perception.running.transport import ALLOCATOR, choose_transport

NAME = "transport"
HELP = "large messages between processes: our default against the ROS defaults"

_ROLES = "edge_perception.bench._transport_roles"
OURS, RELIABLE, BEST_EFFORT = "ours", "defaults reliable", "defaults best effort"
_OPTIONS: dict[str, tuple[str, ...]] = {
    OURS: ("in_place",),
    RELIABLE: ("reliable",),
    BEST_EFFORT: (),
}


@dataclass(frozen=True, kw_only=True)
class Load:
    """What is sent in one round."""

    name: str
    kind: str
    size: tuple[int, ...]
    rate_hz: float


CAMERA = Load(name="720p", kind="image", size=(1280, 720), rate_hz=30.0)
LOADS = (
    Load(name="VGA", kind="image", size=(640, 480), rate_hz=30.0),
    CAMERA,
    Load(name="1080p", kind="image", size=(1920, 1080), rate_hz=30.0),
    Load(name="50k points", kind="cloud", size=(50_000,), rate_hz=10.0),
    Load(name="100k points", kind="cloud", size=(100_000,), rate_hz=10.0),
    Load(name="250k points", kind="cloud", size=(250_000,), rate_hz=10.0),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_common(parser)
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each set-up and load")


def run(args: argparse.Namespace) -> int:
    """Measure, print and save."""
    loads, seconds = ((CAMERA,), 1.5) if args.quick else (LOADS, 3.0)
    rounds: list[dict[str, Any]] = []
    for load in loads:
        # Processes of its own: what malloc keeps depends on the largest message there ever was.
        with ExitStack() as stack:
            pairs = start_pairs(stack)
            for number in range(args.rounds):
                for setup, (publisher, subscriber) in pairs.items():
                    count = round(load.rate_hz * seconds)
                    heard = one_round(publisher, subscriber, load, count)
                    rounds.append({"round": number, "load": load.name, "setup": setup, **heard})
                    say(_line(rounds[-1]))
    result = {
        "benchmark": NAME,
        "machine": machine(),
        "summary": summarise(rounds, CAMERA.name),
        "by_load": {load.name: summarise(rounds, load.name) for load in loads},
        "rounds": rounds,
    }
    path = deliver(result, args)
    groups = {
        load.name: {name: quantiles(_ages(rounds, load.name, name)) for name in _OPTIONS}
        for load in loads
    }
    plot_quantiles(path, groups, "latency, ms")
    return 0


def start_pairs(stack: ExitStack) -> dict[str, tuple[Role, Role]]:
    """Start publisher and subscriber of each set-up and wait until they know each other.

    Raises:
        RoleError: a pair did not find each other.
    """
    plain = plain_environment()
    pairs: dict[str, tuple[Role, Role]] = {}
    for number, (setup, options) in enumerate(_OPTIONS.items()):
        environment = plain | {"ROS_DOMAIN_ID": str(101 + (os.getpid() + number) % 100)}
        if setup == OURS:
            choice = choose_transport(plain)
            say(choice.reason)
            environment |= {**ALLOCATOR, **choice.variables}
        pairs[setup] = (
            stack.enter_context(Role(_ROLES, ("publish", *options), environment)),
            stack.enter_context(Role(_ROLES, ("subscribe", *options), environment)),
        )
    for setup, (publisher, _) in pairs.items():
        if not publisher.ask(40.0, do="matched", timeout_s=30.0):
            raise RoleError(f"{setup}: publisher and subscriber did not find each other")
    return pairs


def plain_environment() -> dict[str, str]:
    """Return the environment without what this package adds for its nodes."""
    left_out = {*ALLOCATOR, "FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE"}
    local = {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
    return {name: value for name, value in os.environ.items() if name not in left_out} | local


def one_round(publisher: Role, subscriber: Role, load: Load, count: int) -> dict[str, Any]:
    """Return what the subscriber saw."""
    limit_s = 15.0 + count / load.rate_hz
    subscriber.send(do="listen", kind=load.kind, count=count, timeout_s=5.0)
    publisher.send(do="publish", kind=load.kind, size=load.size, count=count, rate_hz=load.rate_hz)
    heard = subscriber.answer(limit_s)
    return {"sent": publisher.answer(limit_s), "received": len(heard["ages_ms"]), **heard}


def summarise(rounds: list[dict[str, Any]], load: str) -> dict[str, float]:
    """Return the ratios of one load, medians over rounds."""
    of = {
        setup: [r for r in rounds if r["load"] == load and r["setup"] == setup]
        for setup in _OPTIONS
    }
    p50 = {name: [quantiles(r["ages_ms"])["p50"] for r in found] for name, found in of.items()}
    cpu = {name: [r["cpu_ms"] / max(1, r["received"]) for r in found] for name, found in of.items()}
    share = {
        name: round(sum(r["received"] for r in found) / sum(r["sent"] for r in found), 4)
        for name, found in of.items()
    }
    return {
        "received_share": share[OURS],
        "p50_ratio": median(a / b for a, b in zip(p50[OURS], p50[RELIABLE], strict=True)),
        "cpu_ratio": median(a / b for a, b in zip(cpu[OURS], cpu[RELIABLE], strict=True)),
        "p50_ms": median(p50[OURS]),
        "defaults_reliable_p50_ms": median(p50[RELIABLE]),
        "defaults_best_effort_p50_ms": median(p50[BEST_EFFORT]),
        "cpu_ms": median(cpu[OURS]),
        "defaults_reliable_cpu_ms": median(cpu[RELIABLE]),
        "defaults_reliable_received_share": share[RELIABLE],
        "defaults_best_effort_received_share": share[BEST_EFFORT],
    }


def _ages(rounds: list[dict[str, Any]], load: str, setup: str) -> list[float]:
    return [
        age
        for found in rounds
        if found["load"] == load and found["setup"] == setup
        for age in found["ages_ms"]
    ]


def _line(found: dict[str, Any]) -> str:
    ages = quantiles(found["ages_ms"])
    return (
        f"round {found['round'] + 1} {found['load']:12} {found['setup']:21} "
        f"{found['received']:3} of {found['sent']:3}, p50 {ages['p50']:7.2f} ms, "
        f"p99 {ages['p99']:7.2f} ms, CPU {found['cpu_ms'] / max(1, found['received']):5.2f} ms"
    )
