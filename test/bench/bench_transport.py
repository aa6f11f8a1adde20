"""Large images between two processes: Fast DDS defaults against this package's environment.

Usage: bench_transport.py [--out FOLDER] [--messages N] [--rounds N] [--rate HZ]

Publisher and subscriber are separate processes. The set-ups take turns, so that a busy machine
slows all of them. Best effort, keep last 5, as cameras publish.
"""

from __future__ import annotations

import argparse
import array
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from edge_perception.transport import ALLOCATOR, choose_transport

TOPIC = "bench/image"
DISCOVERY_TIMEOUT_S = 20.0
TAIL_S = 2.0


def main() -> None:
    """Run the set-ups in turn, print a table and write bench_out/transport.json."""
    args = _arguments().parse_args()
    if args.role == "publish":
        publish(args)
    elif args.role == "subscribe":
        subscribe(args)
    else:
        compare(args)


def compare(args: argparse.Namespace) -> None:
    """Start both processes for each set-up and round."""
    plain = {k: v for k, v in os.environ.items() if k not in ALLOCATOR}
    profile = choose_transport(plain)
    print(profile.reason)
    setups = {
        "Fast DDS defaults": plain,
        "profile": {**plain, **profile.variables},
        "profile and allocator": {**plain, **profile.variables, **ALLOCATOR},
    }
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in setups}
    for number in range(args.rounds):
        for name, environment in setups.items():
            domain = {"ROS_DOMAIN_ID": str(101 + (os.getpid() + number) % 100)}
            rounds[name].append(one_round(args, environment | domain))
            print(f"round {number + 1} {name}: {rounds[name][-1]}", flush=True)
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / "transport.json"
    shape = {"width": args.width, "height": args.height, "rate_hz": args.rate}
    path.write_text(json.dumps({"messages": args.messages, **shape, "rounds": rounds}, indent=1))
    for name, results in rounds.items():
        received = sum(r["received"] for r in results)
        p50 = np.median([r["p50_ms"] for r in results])
        cpu = np.median([r["cpu_ms"] for r in results])
        total = args.messages * args.rounds
        print(f"{name:22} received {received:.0f} of {total}, p50 {p50:.1f} ms, CPU {cpu:.1f} ms")


def one_round(args: argparse.Namespace, environment: dict[str, str]) -> dict[str, float]:
    """Return what one subscriber saw of one publisher."""
    shape = [f"--{n}={getattr(args, n)}" for n in ("messages", "rate", "width", "height")]
    command = [sys.executable, __file__, *shape]
    subscriber = subprocess.Popen(
        [*command, "--role=subscribe"], env=environment, stdout=subprocess.PIPE, text=True
    )
    publisher = subprocess.Popen([*command, "--role=publish"], env=environment)
    try:
        limit_s = 2 * DISCOVERY_TIMEOUT_S + args.messages / args.rate
        output, _ = subscriber.communicate(timeout=limit_s)
        publisher.wait(timeout=limit_s)
    finally:
        for process in (subscriber, publisher):
            process.kill()
            process.wait()
    if subscriber.returncode or publisher.returncode:
        raise RuntimeError(f"exit status {subscriber.returncode}, {publisher.returncode}")
    return json.loads(output)


def publish(args: argparse.Namespace) -> None:
    """Publish images at a steady rate, each stamped with the time of its sending."""
    import rclpy
    from rclpy.qos import qos_profile_sensor_data
    from sensor_msgs.msg import Image

    rclpy.init()
    node = rclpy.create_node("bench_publisher")
    publisher = node.create_publisher(Image, TOPIC, qos_profile_sensor_data)
    message = Image(height=args.height, width=args.width, encoding="rgb8", step=3 * args.width)
    message.data = array.array("B", bytes(3 * args.width * args.height))
    deadline = time.monotonic() + DISCOVERY_TIMEOUT_S
    while publisher.get_subscription_count() == 0 and time.monotonic() < deadline:
        rclpy.spin_once(node, timeout_sec=0.05)
    start = time.monotonic() + 0.5
    for number in range(args.messages):
        time.sleep(max(0.0, start + number / args.rate - time.monotonic()))
        message.header.stamp = node.get_clock().now().to_msg()
        publisher.publish(message)
    # Best effort: what is still in shared memory goes with this process.
    time.sleep(0.5)
    rclpy.shutdown()


def subscribe(args: argparse.Namespace) -> None:
    """Print how many images came, how late, and at what cost of CPU, as JSON."""
    import rclpy
    from rclpy.qos import qos_profile_sensor_data
    from sensor_msgs.msg import Image

    rclpy.init()
    node = rclpy.create_node("bench_subscriber")
    latency_ms: list[float] = []

    def on_image(message: Image) -> None:
        sent_ns = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
        latency_ms.append((node.get_clock().now().nanoseconds - sent_ns) / 1e6)

    node.create_subscription(Image, TOPIC, on_image, qos_profile_sensor_data)
    ends = time.monotonic() + DISCOVERY_TIMEOUT_S
    cpu_s = time.process_time()
    while len(latency_ms) < args.messages and time.monotonic() < ends:
        before = len(latency_ms)
        rclpy.spin_once(node, timeout_sec=0.1)
        if before == 0 and latency_ms:
            cpu_s = time.process_time()
            ends = time.monotonic() + args.messages / args.rate + TAIL_S
    received = len(latency_ms)
    cpu_ms = 1e3 * (time.process_time() - cpu_s) / max(1, received)
    p50, p99 = np.percentile(latency_ms, [50, 99]) if received else (float("nan"),) * 2
    figures = {"received": received, "p50_ms": p50, "p99_ms": p99, "cpu_ms": cpu_ms}
    print(json.dumps({name: round(float(value), 2) for name, value in figures.items()}))
    rclpy.shutdown()


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--role", choices=("compare", "publish", "subscribe"), default="compare")
    parser.add_argument("--out", type=Path, default=Path("bench_out"))
    parser.add_argument("--messages", type=int, default=150)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rate", type=float, default=30.0)
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, default=720)
    return parser


if __name__ == "__main__":
    main()
