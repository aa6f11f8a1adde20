"""`edge-perception models export-triton`: bundles as models of an inference server."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from edge_perception.cli._numbers import whole
from edge_perception.models.folders import find_bundle
from edge_perception.models.triton_repository import BACKENDS, export_triton


def add_export_action(actions: Any) -> argparse.ArgumentParser:
    """Declare the action."""
    parser: argparse.ArgumentParser = actions.add_parser(
        "export-triton", help="write bundles into a model repository of Triton"
    )
    parser.add_argument("repository", type=Path, help="folder that Triton is started with")
    parser.add_argument("names", nargs="+", metavar="BUNDLE", help="bev_lite/lidar, or its name")
    parser.add_argument(
        "--backend",
        choices=BACKENDS,
        default=BACKENDS[0],
        help="of the server; python where its build lacks onnxruntime (%(default)s)",
    )
    parser.add_argument(
        "--max-batch",
        type=whole(0, 1 << 20),
        default=0,
        metavar="N",
        help="join up to N requests; the graph's first dimension must be free",
    )
    parser.add_argument(
        "--queue-delay-us",
        type=whole(0, 1 << 30),
        default=1000,
        metavar="US",
        help="how long a request waits for others (%(default)s)",
    )
    return parser


def export(args: argparse.Namespace, folders: list[Path]) -> int:
    """Write the bundles, and say how a node asks for each."""
    rows = []
    for name in args.names:
        bundle = find_bundle(name, folders)
        folder = export_triton(
            bundle,
            args.repository,
            backend=args.backend,
            max_batch=args.max_batch,
            queue_delay_us=args.queue_delay_us,
        )
        rows.append({"model": folder.name, "folder": str(folder), "bundle": name})
    if args.json:
        print(json.dumps(rows, indent=2))
        return 0
    for row in rows:
        print(f"{row['folder']}: set backend: kserve, provider: http://HOST:8000 and")
        print(f"  provider_options: ['kserve.model={row['model']}']")
    return 0
