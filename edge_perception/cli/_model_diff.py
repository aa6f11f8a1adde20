"""`edge-perception models diff`: what differs between two releases."""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edge_perception.cli._model_compare import find_model
from edge_perception.cli._model_release import add_store


def add_diff_action(actions: Any) -> argparse.ArgumentParser:
    """Declare the action."""
    diff: argparse.ArgumentParser = actions.add_parser(
        "diff", help="weights, graph, labels, preprocessing and metrics of two releases"
    )
    for name, text in (("before", "the one that is there"), ("after", "the other one")):
        diff.add_argument(
            name, help=f"{text}: NAME or NAME:VERSION, of a bundle or of the store, or a folder"
        )
    diff.add_argument("--all", action="store_true", help="every line, not the first ten of a part")
    add_store(diff)
    return diff


def diff(args: argparse.Namespace, folders: list[Path]) -> int:
    """Print what differs."""
    from edge_perception.models.differences import differences, text_of

    store = args.store.expanduser()
    found = differences(
        find_model(args.before, store, folders), find_model(args.after, store, folders)
    )
    if args.json:
        print(json.dumps(_plain({"same": found.same, **asdict(found)}), indent=2, allow_nan=False))
        return 0
    for line in text_of(found, most=10**6 if args.all else 10):
        print(line)
    return 0


def _plain(value: Any) -> Any:
    """JSON has no number that is not finite."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
