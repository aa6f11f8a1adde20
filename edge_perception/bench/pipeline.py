"""The whole pipeline against the bare models in a loop, and against the usual node.

Sensors: 720p images at 20 Hz, clouds of 100,000 points at 10 Hz with every second image's stamp,
sound at 16 kHz. End to end: that stamp to the arrival of the fused view in the process that sent
the messages. Overhead: end to end less what the bare models take for the same set, encoders
beside each other and then fusion, at the same 10 Hz, percentile by percentile.

The bare models run twice: on ready inputs, which the ratios are about, and on the recording with
the pre- and postprocessing that any node needs: `..._with_processing` compares with those.

Set-ups take turns: ours composed, ours in separate processes, the usual node with the defaults of
ROS (reliable and best effort), the bare models. All have the same cores. With `--plan` the composed
one runs once more by a device plan: `plan_gain` is its rate over that without.

Overload is the same played faster, into the composed nodes without and with load control. What a
node did not get to is overwritten, which is chance; what load control skips is planned, and said.
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

import yaml

from edge_perception.bench._report import (
    add_arguments as add_common,
)
from edge_perception.bench._report import deliver, machine, median, plot_quantiles, quantiles, say
from edge_perception.bench._role import Role, RoleError
from edge_perception.bench.transport import plain_environment
from edge_perception.models.device_plan import read_device_plan
from edge_perception.running.ending import lifeline
from edge_perception.running.transport import transport_environment

NAME = "pipeline"
HELP = "ours, composed and separate, against the bare models and the usual node"

COMPOSED, SEPARATE = "ours composed", "ours separate"
PLANNED, CONTROLLED = "ours by the plan", "ours under load control"
USUAL, USUAL_BEST_EFFORT = "usual reliable", "usual best effort"
BARE = "bare models"  # `infer` on ready inputs
BARE_PROCESSING = "bare models and processing"  # of the recording: pre- and postprocessing too
OVERLOADS = (2.0, 5.0)
SHEDDING_S = 6.0  # until load control has taken its steps
# Of the composed set-up: what may be given up for a budget that two cores keep at the usual rate.
LOAD: dict[str, object] = {
    "load.budget_ms": 50.0,
    "load.over_s": 0.4,
    "load.back_s": 60.0,
    "load.most_skipped": 9,
}
_SHEDDING = ("camera_encoder", "lidar_encoder")
_PLANNED_NODES = ("camera_encoder", "lidar_encoder", "audio_encoder", "fusion")
_FEED, _BARE = "edge_perception.bench._feed", "edge_perception.bench._bare_models"
_NODES = {
    COMPOSED: ("composition:main",),
    SEPARATE: (
        "encoder.node:camera",
        "encoder.node:lidar",
        "encoder.node:audio",
        "fusion.node:main",
    ),
    PLANNED: ("composition:main",),
    CONTROLLED: ("composition:main",),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_common(parser)
    parser.add_argument("--rounds", type=int, help="rounds of each set-up (5, quick: 2)")
    parser.add_argument(
        "--plan", type=Path, help="device plan of `edge-perception tune`: measured too"
    )
    parser.add_argument(
        "--overload", action="store_true", help="also in a quick run: faster than real time"
    )


def run(args: argparse.Namespace) -> int:
    """Measure, print and save."""
    seconds = 3.0 if args.quick else 8.0
    count = args.rounds or (2 if args.quick else 5)
    setups = [COMPOSED, USUAL] if args.quick else [COMPOSED, SEPARATE, USUAL, USUAL_BEST_EFFORT]
    if args.plan is not None:
        read_device_plan(args.plan)  # refused before anything is measured
        setups.insert(1, PLANNED)
    rounds: list[dict[str, Any]] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edge_perception_")))
        render(folder)
        write_parameters(folder, args.plan)
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
        overload: list[dict[str, Any]] = []
        if args.overload or not args.quick:
            controlled = start(CONTROLLED, len(setups), folder, stack)[0]
            if not controlled.ask(60.0, do="ready", timeout_s=40.0):
                raise RoleError(f"{CONTROLLED}: no fused view of camera and LiDAR came")
            both = {COMPOSED: feeds[COMPOSED], CONTROLLED: controlled}
            overload = [
                found for name, feed in both.items() for found in _overload(name, feed, seconds)
            ]
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


def _overload(setup: str, feed: Role, seconds: float) -> list[dict[str, Any]]:
    """Play faster than real time into composed nodes."""
    found = []
    for speed in OVERLOADS:
        options = {"warm_up_s": SHEDDING_S} if setup == CONTROLLED else {}
        heard = feed.ask(60.0, do="paced", seconds=seconds, speed=speed, **options)
        found.append({"setup": setup, "speed": speed, **heard})
        ages, shares = quantiles(heard["ages_ms"]), _shares(heard)
        say(
            f"{setup}, {speed:g} times the rate: {heard['heard']} views, p50 {ages['p50']:.1f} ms, "
            f"p99 {ages['p99']:.1f} ms; share past the deadline {shares['deadline_missed']:.3f}, "
            f"of frames overwritten {shares['overwritten']:.2f}, skipped {shares['skipped']:.2f}"
        )
    return found


def _shares(heard: dict[str, Any]) -> dict[str, float]:
    """Return the share of views past the deadline, and of frames that were not looked at."""
    counts = [heard["shed"].get(source, {}) for source in ("camera", "lidar")]
    frames = 3 * heard["sent"]  # two images and a cloud each
    views = max(1, heard["heard"])  # load control skips: not each has both sensors
    shares = {
        name: round(sum(count.get(name, 0) for count in counts) / max(1, frames), 4)
        for name in ("overwritten", "skipped")
    }
    return shares | {
        "deadline_missed": round(heard["deadline_missed"] / views, 4),
        "given_up_told": round(heard["given_up"] / views, 4),
    }


def _overload_summary(overload: list[dict[str, Any]]) -> dict[str, Any]:
    summary = {}
    for found in overload:
        name = f"overload_{found['speed']:g}"
        if found["setup"] == CONTROLLED:
            name += "_controlled"
        summary[f"{name}_p99_ms"] = quantiles(found["ages_ms"])["p99"]
        summary |= {f"{name}_{what}_share": value for what, value in _shares(found).items()}
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
    if PLANNED in of:
        gain = ratio(PLANNED, COMPOSED, lambda found: found["rate_hz"])
        summary["plan_gain"] = gain
    for setup, prefix in ((COMPOSED, ""), (SEPARATE, "separate_"), (PLANNED, "planned_")):
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


def write_parameters(folder: Path, plan: Path | None) -> None:
    """Write what set-ups have beside the parameters of the clip."""
    ways: dict[str, tuple[tuple[str, ...], dict[str, object]]] = {CONTROLLED: (_SHEDDING, LOAD)}
    if plan is not None:
        ways[PLANNED] = (_PLANNED_NODES, {"device_plan": str(plan.resolve())})
    for setup, (nodes, values) in ways.items():
        entries = {f"/**/{node}": {"ros__parameters": values} for node in nodes}
        (folder / _own_parameters(setup)).write_text(yaml.safe_dump(entries), encoding="utf-8")


def _own_parameters(setup: str) -> str:
    return f"{setup.replace(' ', '_')}.yaml"


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
            own = folder / _own_parameters(setup)
            if own.exists():
                parameters += ["--params-file", str(own)]
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
    bound, descriptors = lifeline()
    process = subprocess.Popen(
        [sys.executable, *arguments],
        env=environment | bound,
        pass_fds=descriptors,
        stdout=sys.stderr,
    )
    stack.callback(_end, process)
    return process


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(5.0)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
