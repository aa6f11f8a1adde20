"""The action `~/swap`: a change with every step as feedback, cancelled until it commits."""

from __future__ import annotations

from typing import Any

from rclpy.action import ActionServer, CancelResponse
from rclpy.callback_groups import ReentrantCallbackGroup

from edge_perception import action, msg
from edge_perception.nodes.changes.change import Caller
from edge_perception.nodes.changes.coordinator import SwapCoordinator
from edge_perception.nodes.changes.model_events import Told
from edge_perception.nodes.changes.parts import ManagerParts
from edge_perception.nodes.manager.services import answer_swap


class SwapAction:
    """The action server."""

    def __init__(
        self, parts: ManagerParts, coordinator: SwapCoordinator, group: ReentrantCallbackGroup
    ) -> None:
        self._parts, self._coordinator = parts, coordinator
        self._asked = 0  # goals whose result somebody waits for
        self._server = ActionServer(
            parts.node,
            action.SwapModel,
            "~/swap",
            execute_callback=self._on_goal,
            cancel_callback=lambda _: CancelResponse.ACCEPT,
            callback_group=group,
        )

    @property
    def busy(self) -> bool:
        """Whether somebody waits for a result."""
        return self._asked > 0

    async def _on_goal(self, goal: Any) -> action.SwapModel.Result:
        def told(event: msg.ModelEvent) -> None:
            goal.publish_feedback(action.SwapModel.Feedback(event=event))

        self._asked += 1
        try:
            return await self._run(goal, told)
        finally:
            self._asked -= 1

    async def _run(self, goal: Any, told: Told) -> action.SwapModel.Result:
        result = action.SwapModel.Result()
        caller = Caller(told=told, cancelled=lambda: goal.is_cancel_requested)
        await answer_swap(self._parts, self._coordinator, goal.request, result, caller)
        await self._parts.events.flush()  # steps before the result
        if result.success:
            goal.succeed()
        elif goal.is_cancel_requested:
            goal.canceled()
        else:
            goal.abort()
        return result
