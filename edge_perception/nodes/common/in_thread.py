"""Blocking work beside the executor."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.task import Future


async def in_thread(node: Node, work: Callable[[], Any]) -> BaseException | None:
    """Run blocking work beside the executor; return what it raised, or None."""
    done: Future = Future(executor=node.executor)
    # A future without a callback does not wake the executor: it would go on with the next message.
    done.add_done_callback(lambda _: None)

    def target() -> None:
        try:
            work()
            done.set_result(None)
        except BaseException as error:  # whoever waits would wait for ever
            done.set_result(error)

    threading.Thread(target=target, name="prepare_model", daemon=True).start()
    return await done
