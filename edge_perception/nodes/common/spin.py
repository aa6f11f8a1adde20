"""Start nodes, spin them, end them."""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import NoReturn

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from edge_perception.core.errors import ConfigurationError, EdgePerceptionError
from edge_perception.nodes.common.base import PerceptionNode
from edge_perception.nodes.common.executor import EnduringExecutor
from edge_perception.running.ending import Ending, Stage, watch_signals
from edge_perception.running.node_arguments import checked_arguments
from edge_perception.running.transport import release_dead_segments

MakeNodes = Callable[[], Iterable[PerceptionNode]]


def run(
    make_nodes: MakeNodes, args: Sequence[str] | None = None, *, several: bool = False
) -> NoReturn:
    """Run nodes in one process until SIGINT or SIGTERM, and end the process.

    Its exit status: 0 after a clean end, 2 when a node cannot be made (a parameter that does not
    fit), 1 when something failed.

    Args:
        make_nodes: makes them, best one by one.
        args: ROS arguments; those of the process when not given.
        several: each node keeps a name of its own, whatever the process is called.
    """
    faulthandler.enable()  # a crash of a native library leaves its stack in the log
    ending = watch_signals()
    ending.leave(serve(make_nodes, args, ending=ending, several=several))


def serve(
    make_nodes: MakeNodes,
    args: Sequence[str] | None = None,
    *,
    ending: Ending,
    several: bool = False,
) -> int:
    """Run nodes until the end is wanted; return the exit status.

    Args:
        make_nodes: makes them, best one by one.
        args: ROS arguments; those of the process when not given.
        ending: says when to end.
        several: as in `run`.
    """
    nodes: list[PerceptionNode] = []
    executor = None
    ending.stage = Stage.RUNNING
    try:
        # This may be the successor of a process that was killed.
        release_dead_segments()
        _init(args, several=several)
        executor = EnduringExecutor(_on_callback_error)
        ending.on_wanted(executor.wake)
        _start(make_nodes, nodes, executor, ending)
        _spare_collections()
        _share_cores()
        executor.spin_until(lambda: ending.wanted)
    except ExternalShutdownException:
        pass
    except EdgePerceptionError as error:
        print(f"edge_perception: {error}", file=sys.stderr)
        return 2
    except Exception:
        # Somebody ended the context; a node in construction then fails in whatever it asks of it.
        if rclpy.ok():
            raise
    finally:
        _close(nodes, executor, ending)
    return 0


def _init(args: Sequence[str] | None, *, several: bool) -> None:
    try:
        words = sys.argv if args is None else args
        with checked_arguments(words, several=several) as checked:
            rclpy.init(args=checked, signal_handler_options=SignalHandlerOptions.NO)
    except EdgePerceptionError:
        raise
    except Exception as error:  # rclpy has no type of its own for it
        text = " ".join(str(error).split(", at ./src")[0].split())
        raise ConfigurationError(f"ROS arguments: {text}") from error


def _start(
    make_nodes: MakeNodes,
    nodes: list[PerceptionNode],
    executor: EnduringExecutor,
    ending: Ending,
) -> None:
    for node in make_nodes():
        nodes.append(node)
        if ending.wanted:
            return
    for node in nodes:
        executor.add_node(node)
    for node in nodes:
        if ending.wanted:
            return
        node.autostart()


def _close(
    nodes: Sequence[PerceptionNode], executor: EnduringExecutor | None, ending: Ending
) -> None:
    """Close nodes, the last one first; then DDS, whose peers hear of it at once."""
    ending.stage = Stage.CLOSING
    for node in reversed(nodes):
        node.close()
    ending.stage = Stage.CLOSED
    ending.on_wanted(lambda: None)
    with contextlib.suppress(Exception):  # of a context that somebody has ended
        if executor is not None:
            executor.shutdown(timeout_sec=0.1)
        for node in nodes:
            node.destroy_node()
    rclpy.try_shutdown()


def _on_callback_error(node: Node | None, what: str, error: Exception) -> None:
    if isinstance(node, PerceptionNode):
        node.on_callback_error(what, error)
    else:
        rclpy.logging.get_logger("edge_perception").error(f"{what}: {error!r}")


def _spare_collections() -> None:
    """Take what lives as long as the process out of the garbage collector's sight.

    A full collection looks at every module and every entity, and all threads wait meanwhile: 40 to
    90 ms now and then, most often while a model is loaded. Afterwards it looks at what is new.
    """
    gc.collect()
    gc.freeze()


def _share_cores() -> None:
    """Keep OpenCV to the thread that calls it.

    It would wake a thread on every core for a resize of a millisecond: the cores are for models.
    """
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(1)
