"""Asking the nodes that serve models, without blocking the executor."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.client import Client
from rclpy.task import Future

from edge_perception import msg, srv
from edge_perception.core.errors import SwapError
from edge_perception.nodes.common.base import PerceptionNode
from edge_perception.nodes.common.node_time import STEADY

_TICK_NS = 20_000_000  # between two looks at a condition
_RECENT_NS = 10_000_000_000  # answers that tell how fast nodes answer now
_LONG = "/prepare_model"  # loads a model, which takes as long as it takes
_GET_VERSIONS = "edge_perception/srv/GetVersions"


class ModelClient:
    """Clients of the services that every node with a model has."""

    def __init__(self, node: PerceptionNode, group: ReentrantCallbackGroup) -> None:
        self._node, self._group = node, group
        self._clients: dict[str, Client] = {}
        # What is waited for: the condition that ends it beside its own result, and when it is over.
        self._waiting: dict[Future, tuple[Callable[[], bool] | None, int]] = {}
        self._sent_ns: dict[Future, int] = {}  # steady clock
        # When an answer came, steady clock, and what it took, ns.
        self._answers: deque[tuple[int, int]] = deque(maxlen=256)
        # One timer for all that may wait: to make and destroy one is work for the executor.
        self._ticker = node.create_timer(
            _TICK_NS / 1e9, self._on_tick, callback_group=group, clock=STEADY, autostart=False
        )

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
        future = self._client(type_, name).call_async(request)
        self._sent_ns[future] = self._node.clock.now().steady_ns
        return future

    def slowest_answer_s(self) -> float:
        """Return the longest time that a node took for an answer lately, s; 0: none answered.

        Requests that load a model do not count. One that is given up counts with its time.
        """
        since_ns = self._node.clock.now().steady_ns - _RECENT_NS
        return max((took for at, took in self._answers if at >= since_ns), default=0) / 1e9

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
        sent_ns = self._sent_ns.pop(future)
        await self._wait(future, timeout_s)
        if not name.endswith(_LONG):
            now_ns = self._node.clock.now().steady_ns
            self._answers.append((now_ns, now_ns - sent_ns))
        if not future.done():
            self._clients[name].remove_pending_request(future)
            raise SwapError(f"{name}: no answer within {timeout_s:g} s")
        return future.result()

    async def at_most(self, future: Future, timeout_s: float) -> None:
        """Wait for a future, and no longer than so; it is cancelled then."""
        await self._wait(future, timeout_s)

    async def until(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Wait beside the executor for what is not announced; False after the time."""
        if not condition():
            await self._wait(Future(), timeout_s, condition)
        return condition()

    async def _wait(
        self, future: Future, timeout_s: float, condition: Callable[[], bool] | None = None
    ) -> None:
        """Await a future; after the time, or where the condition holds, it is cancelled."""
        give_up_ns = self._node.clock.now().steady_ns + round(timeout_s * 1e9)
        self._waiting[future] = (condition, give_up_ns)
        self._set_ticker()
        try:
            await future
        finally:
            del self._waiting[future]  # the ticker finds it gone: with the node, it is gone first

    def _set_ticker(self) -> None:
        """Let the ticker come when something may be over; each time costs all that is awaited."""
        if not self._waiting:
            self._ticker.cancel()
            return
        first_ns = min(give_up_ns for _, give_up_ns in self._waiting.values())
        period_ns = max(first_ns - self._node.clock.now().steady_ns, _TICK_NS)
        if any(condition is not None for condition, _ in self._waiting.values()):
            period_ns = _TICK_NS
        if self._ticker.is_canceled() or self._ticker.timer_period_ns != period_ns:
            self._ticker.timer_period_ns = period_ns
            self._ticker.reset()

    def _on_tick(self) -> None:
        now_ns = self._node.clock.now().steady_ns
        for future, (condition, give_up_ns) in list(self._waiting.items()):
            over = now_ns > give_up_ns or (condition is not None and condition())
            if over and not future.done():
                future.cancel()
        self._set_ticker()

    async def sleep(self, seconds: float) -> None:
        """Let the executor go on for a while."""
        await self._wait(Future(), seconds)

    async def _ready(self, type_: Any, name: str, timeout_s: float) -> None:
        client = self._client(type_, name)
        if not await self.until(client.service_is_ready, timeout_s):
            raise SwapError(f"{name}: no such service within {timeout_s:g} s")

    def _client(self, type_: Any, name: str) -> Client:
        client = self._clients.get(name)
        if client is None:
            client = self._node.create_client(type_, name, callback_group=self._group)
            self._clients[name] = client
        return client
