"""What the output promises with what is left: modes and actions as data, hysteresis as a step.

A policy lists the modes from best to worst with the sources each needs. The first mode whose needs
are met holds. Losing a mode takes effect at once, because a message must not claim more than it
has; gaining one may wait. The shipped policy is ``config/degradation.yaml``.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path

import yaml

from edge_perception.core.errors import ConfigurationError
from edge_perception.core.parameter import parameter
from edge_perception.core.schema import decode
from edge_perception.core.types import Mode, SourceState, SourceStatus
from edge_perception.documents.yaml_text import parse_yaml
from edge_perception.fusion.config import NS, SourceConfig
from edge_perception.fusion.reactions import NO_REACTION, ConditionPolicy, Reaction

ALL, ANY, LOCATING = "all", "any", "locating"  # words for groups of sources
MAX_POLICY_BYTES = 65536


class Action(Enum):
    """What a mode does with the output."""

    PUBLISH = "publish"  # publish, with the mode's confidence
    INVALID = "invalid"  # publish with valid=false
    SAFE_STOP = "safe_stop"  # the same, and ask for a safe stop


@dataclass(frozen=True, kw_only=True)
class ModePolicy:
    """One mode. Sources are named by source, by modality, or as all, any or locating."""

    mode: Mode
    # Each OK, though it may have nothing new in this cycle, and met by the others in one view.
    all_of: tuple[str, ...] = ()
    any_of: tuple[str, ...] = ()  # at least one contributes to this cycle
    # Longest wait of a cycle that opens in this mode; 0: `deadline_s` of fusion.
    deadline_s: float = parameter(0.0, unit="s", low=0.0, high=10.0)
    max_age_s: float = parameter(0.0, unit="s", low=0.0, high=60.0)
    min_rate_hz: float = parameter(0.0, unit="Hz", low=0.0, high=200.0)
    action: Action = Action.PUBLISH
    confidence: float = parameter(1.0, low=0.0, high=1.0)  # at most
    safe_stop_after_s: float = parameter(0.0, unit="s", low=0.0, high=60.0)


@dataclass(frozen=True, kw_only=True)
class DegradationPolicy:
    """Modes from best to worst, and how confidence falls."""

    schema_version: int = parameter(low=1, high=1)
    modes: tuple[ModePolicy, ...]
    weights: Mapping[str, float] = field(default_factory=dict)  # of sources or modalities
    doubtful_weight: float = parameter(0.5, low=0.0, high=1.0)
    fresh_s: float = parameter(0.2, unit="s", low=0.0, high=60.0)
    half_life_s: float = parameter(0.5, unit="s", low=0.001, high=60.0)
    up_after_s: float = parameter(0.0, unit="s", low=0.0, high=60.0)
    release_after_s: float = parameter(1.0, unit="s", low=0.0, high=60.0)
    conditions: tuple[ConditionPolicy, ...] = ()  # what conditions change; none: nothing

    def __post_init__(self) -> None:
        """Check that every set of sources leads to exactly one mode."""
        named = [item.mode for item in self.modes]
        if named != sorted(set(named), reverse=True):
            raise ConfigurationError(
                "policy.modes: expected each mode at most once, from full to none, got "
                + ", ".join(mode.name.lower() for mode in named)
            )
        last = self.modes[-1] if self.modes else None
        if last is None or last.mode is not Mode.NONE or last.all_of or last.any_of:
            raise ConfigurationError("policy.modes: expected a last mode 'none' without needs")
        if last.action is Action.PUBLISH:
            raise ConfigurationError("policy.modes.none.action: expected invalid or safe_stop")
        for name, weight in self.weights.items():
            if not 0.0 <= weight <= 1.0:
                raise ConfigurationError(f"policy.weights.{name}: expected 0 to 1, got {weight}")

    def check_sources(self, sources: tuple[SourceConfig, ...]) -> None:
        """Refuse names that are neither a source nor a modality, which would never be met."""
        known = {ALL, ANY, LOCATING, *(s.source for s in sources), *(s.modality for s in sources)}
        served = {source.source for source in sources}
        for entry in self.conditions:
            for name, variant in entry.variants.items():
                if name not in served or not variant:
                    raise ConfigurationError(
                        f"policy.conditions.{entry.condition}.variants: expected a bundle for one "
                        f"of {', '.join(sorted(served))}, got '{name}': '{variant}'"
                    )
        for item in self.modes:
            for name in (*item.all_of, *item.any_of):
                if name not in known:
                    raise ConfigurationError(
                        f"policy.modes.{item.mode.name.lower()}: unknown source '{name}'; known: "
                        + ", ".join(sorted(known))
                    )


@dataclass(frozen=True, kw_only=True)
class Situation:
    """What the policy looks at."""

    sources: tuple[SourceConfig, ...]
    statuses: tuple[SourceStatus, ...]
    in_time: Collection[str]  # sources whose last valid feature is young enough
    apart: Collection[frozenset[str]] = ()  # pairs of sources that do not meet in one view
    oldest_age_s: float  # of the contributing evidence; NaN: there is none
    rate_hz: float  # of the output; NaN: not known yet
    reaction: Reaction = NO_REACTION  # to the conditions


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the policy says."""

    mode: Mode
    action: Action
    confidence: float  # 0 to 1
    deadline_s: float = 0.0  # of the next cycle; 0: as configured
    safe_stop_reason: str = ""
    limit: str = ""  # a limit other than missing sources that cost the better mode


class PolicyState:
    """Applies a policy over time; the time is an argument."""

    def __init__(self, policy: DegradationPolicy) -> None:
        self.policy = policy
        self._mode: Mode | None = None
        self._better_since_ns: int | None = None
        self._stopping: dict[Mode, int] = {}  # since when such a mode holds, steady clock
        self._stop_reason, self._good_since_ns = "", 0

    def step(self, situation: Situation, now_ns: int) -> Verdict:
        """Return the verdict for a view closed at `now_ns`, steady clock."""
        met, limit = _best_met(self.policy, situation)
        mode = self._settled(met.mode, now_ns)
        entry = next(item for item in self.policy.modes if item.mode is mode)
        if mode is Mode.MINIMAL and not any(item.locates for item in situation.sources):
            entry = replace(entry, action=Action.PUBLISH)  # all that this robot ever has
        waiting = "" if mode is met.mode else f"{met.mode.name} settles"
        return Verdict(
            mode=mode,
            action=entry.action,
            confidence=min(
                confidence(self.policy, entry, situation), situation.reaction.confidence
            ),
            deadline_s=entry.deadline_s,
            safe_stop_reason=self._safe_stop(entry, now_ns),
            limit=limit or waiting,
        )

    def _settled(self, met: Mode, now_ns: int) -> Mode:
        """Let a better mode hold only after its time; a worse one at once."""
        if self._mode is None or met <= self._mode or not self.policy.up_after_s:
            self._mode, self._better_since_ns = met, None
            return met
        if self._better_since_ns is None:
            self._better_since_ns = now_ns
        if now_ns - self._better_since_ns >= self.policy.up_after_s * NS:
            self._mode, self._better_since_ns = met, None
        return self._mode

    def _safe_stop(self, entry: ModePolicy, now_ns: int) -> str:
        if entry.action is Action.SAFE_STOP:
            # Modes as bad as this one count too: a robot does not gain time by getting blinder.
            since_ns = min([*self._stopping.values(), now_ns])
            self._stopping.setdefault(entry.mode, now_ns)
            self._good_since_ns = 0
            held_s = (now_ns - since_ns) / NS
            if self._stop_reason or held_s >= entry.safe_stop_after_s:
                self._stop_reason = (
                    f"mode {entry.mode.name} for {held_s:.2f} s >= {entry.safe_stop_after_s:.2f} s"
                )
            return self._stop_reason
        self._stopping.clear()
        if self._stop_reason:
            self._good_since_ns = self._good_since_ns or now_ns
            if now_ns - self._good_since_ns >= self.policy.release_after_s * NS:
                self._stop_reason = ""
        return self._stop_reason


def confidence(policy: DegradationPolicy, entry: ModePolicy, situation: Situation) -> float:
    """Return 0 to 1: the mode's own, times the share of the sources, times their freshness.

    The share is the weight of the sources that are OK over the weight of all; a doubtful one, with
    a warning or used although it is not OK, counts `doubtful_weight`. Freshness is 1 up to
    `fresh_s` of the oldest evidence and halves every `half_life_s` after it.
    """
    total = present = 0.0
    for source, status in zip(situation.sources, situation.statuses, strict=True):
        default = 1.0 if source.locates else 0.3
        weight = policy.weights.get(source.source, policy.weights.get(source.modality, default))
        total += weight
        if status.state is SourceState.OK and not status.warning:
            present += weight
        elif status.state is SourceState.OK or status.contributed:
            present += weight * policy.doubtful_weight
    if math.isnan(situation.oldest_age_s) or not total:
        return 0.0
    excess_s = max(0.0, situation.oldest_age_s - policy.fresh_s)
    freshness: float = 0.5 ** (excess_s / policy.half_life_s)
    return entry.confidence * present / total * freshness


def _best_met(policy: DegradationPolicy, situation: Situation) -> tuple[ModePolicy, str]:
    """Return the best mode whose needs are met, and the limit that cost a better one."""
    contributing = {status.source for status in situation.statuses if status.contributed}
    fine = {status.source for status in situation.statuses if status.state is SourceState.OK}
    limit = ""
    for entry in policy.modes[:-1]:
        if entry.mode > situation.reaction.at_best:
            limit = situation.reaction.reason
            continue
        needed = frozenset().union(*(_group(name, situation.sources) for name in entry.all_of))
        if not needed <= fine or any(pair <= needed for pair in situation.apart):
            continue
        if entry.any_of and not any(
            _group(name, situation.sources) & contributing for name in entry.any_of
        ):
            continue
        exceeded = _exceeded(entry, situation)
        if not exceeded:
            return entry, limit
        limit = limit or exceeded
    return policy.modes[-1], limit


def _exceeded(entry: ModePolicy, situation: Situation) -> str:
    if entry.max_age_s and situation.oldest_age_s > entry.max_age_s:
        return (
            f"{entry.mode.name} needs evidence younger than {entry.max_age_s:.2f} s, "
            f"got {situation.oldest_age_s:.2f} s"
        )
    if entry.min_rate_hz and situation.rate_hz < entry.min_rate_hz:
        return f"{entry.mode.name} needs {entry.min_rate_hz:.1f} Hz, got {situation.rate_hz:.1f} Hz"
    return ""


def _group(name: str, sources: tuple[SourceConfig, ...]) -> frozenset[str]:
    if name in (ALL, ANY):
        return frozenset(item.source for item in sources)
    if name == LOCATING:
        return frozenset(item.source for item in sources if item.locates)
    return frozenset(item.source for item in sources if name in (item.source, item.modality))


def read_policy(path: Path) -> DegradationPolicy:
    """Read a policy from YAML.

    Raises:
        ConfigurationError: the file is missing, too large, no YAML, or does not fit; it is named.
    """
    try:
        if path.stat().st_size > MAX_POLICY_BYTES:
            raise ConfigurationError(f"{path}: expected at most {MAX_POLICY_BYTES} bytes")
        data = parse_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigurationError(f"{path}: expected a degradation policy: {error}") from error
    return decode(DegradationPolicy, data, str(path))


@functools.cache
def default_policy() -> DegradationPolicy:
    """Return the policy that ``config/degradation.yaml`` spells out."""
    return DegradationPolicy(
        schema_version=1,
        modes=(
            ModePolicy(mode=Mode.FULL, all_of=(ALL,), any_of=(LOCATING,)),
            ModePolicy(mode=Mode.DEGRADED, any_of=(LOCATING,), confidence=0.8),
            ModePolicy(
                mode=Mode.MINIMAL,
                any_of=(ANY,),
                action=Action.SAFE_STOP,
                confidence=0.3,
                safe_stop_after_s=0.5,
            ),
            ModePolicy(
                mode=Mode.NONE, action=Action.SAFE_STOP, confidence=0.0, safe_stop_after_s=0.5
            ),
        ),
    )
