"""Reads docs/drivers.md: its rows, and the parameter lines that belong to each."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

PAGE = Path(__file__).parents[3] / "docs" / "drivers.md"
HEADS = ("Driver", "Topic", "Type", "What is special", "Parameters")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of a table, with the section's lines for every driver of its kind."""

    name: str
    modality: str
    topic: str
    kind: str  # type of the messages
    parameters: dict[str, Any]


def rows() -> list[Row]:
    """Return every row of every table of drivers."""
    found = []
    for section in re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)[1:]:
        tables = [line for line in section.splitlines() if line.startswith("|")]
        if not tables or _cells(tables[0]) != list(HEADS):
            continue
        block = re.search(r"```yaml\n(.*?)```", section, re.DOTALL)
        assert block is not None, f"{section.splitlines()[0]}: no lines for every driver"
        ((node, content),) = yaml.safe_load(block[1]).items()
        modality = node.rpartition("/")[2].removesuffix("_encoder")
        for line in tables[2:]:
            name, topic, kind, _, lines = _cells(line)
            own = yaml.safe_load("\n".join(re.findall(r"`([^`]+)`", lines))) or {}
            found.append(
                Row(
                    name=name,
                    modality=modality,
                    topic=topic.strip("`"),
                    kind=kind.strip("`"),
                    parameters={**content["ros__parameters"], **own},
                )
            )
    return found


def data_sets() -> list[tuple[str, str]]:
    """Return name and kind of every data set."""
    section = PAGE.read_text().partition("## Data sets")[2]
    lines = [_cells(line) for line in section.splitlines() if line.startswith("|")]
    return [(name, kind.strip("`")) for name, kind, _ in lines[2:]]


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]
