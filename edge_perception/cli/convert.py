"""``edge-perception convert``: a drive of a published data set as a recording with labels."""

from __future__ import annotations

import argparse
from pathlib import Path

from edge_perception.cli._progress import Progress
from edge_perception.core.errors import ConfigurationError

NAME = "convert"
HELP = "make a recording of a KITTI, nuScenes or PandaSet folder, with calibration and labels"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("dataset", metavar="DATASET", help="kitti, nuscenes or pandaset")
    parser.add_argument("folder", type=Path, help="as published and unpacked")
    parser.add_argument("recording", type=Path, nargs="?", help="file to write, .mcap")
    parser.add_argument(
        "--sequence", default="", help="drive, scene or sequence; needed of several"
    )
    parser.add_argument(
        "--camera",
        action="append",
        default=[],
        help="repeatable; the first is `camera`, the others `camera_…` (default: the front camera)",
    )
    parser.add_argument("--first", type=int, default=0, metavar="N", help="first sweep (0)")
    parser.add_argument("--count", type=int, metavar="N", help="sweeps (default: all)")
    parser.add_argument("--list", action="store_true", help="name the sequences and end")


def run(args: argparse.Namespace) -> int:
    """Write the recording and say what is in it."""
    from edge_perception.samples.datasets import Wanted, datasets

    spec = datasets()[args.dataset]
    if not args.folder.is_dir():
        raise ConfigurationError(f"{args.folder}: expected a folder: {spec.layout}")
    if args.list:
        for name in spec.sequences(args.folder):
            print(name)
        return 0
    if args.recording is None or args.recording.suffix != ".mcap":
        raise ConfigurationError(f"recording: expected a file .mcap, got {args.recording}")
    if args.first < 0 or (args.count is not None and args.count < 1):
        raise ConfigurationError(
            f"--first, --count: expected 0 or more and 1 or more, got {args.first}, {args.count}"
        )
    wanted = Wanted(
        sequence=args.sequence, cameras=tuple(args.camera), first=args.first, count=args.count
    )
    return _write(args.recording, spec.load(args.folder, wanted))


def _write(path: Path, log) -> int:  # type: ignore[no-untyped-def]
    from edge_perception.recordings.own_parameters import parameters_path
    from edge_perception.recordings.reader import Recording
    from edge_perception.samples.checking import check_log
    from edge_perception.samples.converting import message_count, write_log
    from edge_perception.samples.labels_file import with_our_classes

    odd = check_log(log)
    progress = Progress(message_count(log), "messages")
    truth = write_log(log, path, progress=progress)
    recording = Recording(path)
    print(f"{path}: {recording.duration_s:.1f} s, {truth.origin}")
    for name, topic in sorted(recording.topics.items()):
        print(f"  {name}: {recording.count(name)} x {topic.type}")
    boxes = sum(len(frame.boxes) for frame in truth.frames)
    print(f"  labels inside: {len(truth.frames)} frames, {boxes} boxes")
    for note in (
        with_our_classes(truth).note,
        *log.notes,
        *odd,
        "" if log.poses else "no odometry",
    ):
        if note:
            print(f"  note: {note}")
    print(f"{parameters_path(path)}: which sensors there are")
    return 0
