"""May a candidate stay? Decided from counts, paired times and decisions, without clock or thread.

Errors: Wald's sequential probability ratio test, which needs the fewest samples for its two error
rates (A. Wald, Sequential Tests of Statistical Hypotheses, 1945). Latency: a confidence bound on
the mean of the paired differences, so that a busy machine, which slows both, decides nothing.
Decisions: `verdicts.judge_behaviour`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from edge_perception.releases.behaviour import Estimate
from edge_perception.releases.slo import TrialGate
from edge_perception.releases.verdicts import (
    SIGMAS,
    BehaviourVerdict,
    DecisionBar,
    Verdict,
    judge_behaviour,
)


class Action(Enum):
    """What to do now."""

    HOLD = "hold"
    ADVANCE = "advance"
    COMMIT = "commit"
    ROLL_BACK = "roll back"


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One step of a trial."""

    mode: str  # shadow or canary
    share: float


STAGES = (
    Stage(mode="shadow", share=1.0),
    Stage(mode="canary", share=0.10),
    Stage(mode="canary", share=0.25),
    Stage(mode="canary", share=1.0),
)


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Totals since the trial began, as a node counts them."""

    samples: int = 0
    errors: int = 0
    failure: str = ""  # a hard guard: NaN, crash, deadline
    paired: int = 0
    difference_mean_s: float = 0.0
    difference_variance_s2: float = 0.0
    current_mean_s: float = 0.0
    # Decisions of both on the same frames.
    compared: int = 0
    comparable: int = 0  # of these there should be as many; 0: as many as there are
    behaviour: Mapping[str, Estimate] = field(default_factory=dict)  # by check


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """How the decisions of a candidate are judged."""

    bar: DecisionBar
    needs_objects: bool  # nothing else tells whether it sees anything: another feature space


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What to do, and why."""

    action: Action
    reason: str = ""


def error_verdict(objectives: TrialGate, samples: int, errors: int) -> Verdict:
    """Sequential probability ratio test of the error rate."""
    good, bad = objectives.error_rate, objectives.error_rate_bad
    ratio = errors * math.log(bad / good)
    ratio += (samples - errors) * math.log((1 - bad) / (1 - good))
    if ratio >= math.log((1 - objectives.missed_alarm) / objectives.false_alarm):
        return Verdict.BAD
    if ratio <= math.log(objectives.missed_alarm / (1 - objectives.false_alarm)):
        return Verdict.GOOD
    return Verdict.OPEN


def frames_without_error(objectives: TrialGate) -> int:
    """Return after how many frames without an error `error_verdict` is good."""
    step = math.log((1 - objectives.error_rate_bad) / (1 - objectives.error_rate))
    return math.ceil(math.log(objectives.missed_alarm / (1 - objectives.false_alarm)) / step)


def latency_verdict(objectives: TrialGate, evidence: Evidence) -> Verdict:
    """Confidence bound on the mean paired difference against the allowed increase."""
    if evidence.paired < max(objectives.min_samples, 2):
        return Verdict.OPEN
    allowed_s = objectives.latency_increase * evidence.current_mean_s
    error_s = math.sqrt(max(evidence.difference_variance_s2, 0.0) / evidence.paired)
    if evidence.difference_mean_s - SIGMAS * error_s > allowed_s:
        return Verdict.BAD
    if evidence.difference_mean_s + SIGMAS * error_s <= allowed_s:
        return Verdict.GOOD
    return Verdict.OPEN


class Trial:
    """Walks one candidate through the stages."""

    def __init__(
        self,
        objectives: TrialGate,
        *,
        now_s: float,
        stages: tuple[Stage, ...] = STAGES,
        pairs: bool = True,
        comparison: Comparison | None = None,
    ) -> None:
        """Start.

        Args:
            objectives: the operator's, made stricter by the candidate's manifest.
            now_s: steady clock.
            stages: in order; the last one ends in a commit.
            pairs: whether times of the candidate and the current model come in pairs.
            comparison: how its decisions are judged; None: they are not compared.
        """
        self._objectives, self._stages, self._pairs = objectives, stages, pairs
        self._comparison = comparison
        self._behaviour = BehaviourVerdict(verdict=Verdict.GOOD)
        self._index = 0
        self._base = Evidence()
        self._latest = Evidence()
        self._started_s = now_s

    @property
    def stage(self) -> Stage:
        """The stage it is in."""
        return self._stages[self._index]

    def advance(self, now_s: float) -> Stage:
        """Enter the next stage."""
        self._index += 1
        self._base, self._started_s = self._latest, now_s
        return self.stage

    def judge(self, evidence: Evidence, now_s: float) -> Decision:
        """Decide from the newest totals; no data: hold, for too long: roll back."""
        self._latest = evidence
        goals = self._objectives
        if evidence.failure:
            return Decision(action=Action.ROLL_BACK, reason=evidence.failure)
        if error_verdict(goals, evidence.samples, evidence.errors) is Verdict.BAD:
            return Decision(
                action=Action.ROLL_BACK,
                reason=f"{evidence.errors} of {evidence.samples} frames failed: rate "
                f"{goals.error_rate_bad:g} rather than {goals.error_rate:g}",
            )
        latency = latency_verdict(goals, evidence)
        if latency is Verdict.BAD:
            return Decision(
                action=Action.ROLL_BACK,
                reason=f"slower by {evidence.difference_mean_s * 1e3:.1f} ms of "
                f"{evidence.current_mean_s * 1e3:.1f} ms > {goals.latency_increase:.0%}, "
                f"{evidence.paired} pairs",
            )
        self._behaviour = self._judge_behaviour(evidence)
        if self._behaviour.verdict is Verdict.BAD:
            return Decision(action=Action.ROLL_BACK, reason=self._behaviour.reason)
        return self._progress(evidence, latency, now_s)

    @property
    def unseen(self) -> tuple[str, ...]:
        """Checks of behaviour that there was too little evidence for."""
        return self._behaviour.unseen

    def _judge_behaviour(self, evidence: Evidence) -> BehaviourVerdict:
        if self._comparison is None:
            return BehaviourVerdict(verdict=Verdict.GOOD)
        gate = self._objectives.behaviour
        verdict = judge_behaviour(
            gate,
            self._comparison.bar,
            evidence.behaviour,
            evidence.compared,
            needs_objects=self._comparison.needs_objects,
        )
        views = evidence.comparable
        if verdict.verdict is Verdict.BAD or evidence.compared >= gate.min_paired * views:
            return verdict
        text = f"{evidence.compared} of {views} views of the candidate set come with the others"
        late = views >= gate.max_frames
        return BehaviourVerdict(verdict=Verdict.BAD if late else Verdict.OPEN, reason=text)

    def waits_for(self) -> str:
        """Return what is missing before the stage can end; empty: nothing is."""
        goals, evidence = self._objectives, self._latest
        missing = []
        seen = evidence.samples - self._base.samples
        if seen < goals.min_samples:
            missing.append(f"{seen} of {goals.min_samples} frames")
        if self._pairs and latency_verdict(goals, evidence) is Verdict.OPEN:
            missing.append(
                f"latency undecided: {evidence.difference_mean_s * 1e3:+.1f} ms in "
                f"{evidence.paired} pairs"
            )
        if self._behaviour.verdict is Verdict.OPEN:
            missing.append(self._behaviour.reason)
        last = self._index == len(self._stages) - 1
        if last and error_verdict(goals, evidence.samples, evidence.errors) is Verdict.OPEN:
            missing.append(
                f"errors undecided: {evidence.errors} in {evidence.samples} frames, good after "
                f"{frames_without_error(goals)} without one"
            )
        return ", ".join(missing)

    def _progress(self, evidence: Evidence, latency: Verdict, now_s: float) -> Decision:
        goals = self._objectives
        last = self._index == len(self._stages) - 1
        seen = evidence.samples - self._base.samples
        enough = seen >= goals.min_samples
        if self._pairs and latency is not Verdict.GOOD:
            enough = False
        if self._behaviour.verdict is not Verdict.GOOD:
            enough = False
        if last and error_verdict(goals, evidence.samples, evidence.errors) is not Verdict.GOOD:
            enough = False
        if enough:
            return Decision(action=Action.COMMIT if last else Action.ADVANCE)
        if evidence.samples >= goals.max_samples:
            return Decision(
                action=Action.ROLL_BACK,
                reason=f"undecided after {evidence.samples} frames >= {goals.max_samples}",
            )
        if now_s - self._started_s > goals.stage_timeout_s:
            return Decision(
                action=Action.ROLL_BACK,
                reason=f"{self.stage.mode} {self.stage.share:.0%}: {seen} frames in "
                f"{now_s - self._started_s:.1f} s > {goals.stage_timeout_s:g} s; "
                f"{self.waits_for()}",
            )
        return Decision(action=Action.HOLD)
