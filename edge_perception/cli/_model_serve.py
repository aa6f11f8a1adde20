"""`edge-perception models serve`: one bundle over the Open Inference Protocol."""

from __future__ import annotations

import argparse
import signal
import threading
from pathlib import Path
from typing import Any

from edge_perception.cli._numbers import whole


def add_serve_action(actions: Any) -> argparse.ArgumentParser:
    """Declare the action."""
    parser: argparse.ArgumentParser = actions.add_parser(
        "serve", help="serve a bundle to robots by the Open Inference Protocol, until interrupted"
    )
    parser.add_argument("name", help="bundle: bev_lite/lidar, or the name in its manifest")
    parser.add_argument(
        "--as", dest="served_as", default="", help="its name there; default: as in its manifest"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=whole(0, 65535), default=8000, help="(%(default)s)")
    parser.add_argument("--threads", type=whole(1, 64), default=1, help="(%(default)s)")
    return parser


def serve(args: argparse.Namespace, folders: list[Path]) -> int:
    """Serve until SIGINT or SIGTERM."""
    from edge_perception.backends import BackendOptions, backends, load_model_bytes
    from edge_perception.backends.kserve.server import ModelServer
    from edge_perception.models.folders import find_bundle
    from edge_perception.models.loading import whole_model
    from edge_perception.models.triton_repository import stated_by

    bundle = find_bundle(args.name, folders)
    manifest = bundle.manifest
    options = BackendOptions(threads=args.threads)
    backend = load_model_bytes(
        backends()[args.backend], whole_model(bundle), bundle.model_path, options
    )
    ended = threading.Event()
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda *_: ended.set())
    name = args.served_as or manifest.name
    try:
        server = ModelServer(name, backend, stated_by(bundle), host=args.host, port=args.port)
        print(f"{manifest.name} {manifest.version} at {server.url}", flush=True)
        ended.wait()
        server.close()
        print(f"{server.requests} questions answered")
    finally:
        backend.close()
    return 0
