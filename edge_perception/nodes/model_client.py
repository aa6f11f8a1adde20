"""Asking the nodes that serve models, without blocking the executor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.client import Client
from rclpy.clock import Clock, ClockType
from rclpy.task import Future

from edge_perception import msg, srv
from edge_perception.core.errors import SwapError
from edge_perception.nodes.base import PerceptionNode

_STEADY = Clock(clock_type=ClockType.STEADY_TIME)
_GET_VERSIONS = "edge_perception/srv/GetVersions"


class ModelClient:
    """Clients of the services that every node with a model has."""

    POLL_PERIOD_S = 0.01

    def __init__(self, node: PerceptionNode, group: ReentrantCallbackGroup) -> None:
        self._node, self._group = node, group
        self._clients: dict[str, Client] = {}

    def nodes(self) -> list[str]:
        """Return the names of the nodes that serve models."""
        own = f"{self._node.get_fully_qualified_name()}/get_versions"
        return sorted(
            name.removesuffix("/get_versions")
            for name, types in self._node.get_service_names_and_types()
            if _GET_VERSIONS in types and name != own
        )

    async def versions(self, timeout_s: float) -> tuple[list[msg.ModelInfo], list[str]]:
        """Return what all nodes serve, and the nodes that did not answer."""
        nodes = self.nodes()
        answers = await self.call_all(
            srv.GetVersions,
            {f"{node}/get_versions": srv.GetVersions.Request() for node in nodes},
            timeout_s,
        )
        models, silent = [], []
        for node, answer in zip(nodes, answers.values(), strict=True):
            if isinstance(answer, SwapError):
                silent.append(node)
            else:
                models.extend(answer.models)
        return models, silent

    async def call_all(
        self, type_: Any, requests: Mapping[str, Any], timeout_s: float
    ) -> dict[str, Any]:
        """Call services of several nodes at once; the answer or the SwapError by service."""
        answers: dict[str, Any] = {}
        futures = {}
        for name, request in requests.items():
            try:
                await self._ready(type_, name, timeout_s)
                futures[name] = self.send(type_, name, request)
            except SwapError as error:
                answers[name] = error
        for name, future in futures.items():
            try:
                answers[name] = await self.answer(name, future, timeout_s)
            except SwapError as error:
                answers[name] = error
        return {name: answers[name] for name in requests}

    def send(self, type_: Any, name: str, request: Any) -> Future:
        """Send a request to a service that was called before, and return at once."""
        return self._client(type_, name).call_async(request)

    async def call(self, type_: Any, name: str, request: Any, timeout_s: float) -> Any:
        """Call a service of another node.

        Raises:
            SwapError: no such service, or no answer in time.
        """
        await self._ready(type_, name, timeout_s)
        return await self.answer(name, self.send(type_, name, request), timeout_s)

    async def answer(self, name: str, future: Future, timeout_s: float) -> Any:
        """Wait for the answer to a request.

        Raises:
            SwapError: it did not come in time.
        """
        if not future.done() and not await self.until(future.done, timeout_s, future):
            self._clients[name].remove_pending_request(future)
            raise SwapError(f"{name}: no answer within {timeout_s:g} s")
        return future.result()

    async def until(
        self, condition: Callable[[], bool], timeout_s: float, future: Future | None = None
    ) -> bool:
        """Wait beside the executor until a condition holds; False after the time."""
        done: Future = Future(executor=self._node.executor)
        give_up_ns = self._node.clock.now().steady_ns + round(timeout_s * 1e9)

        def check(*_: object) -> None:
            if not done.done() and (condition() or self._node.clock.now().steady_ns > give_up_ns):
                done.set_result(None)

        if future is not None:
            future.add_done_callback(check)
        timer = self._node.create_timer(
            self.POLL_PERIOD_S, check, callback_group=self._group, clock=_STEADY
        )
        try:
            await done
        finally:
            self._node.destroy_timer(timer)
        return condition()

    async def sleep(self, seconds: float) -> None:
        """Let the executor go on for a while."""
        await self.until(lambda: False, seconds)

    async def _ready(self, type_: Any, name: str, timeout_s: float) -> None:
        client = self._client(type_, name)
        if not client.service_is_ready() and not await self.until(
            client.service_is_ready, timeout_s
        ):
            raise SwapError(f"{name}: no such service within {timeout_s:g} s")

    def _client(self, type_: Any, name: str) -> Client:
        client = self._clients.get(name)
        if client is None:
            client = self._node.create_client(type_, name, callback_group=self._group)
            self._clients[name] = client
        return client
