"""Which change a request asks for; one at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from edge_perception.core.errors import SwapError
from edge_perception.models.manifest import Bundle
from edge_perception.nodes.changes.change import Caller, Change
from edge_perception.nodes.changes.parts import ManagerParts
from edge_perception.nodes.changes.serving_nodes import ServingNodes
from edge_perception.nodes.changes.steps import ChangeSteps
from edge_perception.releases.change_plan import FUSION, plan_change
from edge_perception.releases.slots import ModelSet
from edge_perception.releases.store import ReleaseStore

_UNASKED_S = 30.0


class SwapCoordinator:
    """Runs changes one at a time; every failure leaves what ran before."""

    def __init__(self, parts: ManagerParts) -> None:
        self._parts = parts
        self.serving = ServingNodes(parts)
        self.steps = ChangeSteps(parts, self.serving)
        self._change: Change | None = None  # under way
        self._unasked = False  # it is the manager's own

    @property
    def busy(self) -> str:
        """Transaction under way; empty: none."""
        return self._change.transaction_id if self._change is not None else ""

    def stop(self, reason: str) -> None:
        """Let the change under way be undone at its next step, unless it is decided."""
        if self._change is not None:
            self._change.stopped = reason

    @property
    def waits_for(self) -> str:
        """What the change under way waits for, for people."""
        return self._change.waits_for if self._change is not None else ""

    async def swap(
        self, *, role: str, name: str, version: str, skip_trial: bool, caller: Caller
    ) -> Change:
        """Change to a release of the store, with all that belong to it.

        Raises:
            EdgePerceptionError: why not; the models that ran before serve.
        """
        change = Change(caller=caller)
        opened = self._store.watches.breaker().open
        if opened:
            raise SwapError(
                f"the breaker is open: {opened}; `edge-perception models reset-breaker` once "
                "somebody has looked"
            )
        await self._parts.client.until(lambda: not self._unasked, _UNASKED_S)
        with self._one_at_a_time(change):
            await self._parts.after_view()  # manifests are read, and all nodes asked
            candidate = self._store.find(name, version)
            current = self._store.slots.get("current")
            change.serving = await self.serving.found(current)
            managed = self._parts.managed
            running = {r: managed.bundle(v.sha256) for r, v in change.serving.versions.items()}
            plan = plan_change(
                running={name: bundle.manifest for name, bundle in running.items()},
                candidate=candidate,
                role=role,
                stored=self._store.releases(),
            )
            change.absent = change.serving.absent(current)
            change.releases = {r: new for r, new in plan.items() if running[r].sha256 != new.sha256}
            if not change.releases:
                raise SwapError(
                    f"{candidate.manifest.name} {candidate.manifest.version} serves already as "
                    f"{', '.join(plan)}: nothing to change"
                )
            await self.steps.durably(lambda: self._adopt(change, running))
            await self.steps.run(change, candidate.manifest.name, skip_trial=skip_trial)
        return change

    async def go_to(
        self, models: ModelSet, why: str, *, quarantine: str = "", unasked: bool = False
    ) -> Change:
        """Change to a set that served before, without a trial.

        Args:
            models: digest by role; roles that nobody serves now are left out.
            why: for the journal.
            quarantine: reason to quarantine the releases that are left; empty: they stay.
            unasked: the manager's own: a swap waits for its end, and is not refused.
        """
        change = Change(back=True)
        with self._one_at_a_time(change, unasked=unasked):
            latest = self.serving.latest
            if latest is not None:
                change.serving = latest
                self._plan_back(change, models)
            if change.releases and change.warm:
                left = change.before
                if not await self.steps.run_at_once(change, why):
                    await self._bring(change, why)
            else:
                change.serving = await self.serving.look()
                self._plan_back(change, models)
                left = change.before
                if not change.releases:
                    raise SwapError(f"{why}: these models serve already")
                await self.steps.run(change, why, skip_trial=True)
            if quarantine:
                for role in change.releases:
                    self._store.notes.quarantine(left[role], quarantine)
        return change

    # -- helpers --

    async def _bring(self, change: Change, why: str) -> None:
        """Load the models of a decided change in the nodes that did not follow it."""
        rest = Change(back=True, serving=await self.serving.look())
        self._plan_back(rest, change.after)
        if rest.releases:
            await self.steps.run(rest, why, skip_trial=True)

    @property
    def _store(self) -> ReleaseStore:
        return self._parts.managed.store

    def _plan_back(self, change: Change, models: ModelSet) -> None:
        """Note what changes to get to a set; nodes that are not here start with theirs of it."""
        wanted = change.serving.differing(models)
        change.releases = {role: self._store.release(sha) for role, sha in wanted.items()}
        change.absent = change.serving.absent(self._store.slots.get("current"))
        change.absent_after = change.serving.absent(models)

    def _adopt(self, change: Change, running: Mapping[str, Bundle]) -> None:
        """Keep what serves, so that it can be gone back to; the first set is the factory's."""
        for bundle in running.values():
            self._store.adopt(bundle)
        if not self._store.slots.get("factory"):
            self._store.slots.point(factory=change.before, current=change.before)
        self._store.served(change.serving.models)
        old = {running[role].manifest.feature_space for role in change.releases if role != FUSION}
        new = {r.manifest.feature_space for role, r in change.releases.items() if role != FUSION}
        change.spaces_change = old != new

    @contextmanager
    def _one_at_a_time(self, change: Change, *, unasked: bool = False) -> Iterator[None]:
        """Refuse a second change while one is under way."""
        if self._change is not None:
            raise SwapError(f"a change is under way (transaction {self.busy})")
        self._change, self._unasked = change, unasked
        try:
            yield
        finally:
            self._change, self._unasked = None, False
