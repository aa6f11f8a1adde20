"""What a robot does about the releases of its fleet: changes to them, and leaves them again."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from edge_perception.core.errors import EdgePerceptionError
from edge_perception.fleet.documents import ReleaseDocument
from edge_perception.fleet.plan import Plan
from edge_perception.nodes.changes.change import Caller
from edge_perception.nodes.changes.coordinator import SwapCoordinator
from edge_perception.nodes.changes.parts import ManagerParts
from edge_perception.releases.way_back import way_back

_AGAIN_S = 6 * 3600.0  # until a release that was refused here is tried again


class FleetChanges:
    """Follows plans, in the executor; one change at a time.

    Args:
        parts: of the manager.
        coordinator: makes the changes.
        changed: called where something else serves.
    """

    def __init__(
        self, parts: ManagerParts, coordinator: SwapCoordinator, changed: Callable[[], None]
    ) -> None:
        self._parts, self._coordinator, self._changed = parts, coordinator, changed
        self._acting = False
        self._stuck = ""  # why a release that was stopped serves on, as it was told
        self.absent: dict[str, str] = {}  # offers that cannot serve here, and why
        self._refused: dict[str, tuple[str, float]] = {}  # why and until when, by digest

    async def follow(self, plan: Plan, *, quiet: bool) -> None:
        """Do the next step of a plan, unless a change is under way.

        Args:
            plan: what is to be done.
            quiet: whether it is a time in which no release is changed to; a stop is followed.
        """
        if self._acting or self._coordinator.busy or self._parts.managed.off:
            return
        self._acting = True
        try:
            await self._act(plan, quiet)
        finally:
            self._acting = False

    def is_refused(self, sha256: str) -> bool:
        """Whether a release was refused here a short time ago."""
        return time.monotonic() < self._refused.get(sha256, ("", 0.0))[1]

    @property
    def refusals(self) -> list[str]:
        """Why releases were refused here."""
        return [why for why, _ in self._refused.values()]

    async def _act(self, plan: Plan, quiet: bool) -> None:
        store = self._parts.managed.store
        serving = set(store.slots.get("current").values())
        stopped = {sha256: why for sha256, why in plan.retreats.items() if sha256 in serving}
        if stopped:
            await self._retreat(stopped)
            return
        if quiet:
            return  # what was fetched is changed to at the first poll after it
        try:
            # What came with the software serves, and is in no slot before the first change.
            models = (await self._coordinator.serving.look()).models
        except EdgePerceptionError:
            return  # a node is silent: the next poll looks again
        reasons = {d.manifest_sha256: self._why_absent(d, models) for d in plan.offers}
        self.absent = {
            f"{d.name} {d.version}": why for d in plan.offers if (why := reasons[d.manifest_sha256])
        }
        serving |= set(models.values())
        for document in plan.offers:
            sha256 = document.manifest_sha256
            if reasons[sha256] or self.is_refused(sha256):
                continue
            if sha256 not in serving and store.shelf.has(sha256):
                await self._swap(document)
                return  # what belongs to it changed too; the next poll looks again

    def _why_absent(self, document: ReleaseDocument, models: Mapping[str, str]) -> str:
        """Return why an offer cannot serve here; empty: it can, as far as is known."""
        if document.role not in models:
            return f"no node serves the role {document.role}"  # it may start yet
        try:
            running = self._parts.managed.bundle(models[document.role]).manifest
        except EdgePerceptionError:
            return ""
        if running.name == document.name and running.release > document.release:
            return f"{running.version} serves, which is newer"  # it came with the software
        return ""

    async def _swap(self, document: ReleaseDocument) -> None:
        try:
            await self._coordinator.swap(
                role="",
                name=document.manifest_sha256,  # there may be variants for other hardware
                version="",
                skip_trial=False,
                caller=Caller(),
            )
            self._changed()
        except EdgePerceptionError as error:
            # What is bad is in quarantine now; what was in its way may be gone by then.
            name, why = f"{document.name} {document.version}", str(error)
            reason = why if why.startswith(name) else f"{name}: {why}"
            again_s = time.monotonic() + _AGAIN_S
            self._refused[document.manifest_sha256] = (reason, again_s)
            self._parts.events.tell("refused", error=True, reason=reason)

    async def _retreat(self, stopped: Mapping[str, str]) -> None:
        """Go back to what served before, as the fleet asks."""
        store, why = self._parts.managed.store, "; ".join(sorted(set(stopped.values())))
        try:
            await self._coordinator.go_to(way_back(store, stopped), why)
            for sha256, reason in stopped.items():
                store.notes.quarantine(sha256, reason)
            self._stuck = ""
            self._parts.events.tell("gone back", error=True, reason=why)
            self._changed()
        except EdgePerceptionError as error:
            stuck = f"{why}: {error}"
            if stuck != self._stuck:  # it is tried at every poll
                self._stuck = stuck
                self._parts.events.tell("not rolled back", error=True, reason=stuck)
