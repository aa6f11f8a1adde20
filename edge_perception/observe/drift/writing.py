"""References to files, and a line for each."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from edge_perception.monitoring.drift.reference import SUFFIX, Reference


def write_references(made: Iterable[tuple[str, Reference | str]], out: Path) -> int:
    """Write references into a folder and print what there is; 1: a source has none."""
    missing = 0
    for name, reference in made:
        if isinstance(reference, str):
            missing += 1
            print(f"{name}: no reference: {reference}")
            continue
        out.mkdir(parents=True, exist_ok=True)
        path = out / f"{name}{SUFFIX}"
        reference.write(path)
        held = ", ".join(f"{key} {item.frames}" for key, item in reference.sections.items())
        print(f"{path}: {reference.model}, frames: {held}")
    return int(missing > 0)
