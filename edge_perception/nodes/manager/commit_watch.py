"""Watches what is published after a change, and goes back by itself where an objective burns."""

from __future__ import annotations

import contextlib

from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import GetState
from rclpy.callback_groups import ReentrantCallbackGroup

from edge_perception.core.errors import EdgePerceptionError, ModelError, SwapError
from edge_perception.models.manifest import FUSION
from edge_perception.nodes.changes.change import Change, Serving
from edge_perception.nodes.changes.coordinator import SwapCoordinator
from edge_perception.nodes.changes.parts import ManagerParts
from edge_perception.nodes.common.in_thread import in_thread
from edge_perception.nodes.common.node_time import STEADY
from edge_perception.nodes.manager.own_rollback import OwnRollback
from edge_perception.nodes.manager.watched_views import WatchedViews
from edge_perception.releases.breaker import BreakerState, Watched

_LOOK_S = 1.0  # whether views come at all


class CommitWatch:
    """Begins and ends with changes; what the views lead to is done in the executor."""

    def __init__(
        self, parts: ManagerParts, coordinator: SwapCoordinator, group: ReentrantCallbackGroup
    ) -> None:
        self._parts, self._coordinator = parts, coordinator
        self._views = WatchedViews(parts.slo)
        self._rollback = OwnRollback(parts, coordinator, group)
        self._acting = False
        self._silence_timer = parts.node.create_timer(
            _LOOK_S, self._on_look, callback_group=group, clock=STEADY, autostart=False
        )
        self._wake = parts.node.create_guard_condition(self._on_wake, callback_group=group)
        coordinator.steps.deciding = self._on_deciding
        coordinator.steps.decided = self._on_decided

    # -- state, for people --

    @property
    def text(self) -> str:
        """What is watched; empty: nothing is."""
        if self._views.watched is None:
            return ""
        return f"{self._views.watched_s:.0f} of {self._parts.slo().watch.soak_s:g} s"

    def breaker(self) -> BreakerState:
        """Return the breaker of the store; closed where there is none."""
        return self._rollback.breaker()

    # -- begin and end --

    def resume(self) -> None:
        """Go on watching where a manager before this one ended; else forget what it watched."""
        store = self._parts.managed.readable
        if store is None or self._parts.managed.off:
            return
        try:
            watched = store.watches.watched()
            if watched is not None and dict(store.slots.get("current")) == dict(watched.after):
                self._start(watched, 0)
                self._parts.events.tell("watch", reason=f"resumed: {watched.transaction_id}")
            elif watched is not None:
                store.watches.watch(None)
        except ModelError as error:
            self._parts.events.tell("not watched", error=True, reason=str(error))

    def stop(self) -> None:
        """Watch no more; what is noted in the store is watched by the next manager."""
        self._silence_timer.cancel()
        self._views.end()

    def _on_deciding(self, change: Change) -> None:
        """Note on disk what is to be watched, before the change is decided; in a thread."""
        if change.back or not self._parts.slo().watch.soak_s:
            return
        change.watched = Watched(
            transaction_id=change.transaction_id,
            before=dict(change.before),
            after=dict(change.after),
            past=self._views.past(change.serving.memory_mb),
        )
        self._parts.managed.store.watches.watch(change.watched)

    def _on_decided(self, change: Change, effective_ns: int) -> None:
        if change.watched is not None:
            self._start(change.watched, effective_ns)
        elif change.back:
            watched = self._views.watched
            if watched is not None and dict(watched.after) != change.after:
                self._forget()

    def _start(self, watched: Watched, effective_ns: int) -> None:
        self._views.begin(watched, effective_ns, self._now_s())
        self._silence_timer.reset()

    def _forget(self) -> None:
        if self._views.end() is None:
            return
        try:
            self._parts.managed.store.watches.watch(None)
        except (ModelError, OSError) as error:  # the next manager finds that it is not current
            self._parts.events.tell("not noted", error=True, reason=str(error))

    # -- views --

    def on_view(self, data: bytes) -> None:
        """Take a serialised view; the thread of the receiver."""
        if self._views.add(data, self._now_s()):
            self._wake.trigger()

    # -- in the executor --

    async def _on_look(self) -> None:
        """Does any view come? One that is not published cannot tell."""
        watched = self._views.watched
        if watched is None:
            self._silence_timer.cancel()
            return
        burn = self._views.silence(self._now_s())
        if burn is None:
            return
        if await self._ended_on_purpose():
            self._views.excuse_silence(self._now_s())
            return
        self._views.note_silence(burn, watched)
        self._wake.trigger()

    async def _ended_on_purpose(self) -> bool:
        """Whether fusion was deactivated, or the nodes of the set ended with it."""
        client, timeout_s = self._parts.client, self._parts.options().answer_timeout_s
        infos, _ = await client.versions(timeout_s)
        nodes = Serving.of(infos).nodes
        if FUSION not in nodes:
            return not nodes
        try:
            answer = await client.call(
                GetState, f"{nodes[FUSION]}/get_state", GetState.Request(), timeout_s
            )
        except SwapError:
            return False
        return bool(answer.current_state.id != State.PRIMARY_STATE_ACTIVE)

    async def _on_wake(self) -> None:
        if self._acting:
            return
        self._acting = True
        try:
            await self._act()
        except EdgePerceptionError as error:
            self._parts.events.tell("watch failed", error=True, reason=str(error))
        finally:
            self._acting = False

    async def _act(self) -> None:
        found = self._views.take(self._now_s())
        if found is None:
            return
        watched, events = found.watched, self._parts.events
        for text in found.warnings:
            events.tell("burns", watched.transaction_id, error=True, reason=text)
        if found.burn is not None:
            await self._rollback.go_back(
                watched,
                found.burn.text,
                wanted=lambda: self._views.watched is watched,
                forget=self._forget,
            )
        elif found.over:
            self._views.end()
            error = await in_thread(
                self._parts.node, lambda: self._parts.managed.store.watches.watch(None)
            )
            said = str(error) if error is not None else "the objectives hold"
            events.tell("watched", watched.transaction_id, reason=said)
        elif found.memory_due:
            with contextlib.suppress(SwapError):  # a node that is silent: the views tell
                self._views.learn_memory((await self._coordinator.serving.look()).memory_mb)

    def _now_s(self) -> float:
        return self._parts.steady_ns() / 1e9
