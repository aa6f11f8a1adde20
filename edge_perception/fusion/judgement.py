"""How much stands behind a view: mode, confidence, validity. The third step of a frame in fusion.

One definition, here, in FusedPerception.msg and in docs/degradation.md: a view is FULL where every
source is OK, hysteresis included, and those that set the pace meet in one view.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from edge_perception.core.conditions import NOT_KNOWN, Conditions
from edge_perception.core.rate import RateMeter, window_for
from edge_perception.core.types import (
    UNKNOWN,
    Instant,
    Mode,
    SourceState,
    SourceStatus,
)
from edge_perception.fusion.config import NS, FusionConfig
from edge_perception.fusion.meeting import Apart
from edge_perception.fusion.policy import (
    Action,
    DegradationPolicy,
    PolicyState,
    Situation,
    Verdict,
)
from edge_perception.fusion.reactions import ReactionState


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """How much stands behind a message."""

    mode: Mode
    valid: bool
    reason: str  # why it is not valid, or not FULL
    confidence: float = UNKNOWN  # 0 to 1
    safe_stop_reason: str = ""
    deadline_s: float = 0.0  # of the next cycle; 0: as configured
    min_score: float = 0.0  # objects below are left out
    speed_advice_mps: float = UNKNOWN  # at most, for the conditions; NaN: none
    # Bundle that should serve and the condition, by source.
    variants: Mapping[str, tuple[str, str]] = field(default_factory=dict)


class Judge:
    """Applies the degradation policy to one view after the other."""

    def __init__(self, policy: DegradationPolicy) -> None:
        self._policy = PolicyState(policy)
        self._reactions = ReactionState(policy.conditions)
        self._outputs = RateMeter()

    def configure(self, config: FusionConfig) -> None:
        """Take the sources.

        Raises:
            ConfigurationError: the policy names one that is not there.
        """
        self._policy.policy.check_sources(config.sources)
        self._outputs.set_window(window_for(max(item.rate_hz for item in config.sources)))

    def step(
        self,
        now: Instant,
        config: FusionConfig,
        *,
        raws: Mapping[str, SourceState],
        statuses: tuple[SourceStatus, ...],
        stamps_ns: Collection[int],
        apart: Sequence[Apart],
        conditions: Conditions = NOT_KNOWN,
    ) -> Judgement:
        """Return the judgement of a view.

        Args:
            now: when its cycle closed.
            config: of fusion.
            raws: state of each source, without hysteresis.
            statuses: what the view says of its sources.
            stamps_ns: of what contributes.
            apart: sources that do not meet.
            conditions: as all sources together see them.
        """
        self._outputs.add(now.steady_ns)
        situation = Situation(
            sources=config.sources,
            statuses=statuses,
            in_time=[name for name, raw in raws.items() if raw is SourceState.OK],
            apart=[frozenset(pair.sources) for pair in apart],
            oldest_age_s=(now.node_ns - min(stamps_ns)) / NS if stamps_ns else UNKNOWN,
            rate_hz=self._outputs.rate_hz(now.steady_ns) or UNKNOWN,
            reaction=self._reactions.step(conditions, now.steady_ns),
        )
        verdict = self._policy.step(situation, now.steady_ns)
        if apart:  # the short wait of a worse mode must not be what keeps them from meeting
            verdict = replace(verdict, deadline_s=0.0)
        judgement = judge(situation, verdict, [pair.text for pair in apart])
        return replace(
            judgement,
            min_score=situation.reaction.min_score,
            speed_advice_mps=situation.reaction.speed_advice_mps,
            variants=situation.reaction.variants,
        )


def judge(situation: Situation, verdict: Verdict, apart: Sequence[str] = ()) -> Judgement:
    """Decide validity from what the policy says and from the required sources.

    A source that is in time and has just nothing new (its one frame was lost, or its rate is lower
    than the output's) takes no validity away, even while it recovers; any other source that did
    not contribute is absent.
    """
    not_ok = [item for item in situation.statuses if item.state is not SourceState.OK]
    problems = [f"{item.source}: {item.state.name}, {item.reason}" for item in not_ok]
    reason = "; ".join(filter(None, (*problems, *apart, verdict.limit)))
    contributing = {item.source for item in situation.statuses if item.contributed}
    present = contributing | set(situation.in_time)
    locating = {item.source for item in situation.sources if item.locates}
    lost = [s.source for s in situation.sources if s.required and s.source not in present]
    valid = verdict.action is Action.PUBLISH
    if not contributing:
        valid = False
        reason = f"no source contributes: {reason}" if reason else "no source contributes"
    elif not contributing & locating:
        # Without a source that sees, an empty list of objects must not read as a free road.
        valid = not locating
        if not valid:
            reason = f"no source that locates objects contributes: {reason}"
    elif not valid:
        reason = f"mode {verdict.mode.name} is not valid by policy: {reason}"
    if lost:
        valid = False
        reason = f"required source missing ({', '.join(lost)}): {reason}"
    return Judgement(
        mode=verdict.mode,
        valid=valid,
        reason=reason,
        confidence=verdict.confidence,
        safe_stop_reason=verdict.safe_stop_reason,
        deadline_s=verdict.deadline_s,
    )
