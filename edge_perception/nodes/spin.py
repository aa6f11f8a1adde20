"""Start nodes, spin them, end them."""

from __future__ import annotations

import faulthandler
import gc
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor

from edge_perception.core.errors import EdgePerceptionError
from edge_perception.nodes.base import PerceptionNode
from edge_perception.running.transport import release_dead_segments

END_S = 8.0  # to close the nodes and end the process
_LOOK_S = 0.5


def run(
    make_nodes: Callable[[], Sequence[PerceptionNode]], args: Sequence[str] | None = None
) -> int:
    """Run nodes in one process until SIGINT or SIGTERM.

    Returns:
        0 after a clean end, 2 when a node cannot be made (a parameter that does not fit).
    """
    # This may be the successor of a process that was killed.
    release_dead_segments()
    rclpy.init(args=args)
    ending = threading.Event()
    threading.Thread(target=_watch, args=(ending,), name="end_in_time", daemon=True).start()
    nodes: Sequence[PerceptionNode] = []
    executor = None
    try:
        executor = SingleThreadedExecutor()
        nodes = make_nodes()
        for node in nodes:
            executor.add_node(node)
            node.autostart()
        _spare_collections()
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except EdgePerceptionError as error:
        print(f"edge_perception: {error}", file=sys.stderr)
        return 2
    except Exception:
        # A signal ends the context; a node in construction then fails in whatever it asks of it.
        if rclpy.ok():
            raise
    finally:
        ending.set()
        # To the end of the interpreter nothing may hang, in DDS neither: it says where.
        faulthandler.dump_traceback_later(END_S, exit=True)
        for node in nodes:
            node.close()
        if executor is not None:
            executor.shutdown()
        rclpy.try_shutdown()
        # Ctrl-C reaches a node twice, from the terminal and from ros2 launch. The second one must
        # not kill a process that is ending well.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    return 0


def _spare_collections() -> None:
    """Take what lives as long as the process out of the garbage collector's sight.

    A full collection looks at every module and every entity, and all threads wait meanwhile: 40 to
    90 ms now and then, most often while a model is loaded. Afterwards it looks at what is new.
    """
    gc.collect()
    gc.freeze()


def _watch(ending: threading.Event) -> None:
    """A signal ended the context, and the nodes do not begin to end: say where they hang."""
    context = rclpy.get_default_context()
    while context.ok():
        if ending.wait(_LOOK_S):
            return
    if not ending.wait(END_S):
        faulthandler.dump_traceback()
        os._exit(1)
