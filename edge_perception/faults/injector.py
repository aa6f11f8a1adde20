"""Puts faults into streams for a while: between a recording, or drivers, and the nodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_perception.core.errors import ConfigurationError
from edge_perception.faults.streams import Context, Delivery, FaultSpec, fault_named


@dataclass(frozen=True, kw_only=True)
class Injection:
    """A fault on some sources for some time."""

    fault: FaultSpec
    sources: tuple[str, ...]
    start_s: float
    end_s: float

    @classmethod
    def of(cls, name: str, sources: Sequence[str], start_s: float, end_s: float) -> Injection:
        """Check names and times.

        Raises:
            UnknownNameError: there is no such fault.
            ConfigurationError: the fault is not one of the modality, or the times are reversed.
        """
        spec = fault_named(name)
        for source in sources:
            if source.split("_", maxsplit=1)[0] not in spec.modalities:
                raise ConfigurationError(
                    f"fault {name}: expected a source of {', '.join(spec.modalities)}, got {source}"
                )
        if not 0.0 <= start_s < end_s:
            raise ConfigurationError(f"fault {name}: expected start < end, got {start_s}-{end_s} s")
        return cls(fault=spec, sources=tuple(sources), start_s=start_s, end_s=end_s)


def parse_injection(text: str) -> Injection:
    """Read ``NAME:SOURCE[,SOURCE]:START-END``, for example ``frozen:camera:5-10``.

    Raises:
        ConfigurationError: the text has another form.
    """
    parts = text.split(":")
    try:
        name, sources, times = parts
        start, end = map(float, times.split("-"))
    except ValueError as error:
        raise ConfigurationError(
            f"injection: expected NAME:SOURCE[,SOURCE]:START-END, got '{text}'"
        ) from error
    return Injection.of(name, sources.split(","), start, end)


class Injector:
    """Applies injections to messages as they pass; keeps one context a fault and source."""

    def __init__(
        self,
        injections: Sequence[Injection],
        *,
        make: Callable[[str], Any],
        period_s: float = 0.1,
        seed: int = 0,
    ) -> None:
        self._injections = tuple(injections)
        self._make, self._period_s, self._seed = make, period_s, seed
        self._contexts: dict[tuple[int, str], Context] = {}
        self.altered = 0  # messages that were changed, moved or lost
        self.first_s: dict[str, float] = {}  # when the first of them was due, by source

    def apply(self, source: str, message: Any, time_s: float) -> list[Delivery]:
        """Return what is delivered in place of a message that is due at `time_s`."""
        deliveries: list[Delivery] = [(0.0, message)]
        for index, injection in enumerate(self._injections):
            if source in injection.sources and injection.start_s <= time_s < injection.end_s:
                context = self._context(index, source)
                context.since_s = time_s - injection.start_s
                deliveries = [
                    (delay_s + more_s, result)
                    for delay_s, item in deliveries
                    for more_s, result in injection.fault.apply(item, context)
                ]
                context.count += 1
        if deliveries != [(0.0, message)]:
            self.altered += 1
            self.first_s.setdefault(source, time_s)
        return deliveries

    def _context(self, index: int, source: str) -> Context:
        if (index, source) not in self._contexts:
            self._contexts[index, source] = Context(
                period_s=self._period_s,
                rng=np.random.default_rng((self._seed, index, len(self._contexts))),
                make=self._make,
            )
        return self._contexts[index, source]
