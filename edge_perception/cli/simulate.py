"""``edge-perception simulate``: a drive with ground truth, as a recording."""

from __future__ import annotations

import argparse
from pathlib import Path

from edge_perception.cli._progress import Progress
from edge_perception.core.errors import ConfigurationError

NAME = "simulate"
HELP = "write a simulated drive with ground truth as a recording, and a preview picture"
_LONGEST_S = 120.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("recording", type=Path, nargs="?", help="file to write, .mcap")
    parser.add_argument(
        "--scenario", default="intersection", help="name in the library or a .yaml file"
    )
    parser.add_argument("--seed", type=int, default=1, help="fixes every number (%(default)s)")
    parser.add_argument("--duration", type=float, default=10.0, metavar="S", help="length in s")
    parser.add_argument(
        "--rig", default="", help="sensors in place of the scenario's, such as '6 cameras'"
    )
    parser.add_argument("--preview", type=Path, help="picture (default: beside the recording)")
    parser.add_argument("--list", action="store_true", help="name the scenarios and end")


def run(args: argparse.Namespace) -> int:
    """Write the recording and say what is in it."""
    from edge_perception.simulation.scenario_file import load_scenario, scenario_names

    if args.list:
        for name in scenario_names():
            print(f"{name:22} {load_scenario(name).description}")
        return 0
    if args.recording is None or args.recording.suffix != ".mcap":
        raise ConfigurationError(f"recording: expected a file .mcap, got {args.recording}")
    if not 1.0 <= args.duration <= _LONGEST_S:
        raise ConfigurationError(
            f"--duration: expected 1 to {_LONGEST_S:g} s, got {args.duration:g}"
        )
    if args.seed < 0:
        raise ConfigurationError(f"--seed: expected 0 or more, got {args.seed}")
    scenario = load_scenario(args.scenario)
    if args.rig:
        from edge_perception.simulation.rigs import with_rig

        scenario = with_rig(scenario, args.rig)
    return _write(args, scenario)


def _write(args: argparse.Namespace, scenario) -> int:  # type: ignore[no-untyped-def]
    from edge_perception.recordings.own_parameters import parameters_path
    from edge_perception.recordings.reader import Recording
    from edge_perception.samples.drive import simulate_drive, steps_of, write_drive
    from edge_perception.samples.preview import preview

    progress = Progress(steps_of(args.duration, scenario), "samples")
    drive = simulate_drive(scenario, args.seed, args.duration, progress=progress)
    truth = write_drive(drive, args.recording)
    picture = args.preview or args.recording.with_suffix(".png")
    preview(picture, drive.scene, title=truth.origin)
    recording = Recording(args.recording)
    print(f"{args.recording}: {recording.duration_s:.1f} s, {truth.origin}")
    for name, topic in sorted(recording.topics.items()):
        print(f"  {name}: {recording.count(name)} x {topic.type}")
    print(f"  truth inside: {len(drive.sweeps)} frames, {len(drive.sound.tracks)} sounds")
    print(f"{parameters_path(args.recording)}: poses of the sensors")
    print(f"{picture}: preview")
    return 0
