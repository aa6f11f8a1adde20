"""What was measured of releases on this machine, by the way they run; judged anew each time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import psutil

from edge_perception.core.errors import AdmissionError
from edge_perception.core.machine import this_machine
from edge_perception.models.loading import ModelOptions
from edge_perception.models.manifest import Bundle
from edge_perception.releases.admission import (
    Admission,
    AdmissionLimits,
    admission_of,
    check_admission,
    measure,
    way_of,
)
from edge_perception.releases.notes import Notes

_MB = 2**20


def admit_once(
    bundle: Bundle, limits: AdmissionLimits, options: ModelOptions, notes: Notes
) -> Admission:
    """Admit a release; what was measured of it in this way on this machine is not measured again.

    Figures are kept, verdicts are not: limits and free memory are those of now.

    Raises:
        AdmissionError: why it is not admitted.
    """
    key = _key(options)
    known = _known(notes, bundle.sha256)
    admission = admission_of(known[key]) if key in known else measure(bundle, limits, options)
    check_admission(bundle, admission, limits, free_bytes=int(psutil.virtual_memory().available))
    if key not in known:
        notes.remember(bundle.sha256, {"measured": {**known, key: asdict(admission)}})
    return admission


def check_together(
    admissions: Sequence[tuple[str, Admission]],
    limits: AdmissionLimits,
    *,
    free_bytes: int | None = None,
) -> None:
    """Refuse a set whose models fit one by one and not all at once.

    Args:
        admissions: name and measurement of each, which is loaded beside what serves.
        limits: what stays free.
        free_bytes: of the machine; None: it is asked.

    Raises:
        AdmissionError: what they need, and what there is.
    """
    free = int(psutil.virtual_memory().available) if free_bytes is None else free_bytes
    needed = sum(admission.peak_memory_bytes for _, admission in admissions)
    if needed > free - limits.reserve_mb * _MB:
        names = ", ".join(f"{name} {a.peak_memory_bytes // _MB} MB" for name, a in admissions)
        raise AdmissionError(
            f"the set needs {needed // _MB} MB ({names}), free are {free // _MB} MB of which "
            f"{limits.reserve_mb} MB stay free"
        )


def _key(options: ModelOptions) -> str:
    return json.dumps([way_of(options), asdict(this_machine())], sort_keys=True)


def _known(notes: Notes, sha256: str) -> dict[str, Any]:
    """Return the measurements by key; what older software wrote is measured anew."""
    found = notes.remembered(sha256).get("measured")
    if not isinstance(found, dict):
        return {}
    known = {}
    for key, data in found.items():
        try:
            admission_of(data)
        except AdmissionError:
            continue
        known[key] = data
    return known
