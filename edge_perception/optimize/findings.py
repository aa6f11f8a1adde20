"""What a step of optimising found, as data: one outcome a step, one finding a thing to know."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edge_perception.core.errors import ConfigurationError
from edge_perception.core.whole_file import write_whole
from edge_perception.evaluation.report import without_nan

ERROR, WARNING, NOTE = "error", "warning", "note"
STEPS = ("check", "export", "parity", "quantize", "prune", "distill", "qat", "compare")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was found."""

    level: str  # ERROR: the step did not pass; WARNING, NOTE
    code: str  # for programs, such as custom_operator
    text: str  # what, where, expected, got
    change: str = ""  # the line to change, where one is known


@dataclass(kw_only=True)
class Outcome:
    """What one step made of one model."""

    step: str
    subject: str
    findings: list[Finding] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)  # plain data
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)  # rows by title
    command: str = ""  # that repeats it

    @property
    def passed(self) -> bool:
        """Whether nothing was found that must not be."""
        return not any(finding.level == ERROR for finding in self.findings)

    def add(self, level: str, code: str, text: str, change: str = "") -> None:
        """Add a finding."""
        self.findings.append(Finding(level=level, code=code, text=text, change=change))

    def as_json(self) -> dict[str, Any]:
        """Return plain data; what is no number is null."""
        plain: dict[str, Any] = without_nan({"passed": self.passed, **asdict(self)})
        return plain


def write_text(path: Path, text: str) -> None:
    """Write a text, whole or not at all."""
    write_whole(path, text.encode())


def save_outcome(outcome: Outcome, work: Path) -> Path:
    """Keep an outcome for the report; the newest of a step stands."""
    path = work / f"{outcome.step}.json"
    write_text(path, json.dumps(outcome.as_json(), indent=2) + "\n")
    return path


def read_outcomes(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Read outcomes from files, or from folders of them, in the order of the steps.

    Raises:
        ConfigurationError: there is none, or a file is none.
    """
    for path in paths:
        if not path.exists():
            raise ConfigurationError(
                f"{path}: expected outcomes, got none; run a step with this folder as --work first"
            )
    files = [
        file
        for path in paths
        for file in (sorted(path.glob("*.json")) if path.is_dir() else [path])
    ]
    found = []
    for file in files:
        try:
            data = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"{file}: expected an outcome of a step: {error}") from error
        if isinstance(data, dict) and data.get("step") in STEPS and "findings" in data:
            found.append(data)
        elif not any(path.is_dir() and file.parent == path for path in paths):
            raise ConfigurationError(f"{file}: expected what a step wrote with --json, got other")
    if not found:
        raise ConfigurationError(
            f"{', '.join(map(str, paths))}: expected outcomes of {', '.join(STEPS)}, got none; "
            "run a step with this folder as --work first"
        )
    return sorted(found, key=lambda item: STEPS.index(item["step"]))
