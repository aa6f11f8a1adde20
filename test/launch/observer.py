"""What a launch test sees of the nodes, over real DDS."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import rclpy
from lifecycle_msgs.srv import GetState
from rcl_interfaces.srv import GetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import parameter_value_to_python
from rclpy.qos import QoSProfile

from edge_perception.msg import FusedPerception

TIMEOUT_S = 40.0


class Observer:
    """A node of the test; everything it is asked for is waited for."""

    def __init__(self, *, namespace: str = "") -> None:
        self._namespace = f"/{namespace}" if namespace else ""
        self._context = rclpy.Context()
        rclpy.init(context=self._context)
        self.node = rclpy.create_node("observer", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self.fused: list[FusedPerception] = []
        topic = f"{self._namespace}/perception/fused"
        self.node.create_subscription(
            FusedPerception, topic, self.fused.append, QoSProfile(depth=50)
        )

    def close(self) -> None:
        self._executor.shutdown()
        self.node.destroy_node()
        self._context.shutdown()

    def wait(self, what: str, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + TIMEOUT_S
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f"{what}: not within {TIMEOUT_S} s")
            self._executor.spin_once(timeout_sec=0.1)

    def wait_for_fused(self, accept: Callable[[FusedPerception], bool]) -> FusedPerception:
        seen = len(self.fused)
        self.wait("a fused message", lambda: any(map(accept, self.fused[seen:])))
        return next(message for message in self.fused[seen:] if accept(message))

    def wait_for_state(self, node: str, state: str) -> None:
        def reached() -> bool:
            answer = self._call(GetState, f"{node}/get_state", GetState.Request())
            return answer is not None and answer.current_state.label == state

        self.wait(f"{node} {state}", reached)

    def parameters(self, node: str, *names: str) -> list[Any]:
        request = GetParameters.Request(names=names)
        answer = self._call(GetParameters, f"{node}/get_parameters", request)
        if answer is None:
            raise AssertionError(f"{node}: no answer to get_parameters")
        return [parameter_value_to_python(value) for value in answer.values]

    def _call(self, type_: Any, name: str, request: Any) -> Any:
        client = self.node.create_client(type_, f"{self._namespace}/{name}")
        try:
            if not client.wait_for_service(timeout_sec=2.0):
                return None
            future = client.call_async(request)
            self._executor.spin_until_future_complete(future, timeout_sec=2.0)
            return future.result() if future.done() else None
        finally:
            self.node.destroy_client(client)
