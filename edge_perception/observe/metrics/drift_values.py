"""What an encoder's diagnostics say of drift, as numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from edge_perception.monitoring.drift.detector import DRIFT_NONE, DRIFT_NOT_KNOWN

_PREFIX = "drift."
_PSI = re.compile(r"psi (\S+)")


@dataclass(frozen=True, kw_only=True)
class DriftValues:
    """Drift of one source."""

    known: bool
    drifted: tuple[str, ...] = ()  # quantities
    psi: Mapping[str, float]  # by quantity; of those that could be judged


def drift_values(values: Mapping[str, str]) -> DriftValues | None:
    """Return what `monitoring.source.SourceMonitor.describe` told; None: it told nothing.

    Args:
        values: of a status of /diagnostics.

    Raises:
        ValueError: a number is none.
    """
    said = values.get("drift")
    if said is None:
        return None
    psi = {
        name.removeprefix(_PREFIX): float(found[1])
        for name, text in values.items()
        if name.startswith(_PREFIX) and (found := _PSI.match(text))
    }
    known = not said.startswith(DRIFT_NOT_KNOWN)
    drifted = () if not known or said == DRIFT_NONE else tuple(said.split(", "))
    return DriftValues(known=known, drifted=drifted, psi=psi)
