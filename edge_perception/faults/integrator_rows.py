"""What managers, tools, a second launch and strangers do to running nodes, and what is expected."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import psutil
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState

from edge_perception.core.types import Mode
from edge_perception.faults.judge import Expectation
from edge_perception.faults.matrix import INVALID, SILENT
from edge_perception.faults.session import Session, wait_polling, watch
from edge_perception.faults.virtual import SOURCES

_LARGE_BYTES = 118_000_000
# A process of its own: what it does to its own threads is not what it does to ours.
_STRANGER = f"""
import array, select, sys, time
import rclpy
from edge_perception import msg
source, content = sys.argv[1:]
rclpy.init(args=[])
node = rclpy.create_node("stranger")
publisher = node.create_publisher(msg.Feature, f"features/{{source}}", 5)
while not publisher.get_subscription_count():
    time.sleep(0.02)
message = msg.Feature(source=source, modality=source, valid=True)
message.objects = [msg.DetectedObject(class_name="ghost", score=0.9)]
if content == "other source":
    message.source = message.modality = "lidar"
elif content == "large":
    tensor = msg.Tensor(name="large", dtype="uint8", shape=[{_LARGE_BYTES}])
    tensor.data = array.array("B", bytes({_LARGE_BYTES}))
    message.tensors = [tensor]
while True:  # the first one may come before the other side knows us
    message.header.stamp = node.get_clock().now().to_msg()
    publisher.publish(message)
    if select.select([sys.stdin], [], [], 4.0 if content == "large" else 0.3)[0]:
        break
"""
Action = Callable[[Session], float]


def _transition(running: Session, node: str, label: str, *, times: int = 1) -> bool | None:
    """Ask for a transition; None: nobody answered."""
    client = running.driver.node.create_client(ChangeState, f"{node}/change_state")
    try:
        if not wait_polling(client.service_is_ready, 5.0):
            return None
        request = ChangeState.Request(transition=Transition(label=label))
        for _ in range(times):
            future = client.call_async(request)
            if wait_polling(future.done, 5.0):
                return bool(future.result().success)
        return None
    finally:
        running.driver.node.destroy_client(client)


def _impossible(running: Session) -> float:
    """Ask every node for what its state does not have, while frames come."""
    before = dict(running.supervisor.pids)
    for label in ("activate", "configure", "cleanup", "activate", "nonsense"):
        for node in before:
            # DDS drops an answer to a client that the node has not discovered yet.
            answer = _transition(running, node, label, times=3)
            if answer is not False:
                running.problems.append(f"{node}: {label} was answered with {answer}")
    if dict(running.supervisor.pids) != before:
        running.problems.append("a process has ended")
    return time.monotonic()


def _deactivated(running: Session) -> float:
    if not _transition(running, "lidar_encoder", "deactivate"):
        running.problems.append("lidar_encoder: could not be deactivated")
    watch(running, 1.5)
    if "not active" not in running.driver.said.get("lidar_encoder", (0, ""))[1]:
        running.problems.append("lidar_encoder: diagnostics do not say that it is not active")
    if not _transition(running, "lidar_encoder", "activate"):
        running.problems.append("lidar_encoder: could not be activated")
    return time.monotonic()


def _second_launch(running: Session) -> float:
    """Start a second LiDAR encoder, as a second launch does, and end it once it was named."""
    code = "from edge_perception.nodes.encoder.node import lidar; lidar()"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    driver, since = running.driver, len(running.driver.observed)
    try:
        if not driver.wait(lambda: _says(running, "lidar_encoder", "2 nodes are called"), 20.0):
            running.problems.append("no diagnostics name the second launch")
        if not driver.wait(lambda: _told(running, "lidar", "second publisher", since), 20.0):
            running.problems.append("lidar: the second publisher is not named")
    finally:
        process.terminate()
        process.wait(10.0)
    return time.monotonic()


def _says(running: Session, name: str, text: str) -> bool:
    return text in running.driver.said.get(name, (0, ""))[1]


def _told(running: Session, source: str, text: str, since: int) -> bool:
    """Whether a view said something of a source, from the view with a number on."""
    views = running.driver.observed[since:]
    return any(text in view.sources[source].reason for view in views)


def _foreign(content: str, source: str, text: str) -> Action:
    """Let another process publish features that are none of a source, until they are named."""

    def action(running: Session) -> float:
        driver = running.driver
        fusion = psutil.Process(running.supervisor.pids["fusion"])
        idle, since = fusion.memory_info().rss, len(driver.observed)
        stranger = [sys.executable, "-c", _STRANGER, source, content]
        process = subprocess.Popen(stranger, stdin=subprocess.PIPE)
        try:
            if not driver.wait(lambda: _told(running, source, text, since), 20.0):
                running.problems.append(f"{source}: no view says '{text}'")
        finally:
            process.communicate()  # it ends with its input
        end_s = time.monotonic()
        if not wait_polling(lambda: fusion.memory_info().rss < idle + _LARGE_BYTES / 2, 10.0):
            grown_mb = (fusion.memory_info().rss - idle) / 1e6
            running.problems.append(f"fusion holds {grown_mb:.0f} MB more than before")
        return end_s

    return action


def _refused(source: str, **more: Any) -> Expectation:
    modes = more.pop("modes", (Mode.FULL, Mode.DEGRADED))
    return Expectation(
        affected=(source,),
        modes=modes,
        states=(INVALID, *SILENT),
        optional=True,  # between two of them the source recovers
        recovery_s=1.5,
        **more,
    )


INTEGRATOR_ROWS: dict[str, tuple[Expectation, Action]] = {
    "impossible transitions in traffic": (
        Expectation(affected=SOURCES, modes=(Mode.FULL,), recovery_s=1.0, gap_s=0.5),
        _impossible,
    ),
    "LiDAR encoder deactivated": (
        Expectation(
            affected=("lidar",),
            states=SILENT,
            worthless=True,
            recovery_s=2.0,
            gap_s=0.5,
        ),
        _deactivated,
    ),
    "second launch": (_refused("lidar", gap_s=0.75), _second_launch),
    "features of the LiDAR on features/camera": (
        _refused("camera", gap_s=0.5),
        _foreign("other source", "camera", "expected source 'camera', got 'lidar'"),
    ),
    "decisions of a stranger on features/lidar": (
        _refused("lidar", gap_s=0.5),
        _foreign("decisions", "lidar", "second publisher: /stranger ["),
    ),
    "a feature of 118 MB": (
        # While its bytes come, those of the others wait; the output goes on without them.
        _refused("lidar", modes=tuple(Mode), gap_s=1.0),
        _foreign("large", "lidar", "(max_feature_mb), got 118.0 MB"),
    ),
}
