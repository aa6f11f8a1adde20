"""Memory of the composed nodes over many frames: is it flat?

The clip is played as fast as fused views come back, camera and LiDAR a set, sound in real time.
Resident memory of the nodes' process is read as it goes; a leak of one byte a frame would not
show, one of a kilobyte is 50 MB at the end.
"""

from __future__ import annotations

import argparse
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil

from edge_perception.bench._report import add_arguments as add_common
from edge_perception.bench._report import deliver, machine, median, say
from edge_perception.bench._role import RoleError

NAME = "soak"
HELP = "memory of the composed nodes over 50,000 frames"
FRAMES_A_SET = 2  # an image and a cloud
_TURN_S = 5.0
_SETTLED = 0.1  # share of the frames after which every buffer has been used


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_common(parser)
    parser.add_argument("--frames", type=int, help="images and clouds (50000, quick: 1000)")


def run(args: argparse.Namespace) -> int:
    """Measure, print and save."""
    from edge_perception.bench import pipeline

    wanted = args.frames or (1000 if args.quick else 50_000)
    turns: list[dict[str, Any]] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edge_perception_")))
        pipeline.render(folder)
        feed, processes = pipeline.start(pipeline.COMPOSED, 0, folder, stack)
        if not feed.ask(60.0, do="ready", timeout_s=40.0):
            raise RoleError("composed nodes: no fused view of camera and LiDAR came")
        nodes = psutil.Process(processes[0].pid)
        frames = 0
        while frames < wanted:
            heard = feed.ask(60.0, do="saturated", seconds=_TURN_S)
            frames += FRAMES_A_SET * heard["sent"]
            resident_mb = round(nodes.memory_info().rss / 2**20, 2)
            turns.append({"frames": frames, "resident_mb": resident_mb, "views": heard["views"]})
            if len(turns) % 12 == 0:
                say(f"{frames} of {wanted} frames, {resident_mb:.1f} MB")
    result = {
        "benchmark": NAME,
        "machine": machine(),
        "summary": summarise(turns),
        "turns": turns,
    }
    deliver(result, args)
    return 0


def summarise(turns: list[dict[str, Any]]) -> dict[str, Any]:
    """Return memory after the first tenth of the frames against that of the last tenth."""
    total = turns[-1]["frames"]
    settled = [t for t in turns if t["frames"] >= _SETTLED * total] or turns
    early = [t for t in settled if t["frames"] <= 2 * _SETTLED * total] or settled[:1]
    late = [t for t in settled if t["frames"] >= (1 - _SETTLED) * total] or settled[-1:]
    before, after = (median(t["resident_mb"] for t in part) for part in (early, late))
    return {
        "frames": total,
        "resident_mb_early": before,
        "resident_mb_late": after,
        "memory_ratio": round(after / before, 4),
        "bytes_a_frame": round((after - before) * 2**20 / max(1, late[-1]["frames"] * 0.8), 1),
    }
