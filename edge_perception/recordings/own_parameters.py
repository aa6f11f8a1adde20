"""The parameter file of a recording: its calibration and poses, beside it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def parameters_path(recording: Path) -> Path:
    """Return where the parameters that fit a recording are kept."""
    return recording.with_suffix(".params.yaml")


def with_own_parameters(recording: Path, files: Iterable[Path | str]) -> tuple[Path, ...]:
    """Return parameter files; that of the recording, where there is one, comes first."""
    own = parameters_path(recording)
    return (*([own] if own.is_file() else []), *map(Path, files))
