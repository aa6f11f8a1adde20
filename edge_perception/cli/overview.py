"""``edge-perception overview``: the camera image with the fused objects drawn into it.

Publishes `perception/annotated` for RViz, Foxglove and rqt, and draws only while somebody listens.
Configurations with it are in config/rviz and config/foxglove.
"""

from __future__ import annotations

import argparse
import signal

from edge_perception.cli._numbers import number, whole
from edge_perception.core.ros_names import namespace_prefix

NAME = "overview"
TRANSPORT = True
HELP = "publish the camera image with the fused objects in it, while somebody listens"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--source", default="camera", help="the camera (%(default)s)")
    parser.add_argument("--image", default="", help="its images (SOURCE/image_raw)")
    parser.add_argument("--width", type=whole(160, 4096), default=1280, help="px (%(default)s)")
    parser.add_argument("--rate", type=number(0.1, 60), default=5.0, help="Hz (%(default)s)")
    parser.add_argument("--namespace", default="", help="of the nodes")


def run(args: argparse.Namespace) -> int:
    """Draw until interrupted."""
    import rclpy
    from rclpy.signals import SignalHandlerOptions

    from edge_perception.encoders import modality_of
    from edge_perception.observe.overview.node import TOPIC, OverviewNode

    modality_of(args.source)  # a name that is none is refused here
    stopped: list[int] = []
    previous = {
        n: signal.signal(n, lambda *_: stopped.append(1)) for n in (signal.SIGINT, signal.SIGTERM)
    }
    context = rclpy.Context()
    rclpy.init(args=[], context=context, signal_handler_options=SignalHandlerOptions.NO)
    node = OverviewNode(
        source=args.source,
        image=args.image or f"{args.source}/image_raw",
        width_px=args.width,
        most_hz=args.rate,
        namespace=namespace_prefix(args.namespace),
        context=context,
    )
    try:
        print(f"draws {args.source} on {TOPIC} while somebody listens", flush=True)
        node.spin(lambda: bool(stopped))
    finally:
        node.close()
        context.try_shutdown()
        for n, handler in previous.items():
            signal.signal(n, handler)
    return 0
