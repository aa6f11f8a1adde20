"""Shadow and canary of a whole set: every model of it must pass each stage."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edge_perception import srv
from edge_perception.core.errors import SwapError, TrialError
from edge_perception.encoders import encoders, modality_of
from edge_perception.nodes.changes.change import Change
from edge_perception.nodes.changes.parts import ManagerParts
from edge_perception.nodes.links.request_token import sign_request
from edge_perception.releases.behaviour import Estimate
from edge_perception.releases.change_plan import FUSION
from edge_perception.releases.trial import STAGES, Action, Comparison, Evidence, Stage, Trial

STATUS = srv.TrialModel.Request.STATUS
_TRIAL_PERIOD_S = 0.05
_TELL_FIRST_S, _TELL_S = 2.0, 5.0
_SILENT_S = 2.0  # slots of a canary are half a second


class SetTrial:
    """Walks the prepared models of a change through the stages."""

    def __init__(self, parts: ManagerParts, change: Change) -> None:
        self._parts, self._change = parts, change
        self._gates = {
            role: parts.slo().trial.stricter(release.manifest.objectives)
            for role, release in change.releases.items()
        }
        self._trials = {role: self._trial_of(role) for role in change.releases}
        self._frames = dict.fromkeys(change.releases, (0, self._now_s()))  # and when it changed
        self._told_s = 0.0

    def _trial_of(self, role: str) -> Trial:
        """Return the trial of a role: the whole set is judged by what fusion makes of it."""
        gate, whole = self._gates[role], role == FUSION
        behaviour = gate.behaviour
        changes = self._change.spaces_change
        return Trial(
            gate,
            now_s=self._now_s(),
            # Two fusions beside each other share the machine: their times say nothing.
            pairs=not (whole and changes),
            comparison=Comparison(
                bar=behaviour.whole if whole else behaviour.source,
                needs_objects=changes and locates(role),
            ),
        )

    async def run(self, begin: Callable[[Stage], Any]) -> None:
        """Return when all have passed.

        Args:
            begin: notes that a stage begins; awaited.

        Raises:
            TrialError: a model did not pass; it is in quarantine.
            SwapError: a node did not answer, or the change must not go on.
        """
        for index, stage in enumerate(STAGES):
            await begin(stage)
            for role, trial in self._trials.items():
                if index:
                    trial.advance(self._now_s())
                await self._ask(role, stage.mode, stage.share)
            self._told_s = self._now_s() - _TELL_S + _TELL_FIRST_S
            while not await self._passed():
                self._change.check()
                self._tell()
                await self._parts.client.sleep(_TRIAL_PERIOD_S)
        self._change.waits_for = ""

    def _tell(self) -> None:
        """Say what is missing: in diagnostics always, to who asked now and then."""
        now_s = self._now_s()
        texts = []
        for role, trial in self._trials.items():
            missing = trial.waits_for()
            silent_s = now_s - self._frames[role][1]
            if missing and silent_s > _SILENT_S:
                missing += f", no frame for {silent_s:.0f} s"
            if missing:
                texts.append(f"{role}: {missing}")
        stage = next(iter(self._trials.values())).stage
        self._change.waits_for = f"{stage.mode} {stage.share:.0%}: {'; '.join(texts)}"
        if texts and now_s > self._told_s + _TELL_S:
            self._told_s = now_s
            change = self._change
            self._parts.events.hint(change.transaction_id, change.waits_for, change.caller.told)

    async def _passed(self) -> bool:
        ready = True
        for role, trial in self._trials.items():
            answer = await self._ask(role, STATUS, 0.0)
            if answer.samples != self._frames[role][0]:
                self._frames[role] = (answer.samples, self._now_s())
            decision = trial.judge(_evidence(answer), self._now_s())
            if decision.action is Action.ROLL_BACK:
                release = self._change.releases[role]
                self._parts.managed.store.notes.quarantine(release.sha256, decision.reason)
                raise TrialError(
                    f"{role}: {release.manifest.name} {release.manifest.version} rolled back in "
                    f"{trial.stage.mode} {trial.stage.share:.0%} after {answer.samples} frames: "
                    f"{decision.reason}"
                )
            ready &= decision.action in (Action.ADVANCE, Action.COMMIT)
        return ready

    async def _ask(self, role: str, mode: str, share: float) -> Any:
        name = f"{self._change.nodes[role]}/trial_model"
        request = srv.TrialModel.Request(
            transaction_id=self._change.prepared[role],
            mode=mode,
            share=share,
            deadline_ms=self._gates[role].deadline_ms,
        )
        if mode != STATUS:
            sign_request(self._parts.managed, name, request)
        timeout_s = self._parts.options().answer_timeout_s
        answer = await self._parts.client.call(srv.TrialModel, name, request, timeout_s)
        if not answer.success:
            raise SwapError(f"{name}: {answer.reason}")
        return answer

    def _now_s(self) -> float:
        return self._parts.steady_ns() / 1e9


def _evidence(answer: Any) -> Evidence:
    return Evidence(
        samples=answer.samples,
        errors=answer.errors,
        failure=answer.failure,
        paired=answer.paired,
        difference_mean_s=answer.difference_mean_s,
        difference_variance_s2=answer.difference_variance_s2,
        current_mean_s=answer.current_mean_s,
        compared=answer.compared,
        comparable=answer.comparable,
        behaviour={
            name: Estimate(mean=mean, error=error, count=count, blocks=blocks)
            for name, mean, error, count, blocks in zip(
                answer.checks,
                answer.means,
                answer.mean_errors,
                answer.counts,
                answer.blocks,
                strict=True,
            )
        },
    )


def locates(role: str) -> bool:
    """Whether the decisions of a role are objects in space."""
    return role == FUSION or encoders()[modality_of(role)].locates
