"""Real nodes and a driver node over real DDS, spun in a background thread."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any

import rclpy
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter

from edge_perception.nodes.common.executor import EnduringExecutor

_SHOWN = 2000  # characters of a message: tensors are long


class Received:
    """Messages of one topic, to be waited for."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self.messages: list[Any] = []

    def add(self, message: Any) -> None:
        with self._condition:
            self.messages.append(message)
            self._condition.notify_all()

    def wait(
        self,
        accept: Callable[[Any], bool] = lambda _: True,
        *,
        since: int = 0,
        timeout_s: float = 60,
    ) -> Any:
        """Return the first message from index `since` on that is accepted."""

        def first() -> Any:
            return next((m for m in self.messages[since:] if accept(m)), None)

        with self._condition:
            if self._condition.wait_for(lambda: first() is not None, timeout_s):
                return first()
            last = str(self.messages[-1]) if self.messages else "none"
            raise AssertionError(
                f"no such message within {timeout_s} s; got {len(self.messages[since:])}, "
                f"last: {last[:_SHOWN]}"
            )


class Harness:
    """One ROS context in this process with the nodes under test and a driver."""

    def __init__(self, domain_id: int) -> None:
        self.context = Context()
        rclpy.init(args=[], context=self.context, domain_id=domain_id)
        self.callback_errors: list[str] = []
        self.executor = EnduringExecutor(self._on_callback_error, context=self.context)
        self._driver_executor = SingleThreadedExecutor(context=self.context)
        self.driver = Node("driver", context=self.context)
        self._driver_executor.add_node(self.driver)
        self.nodes: list[Any] = []
        self._threads = [
            threading.Thread(target=_spin, args=(executor,), daemon=True)
            for executor in (self.executor, self._driver_executor)
        ]

    def _on_callback_error(self, node: Any, what: str, error: Exception) -> None:
        self.callback_errors.append(f"{node}: {what}: {error!r}")

    def add(self, make: Callable[..., Any], *args: Any, parameters: dict | None = None, **kwargs):
        """Make a node of the package with parameters, and start it."""
        overrides = [Parameter(name, value=value) for name, value in (parameters or {}).items()]
        node = make(*args, context=self.context, parameter_overrides=overrides, **kwargs)
        self.nodes.append(node)
        told = getattr(node, "on_callback_error", None)
        if told is not None:
            node.on_callback_error = lambda what, error: (
                self._on_callback_error(node, what, error),
                told(what, error),
            )
        self.executor.add_node(node)
        node.autostart()
        return node

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def subscribe(self, type_: Any, topic: str, qos: Any = 10) -> Received:
        received = Received()
        self.driver.create_subscription(type_, topic, received.add, qos)
        return received

    def call(self, type_: Any, name: str, request: Any, timeout_s: float = 60.0) -> Any:
        client = self.driver.create_client(type_, name)
        assert client.wait_for_service(60.0), f"no service {name}"  # an event, not an answer
        done = threading.Event()
        future = client.call_async(request)
        future.add_done_callback(lambda _: done.set())
        assert done.wait(timeout_s), f"{name}: no answer within {timeout_s} s"
        return future.result()

    def close(self) -> None:
        for node in self.nodes:
            node.close()
        self.executor.shutdown()
        self._driver_executor.shutdown()
        rclpy.try_shutdown(context=self.context)
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(5.0)
        # With its last node DDS's participant goes: what shares the domain later sees none of it.
        for node in (*self.nodes, self.driver):
            node.destroy_node()


def wait_until(
    condition: Callable[[], bool], what: str, timeout_s: float = 60.0, *, period_s: float = 0.02
) -> None:
    """Poll for graph events, which ROS does not announce to Python."""
    done = threading.Event()
    for _ in range(int(timeout_s / period_s)):
        if condition():
            return
        done.wait(period_s)
    raise AssertionError(f"not within {timeout_s} s: {what}")


def _spin(executor: SingleThreadedExecutor) -> None:
    with contextlib.suppress(ExternalShutdownException):
        executor.spin()
