"""What the operator asks of the fused output, of candidates and of the time after a change.

One file after the manner of OpenSLO: an objective is an indicator, what makes one of its events
good, and the share of good events over a window. The file is the operator's, never the
candidate's; a manifest's objectives can only make the gates stricter. The shipped one is
``config/slo.yaml``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any

from edge_perception.core.errors import ConfigurationError
from edge_perception.core.parameter import parameter
from edge_perception.models.manifest import Objectives
from edge_perception.releases.verdicts import BehaviourGate

SCHEMA = "edge_perception/slo/1"
END_TO_END, DEADLINE, VALID, ERRORS = "end_to_end_ms", "deadline", "valid", "errors"
DRIFT, MEMORY = "drift", "memory"
EVENTS = (END_TO_END, DEADLINE, VALID, ERRORS)  # one event a fused view
STATES = (DRIFT, MEMORY)  # a value of a window, against the time before
WARN, ROLL_BACK = "warn", "roll_back"


@dataclass(frozen=True, kw_only=True)
class Objective:
    """One promise about the fused output."""

    name: str
    indicator: str = parameter(text="what is looked at", choices=(*EVENTS, *STATES))
    # A view within it is a good event; for drift and memory the limit itself.
    at_most: float = parameter(
        0.0, "limit of a value, where the indicator has one", low=0, high=1e6
    )
    target: float = parameter(1.0, "least share of good events", low=0.0, high=1.0)
    window_s: float = parameter(10.0, "looked back", unit="s", low=1.0, high=3600.0)
    min_events: int = parameter(30, "fewer say nothing", low=1, high=10**6)
    on_burn: str = parameter(ROLL_BACK, "what a burn leads to", choices=(WARN, ROLL_BACK))

    def __post_init__(self) -> None:
        """Refuse a limit that nothing reads, or one that is missing."""
        has_limit = self.indicator in (END_TO_END, *STATES)
        if has_limit != (self.at_most > 0.0):
            expected = "a limit above 0" if has_limit else "none"
            raise ConfigurationError(
                f"slo.objectives.{self.name}.at_most: expected {expected} for {self.indicator}, "
                f"got {self.at_most:g}"
            )


@dataclass(frozen=True, kw_only=True)
class TrialGate:
    """What a candidate must hold in shadow and canary, and how surely that is decided."""

    # Sequential probability ratio test: the rate of failed frames that is still good, and the
    # rate that is bad (Wald, 1945).
    error_rate: float = parameter(0.002, "failed frames that are still good", low=1e-6, high=0.4)
    error_rate_bad: float = parameter(0.02, "and that are bad", low=1e-5, high=0.9)
    false_alarm: float = parameter(0.01, "a good candidate is stopped", low=1e-6, high=0.2)
    # So small that a fault in one of a hundred frames, which ends a trial at once, is met before.
    missed_alarm: float = parameter(1e-6, "a bad one passes", low=1e-6, high=0.2)
    latency_increase: float = parameter(
        0.5, "inference time over the current model's, as a share of it", low=0.0, high=100.0
    )
    deadline_ms: float = parameter(0.0, "longest inference; 0: any", unit="ms", low=0.0, high=1e5)
    min_samples: int = parameter(30, "frames of a stage", low=1, high=10**6)
    max_samples: int = parameter(3000, "frames in all, then it is stopped", low=10, high=10**7)
    stage_timeout_s: float = parameter(
        120.0, "of a stage, then it is stopped", unit="s", low=0.1, high=86400.0
    )
    behaviour: BehaviourGate = field(default_factory=BehaviourGate)

    def __post_init__(self) -> None:
        """Check that the two rates of the sequential test differ."""
        if self.error_rate_bad <= self.error_rate:
            raise ConfigurationError(
                f"slo.trial.error_rate_bad: expected more than error_rate {self.error_rate:g}, "
                f"got {self.error_rate_bad:g}"
            )

    def stricter(self, own: Objectives) -> TrialGate:
        """Return the gate with what a manifest asks beyond it; what would be laxer is not heard."""
        changes: dict[str, Any] = {}
        for item in fields(own):
            asked = getattr(own, item.name)
            if asked is None:
                continue
            mine = getattr(self, item.name)
            if item.name == "deadline_ms":
                asked = min(filter(None, (asked, mine)), default=0.0)
            elif item.name in ("min_samples", "false_alarm"):
                asked = max(asked, mine)
            else:
                asked = min(asked, mine)
            changes[item.name] = asked
        if changes.get("error_rate_bad", self.error_rate_bad) <= changes.get(
            "error_rate", self.error_rate
        ):
            # Both ask for less than the other allows: the good rate follows the bad one.
            changes["error_rate"] = changes.get("error_rate_bad", self.error_rate_bad) / 10
        return replace(self, **changes)


@dataclass(frozen=True, kw_only=True)
class WatchGate:
    """How long objectives are watched after a commit, against what time before it."""

    soak_s: float = parameter(
        60.0, "time with fused views; 0: no watch", unit="s", low=0.0, high=86400.0
    )
    before_s: float = parameter(
        60.0, "time before the change that is compared with", unit="s", low=1.0, high=3600.0
    )
    breaker_rollbacks: int = parameter(
        2,
        "rollbacks by itself after which no model changes until a person says so",
        low=1,
        high=100,
    )
    breaker_window_s: float = parameter(86400.0, "within this time", unit="s", low=1.0, high=1e8)


DEFAULT_OBJECTIVES = (
    Objective(name="end_to_end_p99", indicator=END_TO_END, at_most=500.0, target=0.99),
    Objective(name="deadlines", indicator=DEADLINE, target=0.9),
    Objective(name="availability", indicator=VALID, target=0.95),
    Objective(name="errors", indicator=ERRORS, target=0.98),
    Objective(name="drift", indicator=DRIFT, at_most=0.6, min_events=50),
    Objective(name="memory", indicator=MEMORY, at_most=1.5, min_events=1),
)


@dataclass(frozen=True, kw_only=True)
class Slo:
    """The whole file."""

    schema: str = parameter(SCHEMA, choices=(SCHEMA,))
    objectives: tuple[Objective, ...] = DEFAULT_OBJECTIVES
    trial: TrialGate = field(default_factory=TrialGate)
    watch: WatchGate = field(default_factory=WatchGate)

    def __post_init__(self) -> None:
        """Refuse two objectives of one name, and one without."""
        names = [item.name for item in self.objectives]
        for index, name in enumerate(names):
            if not name or name in names[:index]:
                expected = "a name that no other one has" if name else "a name"
                raise ConfigurationError(
                    f"slo.objectives[{index}].name: expected {expected}, got {name!r}"
                )

    def of(self, indicator: str) -> tuple[Objective, ...]:
        """Return the objectives about an indicator."""
        return tuple(item for item in self.objectives if item.indicator == indicator)
