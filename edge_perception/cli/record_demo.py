"""``edge-perception record-demo``: writes the demo's recording, without running anything."""

from __future__ import annotations

import argparse
from pathlib import Path

NAME = "record-demo"
HELP = "write the demo's recording (labelled frames and a sound clip, simulated without data)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("recording", type=Path, help="file to write, .mcap")
    parser.add_argument("--duration", type=float, default=20.0, metavar="S", help="length in s")
    parser.add_argument("--simulated", action="store_true", help="do not look for recorded data")


def run(args: argparse.Namespace) -> int:
    """Write the recording and say what is in it."""
    from edge_perception.recordings.own_parameters import parameters_path
    from edge_perception.recordings.reader import Recording
    from edge_perception.samples.build import BuildOptions, build_recording
    from edge_perception.samples.data import data_folder, load_scene

    scene = load_scene(None if args.simulated else data_folder())
    truth = build_recording(scene, args.recording, BuildOptions(duration_s=args.duration))
    recording = Recording(args.recording)
    print(f"{args.recording}: {recording.duration_s:.1f} s, {truth.origin}")
    for name, topic in sorted(recording.topics.items()):
        print(f"  {name}: {recording.count(name)} x {topic.type}")
    print(f"{parameters_path(args.recording)}: poses of the sensors")
    return 0
