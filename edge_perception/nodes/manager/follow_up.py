"""What the manager does unasked: at start and after changes it looks whether the nodes agree."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from rclpy.callback_groups import ReentrantCallbackGroup

from edge_perception.core.errors import EdgePerceptionError, SwapError
from edge_perception.models.quiet import await_gap
from edge_perception.nodes.changes.coordinator import SwapCoordinator
from edge_perception.nodes.changes.parts import ManagerParts
from edge_perception.nodes.common.in_thread import in_thread
from edge_perception.nodes.common.node_time import STEADY
from edge_perception.releases.garbage import Keeping, Removed, collect_garbage
from edge_perception.releases.slots import ModelSet

_RECONCILE_PERIOD_S, _RECONCILE_MOST_S = 1.0, 30.0  # from the first to later looks
# A node is there before it answers: it loads its model first, on a busy machine for a while.
_PATIENCE_NS = 60_000_000_000
_FIND_PERIOD_S = 0.1
# From the first view of a new set on; a sensor may be silent, so each wait is twice the one before.
_LOOK_AGAIN_NS, _LOOKS = 20_000_000, 11
_SERVES_NS = 1_000_000_000  # after its stamp, at the latest, a view is of the new set


class FollowUp:
    """Timers that run only while there is something to follow up."""

    def __init__(
        self, parts: ManagerParts, coordinator: SwapCoordinator, group: ReentrantCallbackGroup
    ) -> None:
        self._parts, self._coordinator = parts, coordinator
        self._looks_left = 0
        self._silent_ns: int | None = None  # since when nodes do not answer, steady clock
        self._silent_told = False
        self._left: dict[str, str] = {}  # models of the last change, which the nodes may keep

        def timer(period_s: float, callback: Callable[[], Any]) -> Any:
            return parts.node.create_timer(
                period_s, callback, callback_group=group, clock=STEADY, autostart=False
            )

        self._reconciler = timer(_RECONCILE_PERIOD_S, self._on_reconcile)
        self._finder = timer(_FIND_PERIOD_S, self._on_find)
        self._looker = timer(_LOOK_AGAIN_NS / 1e9, self._on_look)
        coordinator.steps.late = self._reconciler.reset
        coordinator.steps.committed = self._on_committed

    def start(self) -> None:
        """Bring the nodes to the current set as soon as there are any."""
        self._finder.reset()
        self._reconciler.reset()

    def stop(self) -> None:
        """Stop; safe more than once."""
        self._left = {}
        for timer in (self._finder, self._reconciler, self._looker):
            timer.cancel()

    def _on_committed(self, stamp_ns: int, left: ModelSet) -> None:
        """Ask the nodes again, soon after the stamp, until they keep the models that left."""
        self._left = dict(left)
        delay_ns = stamp_ns - self._parts.node.get_clock().now().nanoseconds
        self._looks_left = _LOOKS
        self._looker.timer_period_ns = max(delay_ns, 0) + 1
        self._looker.reset()

    def _on_find(self) -> None:
        if not self._coordinator.serving.watch():
            self._finder.cancel()

    async def _on_reconcile(self) -> None:
        """Bring the nodes to the current set of the store: at start, and where one was late."""
        store = self._parts.managed.readable
        if self._coordinator.busy or store is None or not self._parts.client.nodes():
            return
        self._reconciler.cancel()
        try:
            wanted = store.slots.get("current")
            try:
                serving = await self._coordinator.serving.found(wanted)
            except SwapError as error:
                self._ask_again(str(error))
                return
            self._all_answer()
            if not self._parts.managed.off and serving.differing(wanted):
                await self._coordinator.go_to(wanted, "start with the current set", unasked=True)
        except EdgePerceptionError as error:
            self._parts.events.tell("not reconciled", error=True, reason=f"current set: {error}")
            return
        await self._tidy()  # a manager that died after a change did not

    def _ask_again(self, text: str) -> None:
        """Look again at nodes that do not answer; only those that stay silent are an error."""
        now_ns = self._parts.steady_ns()
        if self._silent_ns is None:
            self._silent_ns = now_ns
        elif now_ns - self._silent_ns >= _PATIENCE_NS and not self._silent_told:
            self._silent_told = True
            self._parts.events.tell("not reconciled", error=True, reason=f"current set: {text}")
        period_ns = min(2 * self._reconciler.timer_period_ns, round(_RECONCILE_MOST_S * 1e9))
        self._reconciler.timer_period_ns = period_ns
        self._reconciler.reset()

    def _all_answer(self) -> None:
        if self._silent_told:
            self._parts.events.tell("reconciled", reason="current set: all nodes answer")
        self._silent_ns, self._silent_told = None, False
        self._reconciler.timer_period_ns = round(_RECONCILE_PERIOD_S * 1e9)

    async def _on_look(self) -> None:
        """Learn after a change what the nodes keep, so that a rollback need not ask them."""
        self._looker.cancel()
        left = self._left
        await self._served(left)
        if left is not self._left or self._parts.managed.readable is None:
            return
        kept = False
        if not self._coordinator.busy:
            self._looks_left -= 1
            with contextlib.suppress(SwapError):  # a node that is silent now is asked again
                serving = await self._coordinator.serving.look()
                kept = all(serving.kept.get(role) == sha256 for role, sha256 in left.items())
        if left is not self._left:  # a change after it is followed up
            return
        if kept or self._looks_left <= 0:
            await self._tidy()
            return
        self._looker.timer_period_ns = _LOOK_AGAIN_NS << max(_LOOKS - self._looks_left - 1, 0)
        self._looker.reset()

    async def _served(self, left: ModelSet) -> None:
        """Wait for the first view without the models that left: their nodes keep them then.

        Asked before, fusion says that it still has the old model; asked right after a view, the
        nodes have no frames in work.
        """
        parts = self._parts
        end_ns = parts.steady_ns() + _SERVES_NS
        gone = set(left.values())
        while left is self._left and parts.groups.rests_on(gone) and parts.steady_ns() < end_ns:
            view = parts.groups.next_view()
            if view is None:
                return
            await parts.client.at_most(view, _SERVES_NS / 1e9)

    async def _tidy(self) -> None:
        """Make room on the disk: what nothing uses any more goes."""
        parts, latest = self._parts, self._coordinator.serving.latest
        if parts.managed.off or latest is None:
            return
        options = parts.options()
        keeping = Keeping(
            newest=options.keep_releases,
            least_free_bytes=options.keep_free_mb * 2**20,
            refused=False,  # who looks for what was wrong needs them, until they are old
        )
        store = parts.managed.store
        gone: list[Removed] = []

        def work() -> None:
            await_gap()  # some milliseconds of Python, where nodes that serve are in this process
            store.journal.repair()
            await_gap()
            also = {*latest.models.values(), *latest.kept.values()}
            gone.extend(collect_garbage(store, keeping, also_in_use=also))

        error = await in_thread(parts.node, work)
        names = ", ".join(f"{item.name} {item.version} ({item.why})" for item in gone)
        if error is not None:
            parts.events.tell("not tidied", error=True, reason=str(error))
        elif gone:
            parts.events.tell("removed", reason=names)
