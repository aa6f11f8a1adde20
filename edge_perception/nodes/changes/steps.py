"""The steps of one change: journalled first, then done; undone unless it was decided."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from edge_perception import srv
from edge_perception.core.errors import EdgePerceptionError, ModelError, SwapError
from edge_perception.models.quiet import await_gap
from edge_perception.nodes.changes.change import HEARD_LATE, LATE, Change, versions_of
from edge_perception.nodes.changes.node_change import NodeChange
from edge_perception.nodes.changes.parts import ManagerParts
from edge_perception.nodes.changes.serving_nodes import ServingNodes
from edge_perception.nodes.changes.set_trial import SetTrial
from edge_perception.nodes.common.in_thread import in_thread
from edge_perception.releases.admission import Admission
from edge_perception.releases.journal import Record
from edge_perception.releases.measured import admit_once, check_together
from edge_perception.releases.slots import ModelSet
from edge_perception.releases.store import ReleaseStore
from edge_perception.releases.trial import Stage

_LEAD = 2.0  # times what nodes took for their slowest answer: a commit is heard before its stamp


class ChangeSteps:
    """Walks changes whose releases are known from `begin` to `done`."""

    def __init__(self, parts: ManagerParts, serving: ServingNodes) -> None:
        self._parts, self._serving = parts, serving
        self._nodes = NodeChange(parts)
        # Set by whoever follows up: takes the stamp and the models that leave; a node is late.
        self.committed: Callable[[int, ModelSet], None] = lambda _stamp_ns, _left: None
        self.late: Callable[[], None] = lambda: None
        # Set by whoever watches: before a decision is written (not in the executor's thread), and
        # once the nodes hear of it, with the stamp.
        self.deciding: Callable[[Change], None] = lambda _change: None
        self.decided: Callable[[Change, int], None] = lambda _change, _stamp_ns: None

    async def run(self, change: Change, name: str, *, skip_trial: bool) -> None:
        """Prepare, try and commit.

        Raises:
            EdgePerceptionError: why it was undone; or, where it was decided, why a node is late.
        """
        store = self._store
        decided = False

        def begin() -> None:
            change.record = store.begin(
                change.transaction_id,
                change.before,
                change.after,
                name,
                needed=change.releases.values(),
            )

        def decide() -> None:
            nonlocal decided
            self.deciding(change)
            store.note(change.begun)
            decided = True
            store.slots.point(previous=change.before, current=change.after)
            store.served(change.after)

        await self.durably(begin)
        try:
            self._event(change, "begin", reason=name)
            if not change.warm:
                await self._check(change)
                change.check()
            await self._nodes.prepare(change)
            await self._step(change, "prepared")
            if not skip_trial:
                await self._try(change)
            change.check()
            change.record = change.begun.next("commit")
            await self.durably(decide)
            self._event(change, "commit")
            await self._commit(change)
            await self._step(change, "done")
        except BaseException as error:
            if not decided:
                await self._undo(change, error)
            else:
                # The decision is on disk: what did not hear of it comes to it later.
                self._event(change, LATE, error=True, reason=str(error))
                self._parts.node.get_logger().error(f"{name}: committed, but {error}")
            raise

    async def _check(self, change: Change) -> None:
        """Verify and admit every release, as its node would run it.

        What was measured before is judged anew: limits and free memory are those of now.
        """
        store, limits = self._store, self._parts.limits()
        now_ns = time.time_ns()  # not /clock, which who plays a recording moves
        managed = self._parts.managed
        admissions: list[tuple[str, Admission]] = []

        def work() -> None:
            for role, release in change.releases.items():
                try:
                    await_gap()  # where nodes that serve are in this process
                    if not change.back:
                        managed.verify(release.bundle, now_ns=now_ns)
                    options = change.serving.options(role)
                    admission = admit_once(release.bundle, limits, options, store.notes)
                    admissions.append((release.manifest.name, admission))
                except EdgePerceptionError:
                    raise
                except Exception as error:
                    raise SwapError(f"{role}: {error!r}") from error
            check_together(admissions, limits)

        await self._parts.after_view()
        await self.durably(work)
        self._event(change, "admitted")

    async def _try(self, change: Change) -> None:
        async def begin(stage: Stage) -> None:
            await self._step(change, f"{stage.mode} {stage.share:.0%}")

        await SetTrial(self._parts, change).run(begin)

    async def _commit(self, change: Change) -> None:
        options = self._parts.options()
        delay_s = options.rollback_delay_s if change.warm else options.commit_delay_s
        # A node that hears of it after its stamp serves frames of the new set with its old model.
        lead_s = _LEAD * self._parts.client.slowest_answer_s()
        delay_s = max(delay_s, min(lead_s, options.answer_timeout_s))
        await self._tell(
            change,
            self._parts.groups.change_stamp_ns(delay_s, soonest=change.warm),
            {
                role: srv.CommitModel.Request(transaction_id=id_)
                for role, id_ in change.prepared.items()
            },
        )

    async def _tell(
        self, change: Change, stamp_ns: int, requests: Mapping[str, srv.CommitModel.Request]
    ) -> dict[str, str]:
        """Tell all nodes of the stamp; return by role why one did not follow."""
        sent = self._nodes.send(change, stamp_ns, requests)
        self._serving.outdate()
        self.committed(stamp_ns, {role: change.before[role] for role in change.releases})
        self._event(change, "committed", reason=f"stamp {stamp_ns} ns")
        self.decided(change, stamp_ns)
        problems, notes = await self._nodes.followed(sent)
        if notes:
            self._event(change, HEARD_LATE, error=True, reason="; ".join(notes))
        if problems:
            self._event(change, LATE, error=True, reason="; ".join(problems.values()))
        return problems

    async def _undo(self, change: Change, error: BaseException) -> None:
        """Let every node drop what it prepared; the models that ran go on."""
        await self._nodes.drop(change)
        try:
            self._store.note(change.begun.next("aborted", reason=str(error)))
        except ModelError as problem:  # recovery at the next start says the same
            self._parts.node.get_logger().error(f"journal: {problem}")
        self._event(change, "aborted", error=True, reason=str(error))

    # -- a change that only has to be told --

    async def run_at_once(self, change: Change, why: str) -> bool:
        """Let sessions that are still loaded serve again: one record, one message to each node.

        All nodes said that they hold theirs. Where one lost it since, the others do not wait: what
        they leave is worse than a moment without it, and fusion never joins two sets.

        Returns:
            Whether all nodes followed.
        """
        store = self._store
        change.record = Record(
            transaction_id=change.transaction_id,
            step="commit",
            before=change.before,
            after=change.after,
            reason=why,
        )
        store.note(change.record)  # here, not in a thread: each turn of the executor takes longer
        delay_s = self._parts.options().rollback_delay_s
        problems = await self._tell(
            change,
            self._parts.groups.change_stamp_ns(delay_s, soonest=True),
            {
                role: srv.CommitModel.Request(kept_sha256=release.sha256)
                for role, release in change.releases.items()
            },
        )
        try:
            await self.durably(
                lambda: store.slots.point(previous=change.before, current=change.after)
            )
            await self._step(change, "done")
        except EdgePerceptionError as error:
            self._event(change, LATE, error=True, reason=str(error))
            raise
        return not problems

    # -- helpers --

    @property
    def _store(self) -> ReleaseStore:
        return self._parts.managed.store

    async def durably(self, work: Callable[[], None]) -> None:
        """Write to the disk beside the executor, which has messages to take meanwhile."""
        error = await in_thread(self._parts.node, work)
        if error is not None:
            raise error

    async def _step(self, change: Change, step: str) -> None:
        record = change.record = change.begun.next(step)
        await self.durably(lambda: self._store.note(record))
        self._event(change, step)

    def _event(self, change: Change, event: str, *, error: bool = False, reason: str = "") -> None:
        self._parts.events.tell(
            event,
            change.transaction_id,
            error=error,
            reason=reason,
            models=versions_of(change),
            told=change.caller.told,
        )
        if event == LATE:
            self.late()
