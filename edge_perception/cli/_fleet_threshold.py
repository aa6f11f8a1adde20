"""`edge-perception fleet threshold`: from which doubt on a server is asked."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edge_perception.cli._numbers import number
from edge_perception.core.errors import ConfigurationError


def add_threshold_action(actions: Any) -> None:
    """Declare the action."""
    parser: argparse.ArgumentParser = actions.add_parser(
        "threshold", help="cloud.doubt_bits from recordings, for a share of frames or a gain"
    )
    parser.add_argument("bags", type=Path, nargs="+", metavar="BAG")
    parser.add_argument("--source", default="camera", help="whose frames (%(default)s)")
    wanted = parser.add_mutually_exclusive_group(required=True)
    wanted.add_argument(
        "--share",
        type=number(0, 1),
        metavar="S",
        help="at most this share of frames is sent, 0 to 1",
    )
    wanted.add_argument(
        "--gain",
        type=number(0, 1),
        metavar="G",
        help="at least this share of what the server's model decides otherwise, 0 to 1",
    )
    parser.add_argument("--model", help="bundle of the server, run here; for --gain")
    parser.add_argument("--folder", type=Path, action="append", default=[], help="of bundles")
    parser.add_argument("--params-file", type=Path, action="append", default=[], help="repeatable")
    parser.add_argument("--json", action="store_true", help="print JSON")


def threshold(args: argparse.Namespace) -> int:
    """Let the recordings pass, and print the threshold."""
    from edge_perception.evaluation.routing import (
        doubted_frames,
        threshold_for_gain,
        threshold_for_share,
    )
    from edge_perception.models.folders import find_bundle, with_installed

    if args.gain is not None and not args.model:
        raise ConfigurationError("--gain: expected the server's bundle as --model")
    folders = with_installed(args.folder)
    other = find_bundle(args.model, folders) if args.model else None
    frames = doubted_frames(args.bags, args.source, params_files=args.params_file, other=other)
    if args.share is not None:
        found = threshold_for_share(frames, args.share)
    else:
        found = threshold_for_gain(frames, args.gain)
    if args.json:
        print(json.dumps({**asdict(found), "of_frames": len(frames)}, indent=2))
        return 0
    text = f"cloud.doubt_bits: {found.bits:g}  # {found.frames} of {len(frames)} frames"
    text += f" ({found.share:.1%})"
    if other is not None:
        total = sum(frame.changed for frame in frames)
        text += f", with {found.changes} of {total} decisions that {args.model} changes"
    print(text)
    return 0
