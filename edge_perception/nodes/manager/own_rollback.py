"""Goes back unasked to the set before a change; a breaker ends that, and a person closes it."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.callback_groups import ReentrantCallbackGroup

from edge_perception import srv
from edge_perception.core.errors import EdgePerceptionError
from edge_perception.nodes.changes.coordinator import SwapCoordinator
from edge_perception.nodes.changes.parts import ManagerParts
from edge_perception.nodes.common.in_thread import in_thread
from edge_perception.releases.breaker import BreakerState, RolledBack, Watched

_AGAIN_S = 1.0  # a node that ended may be back by then


class OwnRollback:
    """Also the service `~/reset_breaker`."""

    def __init__(
        self, parts: ManagerParts, coordinator: SwapCoordinator, group: ReentrantCallbackGroup
    ) -> None:
        self._parts, self._coordinator = parts, coordinator
        parts.node.create_service(
            srv.ResetBreaker, "~/reset_breaker", self._on_reset, callback_group=group
        )

    def breaker(self) -> BreakerState:
        """Return the breaker of the store; closed where there is none."""
        store = self._parts.managed.readable
        return BreakerState() if store is None else store.watches.breaker()

    async def go_back(
        self, watched: Watched, why: str, wanted: Callable[[], bool], forget: Callable[[], None]
    ) -> None:
        """Go back to the set before, now; then note why, and look at the breaker.

        Args:
            watched: the change.
            why: value and limit of the objective that burns.
            wanted: whether anybody still wants it; it is tried until it is done.
            forget: watches the change no more; in a thread.
        """
        parts, coordinator = self._parts, self._coordinator
        reason = f"after the change {watched.transaction_id[:8]}: {why}"
        parts.events.tell("burnt", watched.transaction_id, error=True, reason=why)
        coordinator.stop(reason)  # a change on top of a bad one
        if coordinator.busy:
            await parts.client.until(lambda: not coordinator.busy, parts.options().answer_timeout_s)
        told = ""
        while wanted():
            try:
                await coordinator.go_to(
                    watched.before, f"rolled back {reason}", quarantine=reason, unasked=True
                )
                break
            except EdgePerceptionError as error:
                if str(error) != told:
                    told = str(error)
                    parts.events.tell(
                        "not rolled back", watched.transaction_id, error=True, reason=told
                    )
                await parts.client.sleep(_AGAIN_S)
        else:
            return
        parts.events.tell("rolled back", watched.transaction_id, error=True, reason=reason)
        await self._note(watched, reason, forget)

    async def _note(self, watched: Watched, reason: str, forget: Callable[[], None]) -> None:
        parts = self._parts
        rollback = RolledBack(
            stamp_ns=parts.node.get_clock().now().nanoseconds,
            transaction_id=watched.transaction_id,
            reason=reason,
        )
        state = BreakerState()

        def work() -> None:
            nonlocal state
            forget()
            state = parts.managed.store.watches.rolled_back(rollback, parts.slo().watch)

        error = await in_thread(parts.node, work)
        if error is not None:
            parts.events.tell("not noted", error=True, reason=str(error))
        if state.open:
            parts.events.tell("breaker open", error=True, reason=state.open)

    async def _on_reset(
        self, request: srv.ResetBreaker.Request, response: srv.ResetBreaker.Response
    ) -> srv.ResetBreaker.Response:
        if not request.reason.strip():
            response.reason = "reason: expected who says so and why, got nothing"
            return response
        opened = ""

        def work() -> None:
            nonlocal opened
            opened = self._parts.managed.store.watches.reset(request.reason)

        error = await in_thread(self._parts.node, work)
        response.success = error is None
        response.reason = opened if error is None else str(error)
        if error is None:
            self._parts.events.tell("breaker closed", reason=request.reason)
        return response
