"""The whole pipeline against the bare models in a loop, and against the usual node.

Sensors: 720p images at 20 Hz, clouds of 100,000 points at 10 Hz with every second image's stamp,
sound at 16 kHz. End to end: that stamp to the arrival of the fused view in the process that sent
the messages. Overhead: end to end less what the bare models take for the same set, encoders
beside each other and then fusion, at the same 10 Hz, percentile by percentile.

The bare models run twice: on ready inputs, which the ratios are about, and on the recording with
the pre- and postprocessing that any node needs: `..._with_processing` compares with those.

Set-ups take turns: ours composed, ours in separate processes, the usual node with the defaults of
ROS (reliable and best effort), the bare models. All have the same cores.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from edge_perception.bench._report import (
    add_arguments as add_common,
)
from edge_perception.bench._report import deliver, machine, median, plot_quantiles, quantiles, say
from edge_perception.bench._role import Role, RoleError
from edge_perception.bench.transport import plain_environment
from edge_perception.running.transport import transport_environment

NAME = "pipeline"
HELP = "ours, composed and separate, against the bare models and the usual node"

COMPOSED, SEPARATE = "ours composed", "ours separate"
USUAL, USUAL_BEST_EFFORT = "usual reliable", "usual best effort"
BARE = "bare models"  # `infer` on ready inputs
BARE_PROCESSING = "bare models and processing"  # of the recording: pre- and postprocessing too
OVERLOADS = (2.0, 5.0)
_FEED, _BARE = "edge_perception.bench._feed", "edge_perception.bench._bare_models"
_NODES = {
    COMPOSED: ("composition:main",),
    SEPARATE: (
        "encoder_node:camera",
        "encoder_node:lidar",
        "encoder_node:audio",
        "fusion_node:main",
    ),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_common(parser)
    parser.add_argument("--rounds", type=int, help="rounds of each set-up (5, quick: 2)")


def run(args: argparse.Namespace) -> int:
    """Measure, print and save."""
    seconds = 3.0 if args.quick else 8.0
    count = args.rounds or (2 if args.quick else 5)
    setups = (COMPOSED, USUAL) if args.quick else (COMPOSED, SEPARATE, USUAL, USUAL_BEST_EFFORT)
    rounds: list[dict[str, Any]] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edge_perception_")))
        render(folder)
        bare = stack.enter_context(Role(_BARE, (str(folder),), _tuned(_environment())))
        feeds = {
            setup: start(setup, number, folder, stack)[0] for number, setup in enumerate(setups)
        }
        bare.ask(60.0, do="ready")
        for setup, feed in feeds.items():
            if not feed.ask(60.0, do="ready", timeout_s=40.0):
                raise RoleError(f"{setup}: no fused view of camera and LiDAR came")
        for number in range(count):
            _round(number, feeds, bare, seconds, rounds)
        overload = [] if args.quick else _overload(feeds[COMPOSED], seconds)
    result = {
        "benchmark": NAME,
        "machine": machine(),
        "summary": summarise(rounds) | _overload_summary(overload),
        "overload": overload,
        "rounds": rounds,
    }
    path = deliver(result, args)
    ages = {
        name: quantiles(_all(rounds, name, "ages_ms")) for name in (*setups, BARE, BARE_PROCESSING)
    }
    plot_quantiles(path, {"end to end": ages}, "latency of a fused view, ms")
    return 0


def _round(
    number: int, feeds: dict[str, Role], bare: Role, seconds: float, rounds: list[dict[str, Any]]
) -> None:
    saturated_s = seconds / 2
    took = bare.ask(60.0, do="paced", seconds=seconds)
    rates = bare.ask(60.0, do="saturated", seconds=saturated_s)
    processing_hz = rates.pop("recording")
    rounds += [
        {"round": number, "setup": BARE, "ages_ms": took["took_ms"], "rates_hz": rates}
        | {"rate_hz": max(rates.values())},
        {"round": number, "setup": BARE_PROCESSING, "ages_ms": took["recording_ms"]}
        | {"rate_hz": processing_hz},
    ]
    for setup, feed in feeds.items():
        heard = feed.ask(60.0, do="paced", seconds=seconds)
        heard["rate_hz"] = feed.ask(60.0, do="saturated", seconds=saturated_s)["rate_hz"]
        rounds.append({"round": number, "setup": setup, **heard})
    for found in rounds[-len(feeds) - 2 :]:
        ages = quantiles(found["ages_ms"])
        say(
            f"round {number + 1} {found['setup']:28} p50 {ages['p50']:7.2f} ms, p99 "
            f"{ages['p99']:7.2f} ms, at saturation {found['rate_hz']:6.1f} Hz"
            + (f", fused {found['fused']} of {found['sent']}" if "sent" in found else "")
        )


def _overload(feed: Role, seconds: float) -> list[dict[str, Any]]:
    """Play faster than real time into the composed nodes."""
    found = []
    for speed in OVERLOADS:
        heard = feed.ask(60.0, do="paced", seconds=seconds, speed=speed)
        found.append({"speed": speed, **heard})
        ages = quantiles(heard["ages_ms"])
        say(
            f"{speed} times the rate: {heard['views']} views, p50 {ages['p50']:.1f} ms, "
            f"p99 {ages['p99']:.1f} ms, {heard['deadline_missed']} past the deadline"
        )
    return found


def _overload_summary(overload: list[dict[str, Any]]) -> dict[str, Any]:
    summary = {}
    for found in overload:
        name = f"overload_{found['speed']:g}"
        summary[f"{name}_p99_ms"] = quantiles(found["ages_ms"])["p99"]
        missed = found["deadline_missed"] / max(1, found["views"])
        summary[f"{name}_deadline_missed_share"] = round(missed, 4)
    return summary


def summarise(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the figures of the composed pipeline, medians over rounds where they are ratios."""
    of: dict[str, list[dict[str, Any]]] = {}
    for found in rounds:
        of.setdefault(found["setup"], []).append(found)

    def p(setup: str, key: str) -> float:
        return quantiles(_all(rounds, setup, "ages_ms"))[key]

    def ratio(setup: str, other: str, value: Callable[[dict[str, Any]], float]) -> float:
        pairs = zip(of[setup], of.get(other, []), strict=True)
        return median(value(a) / value(b) for a, b in pairs)

    summary: dict[str, Any] = {}
    for setup, prefix in ((COMPOSED, ""), (SEPARATE, "separate_")):
        if setup not in of:
            continue
        fused = sum(found["fused"] for found in of[setup])
        summary |= {
            f"{prefix}throughput_ratio": ratio(setup, BARE, lambda found: found["rate_hz"]),
            f"{prefix}throughput_ratio_with_processing": ratio(
                setup, BARE_PROCESSING, lambda found: found["rate_hz"]
            ),
            f"{prefix}overhead_p50_ms": round(p(setup, "p50") - p(BARE, "p50"), 3),
            f"{prefix}overhead_p99_ms": round(p(setup, "p99") - p(BARE, "p99"), 3),
            f"{prefix}overhead_p50_ms_with_processing": round(
                p(setup, "p50") - p(BARE_PROCESSING, "p50"), 3
            ),
            f"{prefix}overhead_p99_ms_with_processing": round(
                p(setup, "p99") - p(BARE_PROCESSING, "p99"), 3
            ),
            f"{prefix}usual_p50_ratio": ratio(
                setup, USUAL, lambda found: quantiles(found["ages_ms"])["p50"]
            ),
            f"{prefix}fused_share": round(fused / sum(f["sent"] for f in of[setup]), 4),
        }
    for setup in (USUAL, USUAL_BEST_EFFORT):
        if setup in of:
            fused = sum(found["fused"] for found in of[setup])
            share = round(fused / sum(found["sent"] for found in of[setup]), 4)
            summary[f"{setup.replace(' ', '_')}_fused_share"] = share
    for setup in of:
        summary[f"{setup.replace(' ', '_')}_p50_ms"] = p(setup, "p50")
    return summary


def _all(rounds: list[dict[str, Any]], setup: str, key: str) -> list[float]:
    return [value for found in rounds if found["setup"] == setup for value in found[key]]


def render(folder: Path) -> None:
    """Make the clip in a process of its own, whose memory goes with it."""
    say("rendering the clip")
    code = (
        "import sys, pathlib; from edge_perception.bench._recording import make_clip; "
        "make_clip(pathlib.Path(sys.argv[1]))"
    )
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True)


def start(
    setup: str, number: int, folder: Path, stack: ExitStack
) -> tuple[Role, list[subprocess.Popen[bytes]]]:
    """Start the nodes of a set-up and the process that feeds and hears them; return both."""
    environment = _environment() | {"ROS_DOMAIN_ID": str(101 + (os.getpid() + number) % 100)}
    usual = setup not in _NODES
    options = ("reliable",) if setup == USUAL else ()
    if usual:
        command = ["-m", "edge_perception.bench._usual_node", str(folder), *options]
        nodes = [_spawn(stack, command, environment)]
    else:
        environment = _tuned(environment)
        nodes = []
        for entry in _NODES[setup]:
            module, function = entry.split(":")
            code = f"import sys; from edge_perception.nodes.{module} import {function} as main; "
            code += "sys.exit(main())"
            parameters = ["--ros-args", "--params-file", str(folder / "parameters.yaml")]
            nodes += [_spawn(stack, ["-c", code, *parameters, "--log-level", "fatal"], environment)]
    return stack.enter_context(Role(_FEED, (str(folder), *options), environment)), nodes


def _environment() -> dict[str, str]:
    return plain_environment() | {"OMP_NUM_THREADS": "1"}


def _tuned(environment: dict[str, str]) -> dict[str, str]:
    """Add what our launch files add: shared memory, and an allocator that keeps its blocks."""
    return environment | transport_environment(environment)


def _spawn(
    stack: ExitStack, arguments: list[str], environment: dict[str, str]
) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, *arguments], env=environment, stdout=sys.stderr)
    stack.callback(_end, process)
    return process


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(5.0)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
