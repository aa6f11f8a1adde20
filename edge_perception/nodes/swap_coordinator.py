"""One change of models from the request to the end, through the services of the nodes."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from edge_perception import msg, srv
from edge_perception.core.errors import EdgePerceptionError, ModelError, SwapError, TrialError
from edge_perception.models.admission import AdmissionLimits, admit, as_dict
from edge_perception.models.change_plan import FUSION, plan_change
from edge_perception.models.journal import Record
from edge_perception.models.manifest import Bundle
from edge_perception.models.release_store import ModelSet, Release, ReleaseStore
from edge_perception.models.signing import Trust
from edge_perception.models.store import find_digest
from edge_perception.models.trial import STAGES, Action, Evidence, Trial
from edge_perception.nodes.conversion import time_msg
from edge_perception.nodes.model_client import ModelClient
from edge_perception.nodes.model_services import KEPT, in_thread

STATUS = srv.TrialModel.Request.STATUS
_TRIAL_PERIOD_S = 0.05


class Host(Protocol):
    """What a change needs of the manager's node."""

    node: Any
    client: ModelClient
    store: ReleaseStore
    options: Any

    def event(
        self,
        event: str,
        transaction_id: str,
        *,
        error: bool = False,
        reason: str = "",
        models: list[msg.ModelVersion] | None = None,
    ) -> None:
        """Publish and log a step."""
        ...

    def trust(self) -> Trust:
        """Return the trusted keys."""
        ...

    def folders(self) -> list[Any]:
        """Return the folders of bundles that came with the software."""
        ...

    def change_stamp_ns(self, delay_s: float, *, soonest: bool = False) -> int:
        """Return at which stamp a change takes effect."""
        ...


@dataclass(kw_only=True)
class Change:
    """A change under way."""

    transaction_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    record: Record | None = None
    nodes: dict[str, str] = field(default_factory=dict)  # node by role
    prepared: dict[str, str] = field(default_factory=dict)  # the node's transaction by role
    releases: dict[str, Release] = field(default_factory=dict)
    versions: dict[str, msg.ModelVersion] = field(default_factory=dict)  # before, by role
    before: ModelSet = field(default_factory=dict)
    kept: dict[str, str] = field(default_factory=dict)  # digest that is still loaded, by role
    back: bool = False  # to models that served before
    spaces_change: bool = False
    cancelled: Callable[[], bool] = lambda: False

    @property
    def warm(self) -> bool:
        """Whether all that is to serve is loaded already, so that only a commit is missing."""
        return self.back and all(
            self.kept.get(role) == release.sha256 for role, release in self.releases.items()
        )

    @property
    def after(self) -> dict[str, str]:
        """The set that is to serve."""
        return {**self.before, **{role: r.sha256 for role, r in self.releases.items()}}


class SwapCoordinator:
    """Runs changes one at a time; every failure leaves what ran before."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._busy = ""

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
            await self._look(change)
            candidate = self._host.store.find(name, version)
            running = {role: self._running(v) for role, v in change.versions.items()}
            change.releases = plan_change(
                running={name: bundle.manifest for name, bundle in running.items()},
                candidate=candidate,
                role=role,
                stored=self._host.store.releases(),
            )
            self._adopt(change, running)
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
            await self._look(change)
            for role, sha256 in models.items():
                if role in change.versions and change.versions[role].sha256 != sha256:
                    change.releases[role] = self._host.store.release(sha256)
            if not change.releases:
                raise SwapError(f"{why}: these models serve already")
            left = [change.versions[role].sha256 for role in change.releases]
            await self._run(change, why, skip_trial=True)
            if quarantine:
                for sha256 in left:
                    self._host.store.quarantine(sha256, quarantine)
        return change

    # -- steps --

    async def _run(self, change: Change, name: str, *, skip_trial: bool) -> None:
        host, store = self._host, self._host.store
        change.record = store.begin(change.transaction_id, change.before, change.after, name)
        committed = False
        try:
            self._event(change, "begin", reason=name)
            if change.warm:
                await self._prepare_kept(change)
            else:
                await self._check(change)
                self._stop_if_cancelled(change)
                await self._prepare(change)
            self._step(change, "prepared")
            if not skip_trial:
                await self._try(change)
            self._stop_if_cancelled(change)
            self._step(change, "commit")
            committed = True
            store.set_slots(previous=change.before, current=change.after)
            await self._commit(change)
            self._step(change, "done")
        except BaseException as error:
            if not committed:
                await self._undo(change, error)
            else:
                # The decision is on disk: what did not hear of it comes to it later.
                self._event(change, "late", error=True, reason=str(error))
                host.node.get_logger().error(f"{name}: committed, but {error}")
            raise

    async def _check(self, change: Change) -> None:
        """Verify and admit every release; what was measured here before is not measured again."""
        store, options = self._host.store, self._host.options()
        now_ns = self._host.node.get_clock().now().nanoseconds
        trust = self._host.trust()
        for role, release in change.releases.items():

            def work(release: Release = release) -> None:
                if not change.back:
                    store.verify(release, trust, now_ns=now_ns)
                if not store.remembered(release.sha256):
                    admission = admit(release.bundle, _limits(options))
                    store.remember(release.sha256, as_dict(admission))

            error = await in_thread(self._host.node, work)
            if error is not None:
                if not isinstance(error, EdgePerceptionError):
                    raise SwapError(f"{role}: {error!r}") from error
                raise error
        self._event(change, "admitted")

    async def _prepare(self, change: Change) -> None:
        """One node after the other: loading takes the cores that the running models need."""
        options = self._host.options()
        for role, release in change.releases.items():
            node = change.nodes[role]
            request = srv.PrepareModel.Request(
                name=release.manifest.name,
                version=release.manifest.version,
                sha256=release.sha256,
            )
            end_ns = self._host.node.clock.now().steady_ns + round(options.answer_timeout_s * 1e9)
            while True:
                answer = await self._host.client.call(
                    srv.PrepareModel, f"{node}/prepare_model", request, options.prepare_timeout_s
                )
                waits = "not taken effect" in answer.reason
                if "already (transaction" in answer.reason:
                    # Only one manager holds the store, so this was left by one that died.
                    await self._drop(node)
                    waits = True
                if not waits or self._host.node.clock.now().steady_ns > end_ns:
                    break
                await self._host.client.sleep(0.02)
            if not answer.success:
                raise SwapError(f"{node} refused {request.name}: {answer.reason}")
            change.prepared[role] = answer.transaction_id

    async def _prepare_kept(self, change: Change) -> None:
        """Take the sessions that served before, in all nodes at once; nothing is loaded."""
        requests = {
            f"{change.nodes[role]}/prepare_model": srv.PrepareModel.Request(sha256=release.sha256)
            for role, release in change.releases.items()
        }
        answers = await self._host.client.call_all(
            srv.PrepareModel, requests, self._host.options().prepare_timeout_s
        )
        refused = []
        for (role, _), (name, answer) in zip(change.releases.items(), answers.items(), strict=True):
            if isinstance(answer, SwapError):
                refused.append(str(answer))
            elif answer.success:
                change.prepared[role] = answer.transaction_id
            else:
                refused.append(f"{name}: {answer.reason}")
        if refused:
            raise SwapError("; ".join(refused))

    async def _drop(self, node: str) -> None:
        """Let a node drop what it holds prepared, whoever asked for it."""
        await self._host.client.call(
            srv.AbortModel,
            f"{node}/abort_model",
            srv.AbortModel.Request(),
            self._host.options().answer_timeout_s,
        )

    async def _try(self, change: Change) -> None:
        """Shadow and canary; every model of the set must pass each stage."""
        now_s = self._now_s()
        trials = {
            role: Trial(
                release.manifest.objectives,
                now_s=now_s,
                pairs=not (role == FUSION and change.spaces_change),
            )
            for role, release in change.releases.items()
        }
        for index, stage in enumerate(STAGES):
            self._step(change, f"{stage.mode} {stage.share:.0%}")
            for role, trial in trials.items():
                if index:
                    trial.advance(self._now_s())
                await self._ask(change, role, stage.mode, stage.share)
            while not await self._passed(change, trials, index):
                self._stop_if_cancelled(change)
                await self._host.client.sleep(_TRIAL_PERIOD_S)

    async def _passed(self, change: Change, trials: Mapping[str, Trial], index: int) -> bool:
        ready = True
        for role, trial in trials.items():
            answer = await self._ask(change, role, STATUS, 0.0)
            evidence = Evidence(
                samples=answer.samples,
                errors=answer.errors,
                failure=answer.failure,
                paired=answer.paired,
                difference_mean_s=answer.difference_mean_s,
                difference_variance_s2=answer.difference_variance_s2,
                current_mean_s=answer.current_mean_s,
            )
            decision = trial.judge(evidence, self._now_s())
            idle = index == 0 and role == FUSION and change.spaces_change
            if decision.action is Action.ROLL_BACK and not idle:
                release = change.releases[role]
                self._host.store.quarantine(release.sha256, decision.reason)
                raise TrialError(
                    f"{role}: {release.manifest.name} {release.manifest.version} rolled back in "
                    f"{trial.stage.mode} {trial.stage.share:.0%} after {answer.samples} frames: "
                    f"{decision.reason}"
                )
            ready &= idle or decision.action in (Action.ADVANCE, Action.COMMIT)
        return ready

    async def _ask(self, change: Change, role: str, mode: str, share: float) -> Any:
        name = f"{change.nodes[role]}/trial_model"
        request = srv.TrialModel.Request(
            transaction_id=change.prepared[role], mode=mode, share=share
        )
        timeout_s = self._host.options().answer_timeout_s
        answer = await self._host.client.call(srv.TrialModel, name, request, timeout_s)
        if not answer.success:
            raise SwapError(f"{name}: {answer.reason}")
        return answer

    async def _commit(self, change: Change) -> None:
        """Tell all nodes before waiting for any; one that is gone starts with the new set."""
        options = self._host.options()
        if change.warm:
            stamp_ns = self._host.change_stamp_ns(options.rollback_delay_s, soonest=True)
        else:
            stamp_ns = self._host.change_stamp_ns(options.commit_delay_s)
        futures = {}
        for role, transaction_id in change.prepared.items():
            name = f"{change.nodes[role]}/commit_model"
            request = srv.CommitModel.Request(
                transaction_id=transaction_id, effective_stamp=time_msg(stamp_ns)
            )
            futures[name] = self._host.client.send(srv.CommitModel, name, request)
        self._event(change, "committed", reason=f"stamp {stamp_ns} ns")
        problems = []
        for name, future in futures.items():
            try:
                answer = await self._host.client.answer(name, future, options.answer_timeout_s)
                if not answer.success:
                    problems.append(f"{name}: {answer.reason}")
            except SwapError as error:
                problems.append(str(error))
        if problems:
            self._event(change, "late", error=True, reason="; ".join(problems))

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

    # -- helpers --

    async def _look(self, change: Change) -> None:
        """Ask what serves now."""
        infos, silent = await self._host.client.versions(self._host.options().answer_timeout_s)
        if silent:
            raise SwapError(f"nodes that do not answer: {', '.join(silent)}")
        for info in infos:
            if info.slot == KEPT:
                change.kept[info.model.role] = info.model.sha256
                continue
            change.nodes[info.model.role] = info.node
            change.versions[info.model.role] = info.model
        change.before = {role: model.sha256 for role, model in change.versions.items()}

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

    def _step(self, change: Change, step: str) -> None:
        assert change.record is not None
        change.record = change.record.next(step)
        self._host.store.note(change.record)
        self._event(change, step)

    def _event(self, change: Change, event: str, *, error: bool = False, reason: str = "") -> None:
        models = [_version(release, role) for role, release in change.releases.items()]
        self._host.event(event, change.transaction_id, error=error, reason=reason, models=models)

    def _stop_if_cancelled(self, change: Change) -> None:
        if change.cancelled():
            raise SwapError("cancelled by the caller")

    def _now_s(self) -> float:
        return float(self._host.node.clock.now().steady_ns / 1e9)

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


def _limits(options: Any) -> AdmissionLimits:
    return AdmissionLimits(
        memory_mb=options.admission_memory_mb,
        deadline_s=options.admission_deadline_s,
        latency_factor=options.admission_latency_factor,
        reserve_mb=options.admission_reserve_mb,
    )


def _version(release: Release, role: str) -> msg.ModelVersion:
    version = release.bundle.version_for(role)
    return msg.ModelVersion(
        role=role,
        name=version.name,
        version=version.version,
        sha256=version.sha256,
        feature_space=version.feature_space,
    )
