"""When a fused message is worth keeping. Reads attributes, imports no ROS."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edge_perception.core.errors import UnknownNameError
from edge_perception.core.parameter import parameter
from edge_perception.recordings.doubts import Disagreements, DoubtLimits, Doubts

MODES = ("NONE", "MINIMAL", "DEGRADED", "FULL")
USUAL = ("mode", "uncertainty", "disagreement", "swap", "load")
# Moments for people to label: more of them than anybody wants without a budget.
DOUBTS = ("entropy", "margin", "doubt", "nearmiss", "condition", "drift", "trial")
KINDS = (*USUAL, *DOUBTS)


@dataclass(frozen=True, kw_only=True)
class TriggerOptions:
    """Which events, and their limits."""

    kinds: tuple[str, ...] = USUAL
    doubts: DoubtLimits = field(default_factory=DoubtLimits)
    low_score: float = parameter(0.3, low=0.0, high=1.0)
    high_score: float = parameter(0.5, low=0.0, high=1.0)
    uncertain_objects: int = parameter(8, low=1, high=10000)
    alone_range_m: float = parameter(25.0, unit="m", low=0.0, high=200.0)
    alone_messages: int = parameter(5, low=1, high=1000)

    def __post_init__(self) -> None:
        """Check the kinds."""
        for kind in self.kinds:
            if kind not in KINDS:
                raise UnknownNameError(kind="trigger", name=kind, known=list(KINDS))


class Triggers:
    """Looks at successive FusedPerception messages; each change is told once."""

    def __init__(self, options: TriggerOptions, *, locates: Callable[[str], bool]) -> None:
        """Look at nothing yet.

        Args:
            options: which events, and their limits.
            locates: whether sources of a modality place objects in space.
        """
        self._options, self._locates = options, locates
        self._mode: int | None = None
        self._models: dict[str, str] = {}
        self._given_up: dict[str, str] = {}
        self._uncertain = False
        self._alone = 0
        self._doubts, self._trials = Doubts(options.doubts), Disagreements()
        self._drifted: dict[str, str] = {}

    def look(self, message: Any) -> dict[str, str]:
        """Return why this message is worth keeping, by kind; empty: it is not."""
        load, loaded = self._load(message)
        doubts = self._doubts.look(message) if set(self._options.kinds) & set(DOUBTS) else {}
        found = doubts | {
            "mode": self._mode_change(message),
            "swap": self._swap(message, loaded),
            "load": load,
            "uncertainty": self._uncertainty(message),
            "disagreement": self._disagreement(message),
        }
        return self._wanted(found)

    def look_at_drift(self, source: str, drift: str) -> dict[str, str]:
        """Return why what an encoder says of drift is worth keeping what it sees.

        Args:
            source: of the encoder.
            drift: value of its diagnostics.
        """
        before = self._drifted.get(source, "")
        now = self._drifted[source] = "" if drift == "none" or drift.startswith("not ") else drift
        new = [name for name in now.split(", ") if name and name not in before.split(", ")]
        return self._wanted({"drift": f"drift: {source}: {', '.join(new)}" if new else ""})

    def look_at_trial(self, source: str, tried: Sequence[Any], view: Any) -> dict[str, str]:
        """Return why what the model of a trial sees is worth keeping; as `Disagreements.look`."""
        return self._wanted({"trial": self._trials.look(source, tried, view)})

    def _wanted(self, found: Mapping[str, str]) -> dict[str, str]:
        return {kind: text for kind in self._options.kinds if (text := found.get(kind))}

    def _mode_change(self, message: Any) -> str:
        last, self._mode = self._mode, int(message.mode)
        if last is None or last == self._mode:
            return ""
        return f"mode {MODES[last]} became {MODES[self._mode]}"

    def _load(self, message: Any) -> tuple[str, set[str]]:
        """Return what load control of the sources changed, and where it is at work, or just was."""
        told, loaded = [], set()
        for status in message.sources:
            last = self._given_up.get(status.source, "")
            self._given_up[status.source] = status.given_up
            if last or status.given_up:
                loaded.add(status.source)
            if last != status.given_up:
                told.append(f"{status.source}: {status.given_up or 'nothing given up'}")
        return (f"load control of {'; '.join(told)}" if told else ""), loaded

    def _swap(self, message: Any, loaded: set[str]) -> str:
        """Tell of models that changed; under load a cheaper one stands in, and nothing changed."""
        told = []
        for model in message.models:
            if model.role in loaded:
                continue
            last = self._models.get(model.role)
            self._models[model.role] = model.sha256
            if last is not None and last != model.sha256:
                told.append(f"{model.role} to {model.name} {model.version}")
        return f"swap of {', '.join(told)}" if told else ""

    def _uncertainty(self, message: Any) -> str:
        """Many scores between the limits: the models are not sure of what they see."""
        low, high = self._options.low_score, self._options.high_score
        count = sum(low <= item.score < high for item in message.objects)
        before, self._uncertain = self._uncertain, count >= self._options.uncertain_objects
        rising = self._uncertain and not before
        return f"uncertainty: {count} objects score {low:g} to {high:g}" if rising else ""

    def _disagreement(self, message: Any) -> str:
        """A sure object near by that one of several locating sources does not confirm."""
        locating = {
            s.source for s in message.sources if s.contributed and self._locates(s.modality)
        }
        alone = next(self._unconfirmed(message, locating), None) if len(locating) > 1 else None
        self._alone = self._alone + 1 if alone else 0
        if alone is None or self._alone != self._options.alone_messages:
            return ""
        return f"disagreement: {alone.class_name} of {', '.join(alone.sources)} alone"

    def _unconfirmed(self, message: Any, locating: set[str]) -> Iterator[Any]:
        for item in message.objects:
            near = math.hypot(item.center.x, item.center.y) <= self._options.alone_range_m
            sources = set(item.sources) & locating
            if near and item.score >= self._options.high_score and 0 < len(sources) < len(locating):
                yield item
