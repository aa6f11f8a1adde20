"""One change of models from the request to the end, through the services of the nodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from edge_perception import msg, srv
from edge_perception.core.errors import EdgePerceptionError, ModelError, SwapError
from edge_perception.models.folders import find_digest
from edge_perception.models.manifest import Bundle
from edge_perception.nodes.change import LATE, Change, Host, Serving, versions_of
from edge_perception.nodes.conversion import time_msg
from edge_perception.nodes.model_services import in_thread
from edge_perception.nodes.set_trial import SetTrial
from edge_perception.releases.admission import admit, as_dict
from edge_perception.releases.change_plan import FUSION, plan_change
from edge_perception.releases.journal import Record
from edge_perception.releases.store import ModelSet
from edge_perception.releases.trial import Stage


class SwapCoordinator:
    """Runs changes one at a time; every failure leaves what ran before."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._busy = ""
        self._serving: Serving | None = None  # as the nodes said last; None: they must be asked
        self._told = 0  # commits; an answer from before one is outdated

    @property
    def busy(self) -> str:
        """Transaction under way; empty: none."""
        return self._busy

    async def swap(
        self,
        *,
        role: str,
        name: str,
        version: str,
        skip_trial: bool,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Change:
        """Change to a release of the store, with all that belong to it.

        Raises:
            EdgePerceptionError: why not; the models that ran before serve.
        """
        change = Change(cancelled=cancelled)
        with self._one_at_a_time(change):
            change.serving = await self.look()
            candidate = self._host.store.find(name, version)
            running = {role: self._running(v) for role, v in change.serving.versions.items()}
            change.releases = plan_change(
                running={name: bundle.manifest for name, bundle in running.items()},
                candidate=candidate,
                role=role,
                stored=self._host.store.releases(),
            )
            await self._durably(lambda: self._adopt(change, running))
            await self._run(change, candidate.manifest.name, skip_trial=skip_trial)
        return change

    async def go_to(self, models: ModelSet, why: str, *, quarantine: str = "") -> Change:
        """Change to a set that served before, without a trial.

        Args:
            models: digest by role; roles that nobody serves now are left out.
            why: for the journal.
            quarantine: reason to quarantine the releases that are left; empty: they stay.
        """
        change = Change(back=True)
        with self._one_at_a_time(change):
            if self._serving is not None:
                change.serving = self._serving
                change.releases = self._releases(change, models)
            if change.releases and change.warm:
                left = change.before
                await self._go_at_once(change, why)
            else:
                change.serving = await self.look()
                left = change.before
                change.releases = self._releases(change, models)
                if not change.releases:
                    raise SwapError(f"{why}: these models serve already")
                await self._run(change, why, skip_trial=True)
            if quarantine:
                for role in change.releases:
                    self._host.store.quarantine(left[role], quarantine)
        return change

    async def look(self) -> Serving:
        """Ask what serves now.

        Raises:
            SwapError: a node that serves models does not answer.
        """
        told = self._told
        infos, silent = await self._host.client.versions(self._host.options().answer_timeout_s)
        if silent:
            raise SwapError(f"nodes that do not answer: {', '.join(silent)}")
        serving = Serving.of(infos)
        if told == self._told:
            self._serving = serving
        return serving

    # -- steps of a change that is prepared first --

    async def _run(self, change: Change, name: str, *, skip_trial: bool) -> None:
        host, store = self._host, self._host.store
        change.record = Record(
            transaction_id=change.transaction_id,
            step="begin",
            before=change.before,
            after=change.after,
            reason=name,
        )
        await self._durably(lambda: store.note(change.record))
        decided = False

        def decide() -> None:
            nonlocal decided
            store.note(change.record)
            decided = True
            store.set_slots(previous=change.before, current=change.after)

        try:
            self._event(change, "begin", reason=name)
            if not change.warm:
                await self._check(change)
                self._stop_if_cancelled(change)
            await self._prepare(change)
            await self._step(change, "prepared")
            if not skip_trial:
                await self._try(change)
            self._stop_if_cancelled(change)
            change.record = change.record.next("commit")
            await self._durably(decide)
            self._event(change, "commit")
            await self._commit(change)
            await self._step(change, "done")
        except BaseException as error:
            if not decided:
                await self._undo(change, error)
            else:
                # The decision is on disk: what did not hear of it comes to it later.
                self._event(change, LATE, error=True, reason=str(error))
                host.node.get_logger().error(f"{name}: committed, but {error}")
            raise

    async def _check(self, change: Change) -> None:
        """Verify and admit every release; what was measured here before is not measured again."""
        store, limits = self._host.store, self._host.limits()
        now_ns = self._host.node.get_clock().now().nanoseconds
        trust = self._host.trust()

        def work() -> None:
            for role, release in change.releases.items():
                try:
                    if not change.back:
                        store.verify(release, trust, now_ns=now_ns)
                    if not store.remembered(release.sha256):
                        admission = admit(release.bundle, limits)
                        store.remember(release.sha256, as_dict(admission))
                except EdgePerceptionError:
                    raise
                except Exception as error:
                    raise SwapError(f"{role}: {error!r}") from error

        await self._durably(work)
        self._event(change, "admitted")

    async def _prepare(self, change: Change) -> None:
        """Let the nodes load and warm; sessions that are loaded already are taken all at once."""
        if change.warm:
            await self._prepare_at(change, list(change.releases))
            return
        # One node after the other: loading takes the cores that the running models need.
        for role in change.releases:
            await self._prepare_at(change, [role])

    async def _prepare_at(self, change: Change, roles: list[str]) -> None:
        options = self._host.options()
        end_ns = self._host.node.clock.now().steady_ns + round(options.answer_timeout_s * 1e9)
        refused: dict[str, str] = {}
        while roles:
            requests = {
                f"{change.nodes[role]}/prepare_model": self._request(change, role) for role in roles
            }
            answers = await self._host.client.call_all(
                srv.PrepareModel, requests, options.prepare_timeout_s
            )
            again = []
            for role, (name, answer) in zip(roles, answers.items(), strict=True):
                if isinstance(answer, SwapError):
                    refused[role] = str(answer)
                elif answer.success:
                    change.prepared[role] = answer.transaction_id
                else:
                    if await self._waits(change, role, answer.reason):
                        again.append(role)
                    refused[role] = f"{name}: {answer.reason}"
            if set(refused) - set(again) or self._host.node.clock.now().steady_ns > end_ns:
                break
            if again:
                refused.clear()
                await self._host.client.sleep(0.02)
            roles = again
        if refused:
            raise SwapError("; ".join(refused.values()))

    async def _waits(self, change: Change, role: str, reason: str) -> bool:
        """Whether a node that refused takes the same request a little later."""
        if "already (transaction" in reason:
            # Only one manager holds the store, so this was left by one that died.
            await self._host.client.call(
                srv.AbortModel,
                f"{change.nodes[role]}/abort_model",
                srv.AbortModel.Request(),
                self._host.options().answer_timeout_s,
            )
            return True
        return "not taken effect" in reason

    def _request(self, change: Change, role: str) -> srv.PrepareModel.Request:
        release = change.releases[role]
        if change.warm:  # by digest only
            return srv.PrepareModel.Request(sha256=release.sha256)
        manifest = release.manifest
        return srv.PrepareModel.Request(
            name=manifest.name, version=manifest.version, sha256=release.sha256
        )

    async def _try(self, change: Change) -> None:
        async def begin(stage: Stage) -> None:
            await self._step(change, f"{stage.mode} {stage.share:.0%}")

        await SetTrial(self._host, change).run(begin, lambda: self._stop_if_cancelled(change))

    async def _commit(self, change: Change) -> None:
        options = self._host.options()
        if change.warm:
            stamp_ns = self._host.change_stamp_ns(options.rollback_delay_s, soonest=True)
        else:
            stamp_ns = self._host.change_stamp_ns(options.commit_delay_s)
        await self._tell(
            change,
            stamp_ns,
            {
                role: srv.CommitModel.Request(transaction_id=id_)
                for role, id_ in change.prepared.items()
            },
        )

    async def _tell(
        self, change: Change, stamp_ns: int, requests: Mapping[str, srv.CommitModel.Request]
    ) -> dict[str, str]:
        """Tell all nodes before waiting for any; return by role why one did not do it.

        One that is gone starts with the new set.
        """
        futures = {}
        for role, request in requests.items():
            request.effective_stamp = time_msg(stamp_ns)
            name = f"{change.nodes[role]}/commit_model"
            futures[role] = (name, self._host.client.send(srv.CommitModel, name, request))
        self._serving = None
        self._told += 1
        self._host.changed(stamp_ns, {role: change.before[role] for role in change.releases})
        self._event(change, "committed", reason=f"stamp {stamp_ns} ns")
        problems = {}
        for role, (name, future) in futures.items():
            try:
                timeout_s = self._host.options().answer_timeout_s
                answer = await self._host.client.answer(name, future, timeout_s)
                if not answer.success:
                    problems[role] = f"{name}: {answer.reason}"
            except SwapError as error:
                problems[role] = str(error)
        if problems:
            self._event(change, LATE, error=True, reason="; ".join(problems.values()))
        return problems

    async def _undo(self, change: Change, error: BaseException) -> None:
        """Let every node drop what it prepared; the models that ran go on."""
        requests = {
            f"{change.nodes[role]}/abort_model": srv.AbortModel.Request(transaction_id=id_)
            for role, id_ in change.prepared.items()
        }
        timeout_s = self._host.options().answer_timeout_s
        for answer in (
            await self._host.client.call_all(srv.AbortModel, requests, timeout_s)
        ).values():
            if isinstance(answer, SwapError):
                self._host.node.get_logger().warning(f"abort: {answer}")
        try:
            assert change.record is not None
            self._host.store.note(change.record.next("aborted", reason=str(error)))
        except ModelError as problem:  # recovery at the next start says the same
            self._host.node.get_logger().error(f"journal: {problem}")
        self._event(change, "aborted", error=True, reason=str(error))

    # -- a change that only has to be told --

    async def _go_at_once(self, change: Change, why: str) -> None:
        """Let sessions that are still loaded serve again: one record, one message to each node.

        All nodes said that they hold theirs. Where one lost it since, the others do not wait: what
        they leave is worse than a moment without it, and fusion never joins two sets.
        """
        store = self._host.store
        change.record = Record(
            transaction_id=change.transaction_id,
            step="commit",
            before=change.before,
            after=change.after,
            reason=why,
        )
        store.note(change.record)  # here, not in a thread: each turn of the executor takes longer
        delay_s = self._host.options().rollback_delay_s
        problems = await self._tell(
            change,
            self._host.change_stamp_ns(delay_s, soonest=True),
            {
                role: srv.CommitModel.Request(kept_sha256=release.sha256)
                for role, release in change.releases.items()
            },
        )
        try:
            await self._durably(
                lambda: store.set_slots(previous=change.before, current=change.after)
            )
            await self._step(change, "done")
        except EdgePerceptionError as error:
            self._event(change, LATE, error=True, reason=str(error))
            raise
        if problems:
            await self._bring(change, why)

    async def _bring(self, change: Change, why: str) -> None:
        """Load the models of a decided change in the nodes that did not follow it."""
        rest = Change(back=True, serving=await self.look())
        rest.releases = self._releases(rest, change.after)
        if rest.releases:
            await self._run(rest, why, skip_trial=True)

    # -- helpers --

    def _releases(self, change: Change, models: ModelSet) -> dict[str, Any]:
        wanted = change.serving.differing(models)
        return {role: self._host.store.release(sha256) for role, sha256 in wanted.items()}

    async def _durably(self, work: Callable[[], None]) -> None:
        """Write to the disk beside the executor, which has messages to take meanwhile."""
        error = await in_thread(self._host.node, work)
        if error is not None:
            raise error

    def _running(self, version: msg.ModelVersion) -> Bundle:
        if self._host.store.has(version.sha256):
            return self._host.store.release(version.sha256).bundle
        return find_digest(version.sha256, self._host.folders())

    def _adopt(self, change: Change, running: Mapping[str, Bundle]) -> None:
        """Keep what serves, so that it can be gone back to; the first set is the factory's."""
        for bundle in running.values():
            self._host.store.adopt(bundle)
        if not self._host.store.slot("factory"):
            self._host.store.set_slots(factory=change.before, current=change.before)
        old = {running[role].manifest.feature_space for role in change.releases if role != FUSION}
        new = {r.manifest.feature_space for role, r in change.releases.items() if role != FUSION}
        change.spaces_change = old != new

    async def _step(self, change: Change, step: str) -> None:
        assert change.record is not None
        record = change.record = change.record.next(step)
        await self._durably(lambda: self._host.store.note(record))
        self._event(change, step)

    def _event(self, change: Change, event: str, *, error: bool = False, reason: str = "") -> None:
        self._host.event(
            event, change.transaction_id, error=error, reason=reason, models=versions_of(change)
        )

    def _stop_if_cancelled(self, change: Change) -> None:
        if change.cancelled():
            raise SwapError("cancelled by the caller")

    def _one_at_a_time(self, change: Change) -> _Busy:
        return _Busy(self, change)


class _Busy:
    """Refuses a second change while one is under way."""

    def __init__(self, coordinator: SwapCoordinator, change: Change) -> None:
        self._coordinator, self._change = coordinator, change

    def __enter__(self) -> None:
        if self._coordinator._busy:
            raise SwapError(f"a change is under way (transaction {self._coordinator._busy})")
        self._coordinator._busy = self._change.transaction_id

    def __exit__(self, *_: object) -> None:
        self._coordinator._busy = ""
