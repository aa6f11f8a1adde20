"""Watches what is published after a change, and goes back by itself where an objective burns."""

from __future__ import annotations

import contextlib
import threading
from collections import deque

from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import GetState
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.serialization import deserialize_message

from edge_perception import msg, srv
from edge_perception.core.errors import EdgePerceptionError, ModelError, SwapError
from edge_perception.models.manifest import FUSION
from edge_perception.nodes.changes.change import Change, Serving
from edge_perception.nodes.changes.coordinator import SwapCoordinator
from edge_perception.nodes.changes.parts import ManagerParts
from edge_perception.nodes.common.in_thread import in_thread
from edge_perception.nodes.common.node_time import STEADY
from edge_perception.nodes.conversion import stamp_ns
from edge_perception.nodes.conversion.view_facts import facts_of
from edge_perception.releases.breaker import BreakerState, RolledBack, Watched
from edge_perception.releases.past import ViewFacts, past_of
from edge_perception.releases.watch import Burn, Watch

_BEFORE_PERIOD_S = 0.2  # views before a change are sampled
_MEMORY_PERIOD_S = 5.0
_AGAIN_S = 1.0  # a node that ended may be back by then
_LOOK_S = 1.0  # whether views come at all


class CommitWatch:
    """The views come in a thread of their own; what they lead to is done in the executor."""

    def __init__(
        self, parts: ManagerParts, coordinator: SwapCoordinator, group: ReentrantCallbackGroup
    ) -> None:
        self._parts, self._coordinator = parts, coordinator
        self._lock = threading.Lock()
        self._before: deque[tuple[float, ViewFacts]] = deque()
        self._sampled_s = self._memory_s = 0.0
        self._watch: Watch | None = None
        self._watched: Watched | None = None
        self._from_stamp_ns = 0
        self._burn: Burn | None = None  # that is to roll back
        self._warned: set[str] = set()
        self._to_tell: list[str] = []
        self._memory_mb = 0.0
        self._acting = False
        self._silence_timer = parts.node.create_timer(
            _LOOK_S, self._on_look, callback_group=group, clock=STEADY, autostart=False
        )
        self._wake = parts.node.create_guard_condition(self._on_wake, callback_group=group)
        parts.node.create_service(
            srv.ResetBreaker, "~/reset_breaker", self._on_reset, callback_group=group
        )
        coordinator.steps.deciding = self._on_deciding
        coordinator.steps.decided = self._on_decided

    # -- state, for people --

    @property
    def text(self) -> str:
        """What is watched; empty: nothing is."""
        watch = self._watch
        if watch is None:
            return ""
        return f"{watch.watched_s:.0f} of {self._parts.slo().watch.soak_s:g} s"

    def breaker(self) -> BreakerState:
        """Return the breaker of the store; closed where there is none."""
        store = self._parts.managed.readable
        return BreakerState() if store is None else store.watches.breaker()

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
        with self._lock:
            self._watch = self._watched = self._burn = None
            self._before.clear()

    def _on_deciding(self, change: Change) -> None:
        """Note on disk what is to be watched, before the change is decided; in a thread."""
        if change.back or not self._parts.slo().watch.soak_s:
            return
        with self._lock:
            running = self._watched
            past = past_of(self._before, self._parts.slo(), memory_mb=change.serving.memory_mb)
        if running is not None:  # two changes within a soak time: against the time before both
            past = running.past
        change.watched = Watched(
            transaction_id=change.transaction_id,
            before=dict(change.before),
            after=dict(change.after),
            past=past,
        )
        self._parts.managed.store.watches.watch(change.watched)

    def _on_decided(self, change: Change, effective_ns: int) -> None:
        if change.watched is not None:
            self._start(change.watched, effective_ns)
        elif change.back:
            with self._lock:
                watched = self._watched
            if watched is not None and dict(watched.after) != change.after:
                self._forget()

    def _start(self, watched: Watched, effective_ns: int) -> None:
        with self._lock:
            self._watch = Watch(self._parts.slo(), watched.past)
            self._watched, self._from_stamp_ns = watched, effective_ns
            self._burn = None
            self._warned.clear()
            self._memory_s = self._now_s()
        self._silence_timer.reset()

    def _forget(self) -> None:
        with self._lock:
            had, self._watch, self._watched, self._burn = self._watched, None, None, None
            self._before.clear()  # of other models
        if had is None:
            return
        try:
            self._parts.managed.store.watches.watch(None)
        except (ModelError, OSError) as error:  # the next manager finds that it is not current
            self._parts.events.tell("not noted", error=True, reason=str(error))

    # -- views --

    def on_view(self, data: bytes) -> None:
        """Take a serialised view; the thread of the receiver."""
        now_s = self._now_s()
        with self._lock:
            watch = self._watch
            if watch is None and now_s < self._sampled_s + _BEFORE_PERIOD_S:
                return
            if self._burn is not None:
                return
            view = deserialize_message(data, msg.FusedPerception)
            facts = facts_of(view)
            if watch is None:
                self._sample(facts, now_s)
            elif stamp_ns(view.header.stamp) >= self._from_stamp_ns:
                self._judge(watch, facts, now_s)

    def _sample(self, facts: ViewFacts, now_s: float) -> None:
        self._sampled_s = now_s
        self._before.append((now_s, facts))
        while self._before[0][0] < now_s - self._parts.slo().watch.before_s:
            self._before.popleft()

    def _judge(self, watch: Watch, facts: ViewFacts, now_s: float) -> None:
        watch.add_memory(self._memory_mb)
        watch.add(facts, now_s)
        for burn in watch.burns():
            if burn.rolls_back:
                self._burn = burn
                break
            if burn.objective.name not in self._warned:
                self._warned.add(burn.objective.name)
                why = " (and did before the change)" if burn.before else ""
                self._to_tell.append(f"{burn.text}{why}")
        if (
            self._burn is not None
            or self._to_tell
            or watch.over
            or now_s > self._memory_s + _MEMORY_PERIOD_S
        ):
            self._wake.trigger()

    # -- in the executor --

    async def _on_look(self) -> None:
        """Does any view come? One that is not published cannot tell."""
        with self._lock:
            watch = self._watch
            if watch is None:
                self._silence_timer.cancel()
            if watch is None or self._burn is not None:
                return
            burn = watch.silence(self._now_s())
        if burn is None or burn.objective.name in self._warned:
            return
        ended = await self._ended_on_purpose()
        with self._lock:
            if ended:
                watch.silence(self._now_s(), asked_for=True)
            if self._watch is not watch or self._burn is not None or ended:
                return
            if burn.rolls_back:
                self._burn = burn
            else:
                self._warned.add(burn.objective.name)
                self._to_tell.append(burn.text)
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
        with self._lock:
            texts, self._to_tell = self._to_tell, []
            burn, watched, watch = self._burn, self._watched, self._watch
        if watched is None or watch is None:
            return
        for text in texts:
            self._parts.events.tell("burns", watched.transaction_id, error=True, reason=text)
        if burn is not None:
            await self._roll_back(watched, burn)
        elif watch.over:
            with self._lock:
                self._watch = self._watched = None
            error = await in_thread(
                self._parts.node, lambda: self._parts.managed.store.watches.watch(None)
            )
            said = str(error) if error is not None else "the objectives hold"
            self._parts.events.tell("watched", watched.transaction_id, reason=said)
        elif self._now_s() > self._memory_s + _MEMORY_PERIOD_S:
            self._memory_s = self._now_s()
            with contextlib.suppress(SwapError):  # a node that is silent: the views tell
                self._memory_mb = (await self._coordinator.serving.look()).memory_mb

    async def _roll_back(self, watched: Watched, burn: Burn) -> None:
        """Go back to the set before, now; then note why, and look at the breaker."""
        parts, coordinator = self._parts, self._coordinator
        reason = f"after the change {watched.transaction_id[:8]}: {burn.text}"
        parts.events.tell("burnt", watched.transaction_id, error=True, reason=burn.text)
        coordinator.stop(reason)  # a change on top of a bad one
        if coordinator.busy:
            await parts.client.until(lambda: not coordinator.busy, parts.options().answer_timeout_s)
        told = ""
        while self._watched is watched:  # until it is done, or nobody wants it any more
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
        await self._note(watched, reason)

    async def _note(self, watched: Watched, reason: str) -> None:
        parts = self._parts
        parts.events.tell("rolled back", watched.transaction_id, error=True, reason=reason)
        rollback = RolledBack(
            stamp_ns=parts.node.get_clock().now().nanoseconds,
            transaction_id=watched.transaction_id,
            reason=reason,
        )
        state = BreakerState()

        def work() -> None:
            nonlocal state
            self._forget()
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

    def _now_s(self) -> float:
        return self._parts.steady_ns() / 1e9
