"""Offline replay: against the bare models in a loop, with a second job, and on a long recording.

Each figure is of whole `edge-perception validate` commands: `--jobs 1` and `--jobs 2` take turns on
the same two recordings, neither cut; the long recording is the first one over and over.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from edge_perception.bench._report import (
    add_arguments as add_common,
)
from edge_perception.bench._report import deliver, machine, median, say
from edge_perception.recordings.reader import Recording, open_recording
from edge_perception.recordings.stamps import NS, read_stamp_ns, with_stamp_ns
from edge_perception.recordings.writer import RecordingWriter

NAME = "replay"
HELP = "validate: throughput against the bare models, a second job, memory of a long recording"
ROUNDS, QUICK_ROUNDS = 3, 1
SECONDS, QUICK_SECONDS = 60.0, 8.0
LONGER, QUICK_LONGER = 10, 3
_SEAM_NS = NS // 10  # between two rounds of the recording: its own period


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_common(parser)
    parser.add_argument(
        "--bag", type=Path, help="recording; default: a simulated drive of 60 s, 8 s with --quick"
    )
    parser.add_argument("--rounds", type=int, help=f"turns; default {ROUNDS}")
    parser.add_argument("--longer", type=int, help=f"length of the long one; default {LONGER} x")


def run(args: argparse.Namespace) -> int:
    """Measure, print and save."""
    rounds = args.rounds or (QUICK_ROUNDS if args.quick else ROUNDS)
    longer = args.longer or (QUICK_LONGER if args.quick else LONGER)
    with tempfile.TemporaryDirectory(prefix="edge_perception_") as name:
        folder = Path(name)
        bags = _two_bags(args, folder)
        runs: dict[int, list[dict[str, Any]]] = {1: [], 2: []}
        for number in range(rounds):
            for jobs in (1, 2) if number % 2 == 0 else (2, 1):
                runs[jobs].append(_validate(bags, jobs, folder / "out"))
                say(_line(f"{jobs} jobs", runs[jobs][-1]))
        length_s = loop_recording(open_recording(bags[0]), folder / "long.mcap", longer)
        _link(bags[0].with_suffix(".params.yaml"), folder / "long.params.yaml")
        long = _validate([folder / "long.mcap"], 1, folder / "out")
        say(_line(f"{length_s:.0f} s", long))
    result = {"benchmark": NAME, "machine": machine(), "summary": summarise(runs, long)}
    deliver({**result, "longer": longer, "runs": runs, "long": long}, args)
    return 0


def summarise(runs: dict[int, list[dict[str, Any]]], long: dict[str, Any]) -> dict[str, Any]:
    """Return the figures from the runs by jobs and from that of the long recording."""
    pairs = list(zip(runs[1], runs[2], strict=True))
    found = [run for jobs in runs.values() for run in jobs]
    return {
        "throughput_ratio": median(r for run in runs[1] for r in run["throughput_ratio"]),
        "throughput_ratio_long": median(long["throughput_ratio"]),
        "second_job_gain": median(one["wall_s"] / two["wall_s"] for one, two in pairs),
        "second_job_gain_replay": median(one["replay_s"] / two["replay_s"] for one, two in pairs),
        "same_sha256": len({sha for run in found for sha in run["sha256"]}) == 1,
        "peak_mb": max(run["peak_mb"] for run in found),
        "peak_mb_long": long["peak_mb"],
    }


def loop_recording(bag: Recording, path: Path, times: int) -> float:
    """Write a recording that is another one several times; return its length, s."""
    period_ns = bag.end_ns - bag.start_ns + _SEAM_NS
    texts = bag.definitions()
    with RecordingWriter(path) as writer:
        for topic in bag.topics.values():
            writer.add_topic(replace(topic, definition=texts[topic.type][1]))
        for index in range(times):
            for message in bag.messages():
                later_ns = index * period_ns
                data = with_stamp_ns(message.data, read_stamp_ns(message.data) + later_ns)
                writer.write(message.topic, data, log_time_ns=message.log_time_ns + later_ns)
    return (times * period_ns - _SEAM_NS) / NS


def _two_bags(args: argparse.Namespace, folder: Path) -> list[Path]:
    bag = args.bag
    if bag is None:
        from edge_perception.samples.build import BuildOptions, build_recording
        from edge_perception.samples.simulated import simulated_scene

        bag = folder / "drive.mcap"
        seconds = QUICK_SECONDS if args.quick else SECONDS
        build_recording(simulated_scene(), bag, BuildOptions(duration_s=seconds))
    bags = [folder / "first.mcap", folder / "second.mcap"]
    for target in bags:
        _link(bag, target)
        _link(bag.with_suffix(".params.yaml"), target.with_suffix(".params.yaml"))
    return bags


def _link(source: Path, target: Path) -> None:
    if source.exists():
        target.symlink_to(source.resolve())


def _validate(bags: list[Path], jobs: int, out: Path) -> dict[str, Any]:
    """Run the command, and return what it says of itself with its wall time."""
    command = [sys.executable, "-m", "edge_perception.cli.main", "validate", *map(str, bags)]
    command += ["--jobs", str(jobs), "--segment", "0", "--out", str(out)]
    started = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    wall_s = time.monotonic() - started
    told = json.loads((out / "result.json").read_text(encoding="utf-8"))
    found = told.get("bags", [told])
    return {
        "wall_s": round(wall_s, 3),
        "replay_s": told["replaying_s"],
        "throughput_ratio": [bag["throughput_ratio"] for bag in found],
        "sha256": [bag["sha256"] for bag in found],
        "peak_mb": told["peak_mb"],
        "load_1min": machine()["load_1min"],
    }


def _line(name: str, found: dict[str, Any]) -> str:
    ratios = ", ".join(f"{ratio:.3f}" for ratio in found["throughput_ratio"])
    return (
        f"{name}: {found['wall_s']:.1f} s, replay {found['replay_s']:.1f} s, {ratios} of the "
        f"models in a loop, peak {found['peak_mb']:.0f} MB"
    )
