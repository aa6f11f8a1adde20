"""Conditions of a drive (light, weather, lens, place): which there are, and how sure one is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.errors import InvalidFrameError

LIGHTS = ("day", "dusk", "night")  # exactly one holds, where a camera tells
FLAGS = ("glare", "rain", "fog", "snow", "dirty_lens", "tunnel", "unfamiliar")
CONDITIONS = (*LIGHTS, *FLAGS)


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """What holds, with the confidence in it, 0 to 1.

    A condition that no sensor can tell is in neither: not known is not absent.
    """

    holding: tuple[tuple[str, float], ...] = ()  # name and confidence, in the order above
    known: tuple[str, ...] = ()  # those that could be told, holding or not

    def __contains__(self, name: str) -> bool:
        return any(name == held for held, _ in self.holding)

    @property
    def names(self) -> frozenset[str]:
        """Those that hold."""
        return frozenset(name for name, _ in self.holding)

    @property
    def told(self) -> tuple[tuple[str, float], ...]:
        """Every condition that could be told, with its confidence; 0: it does not hold."""
        held = dict(self.holding)
        return tuple((name, held.get(name, 0.0)) for name in self.known)

    @property
    def light(self) -> str:
        """`day`, `dusk` or `night`; empty: not known."""
        return next((name for name, _ in self.holding if name in LIGHTS), "")

    @property
    def text(self) -> str:
        """For people: ``night 0.97, fog 0.80``; why there is nothing, else."""
        if not self.known:
            return "not known"
        return ", ".join(f"{name} {sure:.2f}" for name, sure in self.holding) or "nothing special"


NOT_KNOWN = Conditions()


def of_told(told: Iterable[tuple[str, float]]) -> Conditions:
    """Return the conditions of `Conditions.told`."""
    told = tuple(told)
    return Conditions(
        holding=tuple((name, sure) for name, sure in told if sure > 0.0),
        known=tuple(name for name, _ in told),
    )


def joined(parts: Iterable[Conditions]) -> Conditions:
    """Return what several sources say together: of each condition the surest one.

    Of two lights the surer one holds.
    """
    parts = list(parts)
    best: dict[str, float] = {}
    for part in parts:
        for name, sure in part.holding:
            best[name] = max(sure, best.get(name, 0.0))
    lights = [name for name in LIGHTS if name in best]
    surest = max(lights, key=best.__getitem__, default="")
    for name in lights:
        if name != surest:
            del best[name]
    known = {name for part in parts for name in part.known}
    return Conditions(
        holding=tuple((name, best[name]) for name in CONDITIONS if name in best),
        known=tuple(name for name in CONDITIONS if name in known),
    )


def as_array(conditions: Conditions) -> NDArray[np.float32]:
    """Return the confidence in each condition: 0 where it is known to be absent, NaN not known."""
    values = np.full(len(CONDITIONS), np.nan, np.float32)
    held = dict(conditions.holding)
    for index, name in enumerate(CONDITIONS):
        if name in conditions.known:
            values[index] = held.get(name, 0.0)
    return values


def from_array(values: NDArray) -> Conditions:
    """Return the conditions of `as_array`.

    Raises:
        InvalidFrameError: it is of another size, or a confidence is not 0 to 1.
    """
    if values.shape != (len(CONDITIONS),) or values.dtype != np.float32:
        raise InvalidFrameError(
            f"conditions: expected ({len(CONDITIONS)},) float32, got {values.shape} {values.dtype}"
        )
    known = np.isfinite(values)
    if np.isinf(values).any() or (values[known] < 0.0).any() or (values[known] > 1.0).any():
        raise InvalidFrameError("conditions: expected confidences of 0 to 1 or NaN")
    return Conditions(
        holding=tuple((n, float(v)) for n, v in zip(CONDITIONS, values, strict=True) if v > 0.0),
        known=tuple(name for name, is_known in zip(CONDITIONS, known, strict=True) if is_known),
    )
