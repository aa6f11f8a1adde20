"""Class names in the files that people have them in."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from edge_perception.core.errors import ModelError

_LARGEST = 1 << 22
_LAST = 100_000
_ITEM = re.compile(r"item\s*\{(.*?)\}", re.DOTALL)
_FIELD = re.compile(r"(\w+)\s*:\s*(?:\"([^\"]*)\"|'([^']*)'|(-?\d+))")
_UNDER = ("names", "id2label", "label_list", "classes")
_LINE = re.compile(r"(\d{1,6})(?:\s*[:,;]\s*|\s+)(\S.*)")
# Columns of tables of classes: of the names, best first, and of their numbers.
_NAMED = ("display_name", "name", "label", "class_name", "class", "category", "title", "label_name")
_NUMBERED = ("index", "id", "class_id", "classid", "class_index", "number", "target", "idx")


def read_labels(path: Path) -> list[str]:
    """Read class names.

    A text file with one a line, perhaps behind its number; a CSV with a column (display_)name,
    label, class or category, in the order of a column of numbers where it has one, or without a
    heading; YAML or JSON with a list, or with names by number, as such or under `names`
    (Ultralytics' data.yaml), `id2label` (transformers) or `label_list`; a label map of TensorFlow
    (.pbtxt), whose numbers without a name become unused_N.

    Raises:
        ModelError: the file cannot be read or holds no names.
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise ModelError(f"{path.name}: expected at most {_LARGEST} bytes")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{path}: labels cannot be read: {error}") from error
    kind = path.suffix.lower()
    if kind == ".csv":
        names = _of_csv(path.name, text)
    elif kind == ".pbtxt":
        names = _by_number(path.name, _of_label_map(text))
    elif kind in (".yaml", ".yml", ".json"):
        names = _of_document(path.name, text)
    else:
        names = _of_lines([line.strip() for line in text.splitlines() if line.strip()])
    if not names:
        raise ModelError(f"{path.name}: expected class names, got none")
    return names


def _of_lines(lines: list[str]) -> list[str]:
    """Names of a text: as the lines are, or by their numbers where each line begins with its own.

    Such as `0: person`, as people copy it from a list of names by number.
    """
    found = [_LINE.fullmatch(line) for line in lines]
    numbered = {int(match[1]): match[2] for match in found if match}
    first = min(numbered, default=0)
    if first > 1 or sorted(numbered) != list(range(first, first + len(lines))):
        return lines  # numbers, if there are any, are parts of names
    return [numbered[number] for number in sorted(numbered)]


def _of_csv(where: str, text: str) -> list[str]:
    """Names of a table: by the column of their numbers, where it has one, else in its order.

    A table without a heading has the number first and the name second, or the name alone.
    """
    first = text.partition("\n")[0]
    # A spreadsheet writes semicolons where the comma is its user's decimal point.
    between = "\t" if "\t" in first else ";" if ";" in first and "," not in first else ","
    read = csv.reader(text.splitlines(), delimiter=between)
    rows = [row for row in read if any(cell.strip() for cell in row)]
    if not rows:
        return []
    heading = [cell.strip().lower() for cell in rows[0]]
    column = next((heading.index(name) for name in _NAMED if name in heading), None)
    number = next((heading.index(name) for name in _NUMBERED if name in heading), None)
    if column is not None:
        rows = rows[1:]
    elif len(heading) > 1 and all(_is_whole(row[0]) for row in rows):
        column, number = 1, 0
    elif {len(row) for row in rows} == {1}:
        column = 0
    else:
        raise ModelError(
            f"{where}: expected a column {' or '.join(_NAMED[:3])}, or numbers and names without a "
            f"heading, got {rows[0][:8]}"
        )
    wanted = max(column, number or 0)
    if any(len(row) <= wanted for row in rows):
        raise ModelError(f"{where}: expected {wanted + 1} columns in every row")
    names = [row[column].strip() for row in rows]
    if number is None or not all(_is_whole(row[number]) for row in rows):
        return names
    numbered: dict[int, str] = {}
    for row, name in zip(rows, names, strict=True):
        if numbered.setdefault(int(row[number]), name) != name:
            raise ModelError(f"{where}: number {row[number].strip()} has several names")
    if sorted(numbered) == list(range(1, len(numbered) + 1)):
        numbered = {n - 1: name for n, name in numbered.items()}  # counted from 1, without a gap
    return _by_number(where, numbered)


def _is_whole(text: str) -> bool:
    return text.strip().isdecimal()


def _of_label_map(text: str) -> dict[int, str]:
    found: dict[int, str] = {}
    for body in _ITEM.findall(text):
        fields = {name: double or single or number
                  for name, double, single, number in _FIELD.findall(body)}  # fmt: skip
        if "id" in fields:
            found[int(fields["id"])] = fields.get("display_name", fields.get("name", ""))
    return found


def _of_document(where: str, text: str) -> list[str]:
    try:
        data: Any = json.loads(text) if where.lower().endswith(".json") else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        told = " ".join(str(error).split())[:200]
        raise ModelError(f"{where}: expected JSON or YAML: {told}") from error
    if isinstance(data, Mapping):
        data = next((data[name] for name in _UNDER if name in data), data)
    if isinstance(data, list) and all(isinstance(name, str | int) for name in data):
        return [str(name) for name in data]
    try:
        return _by_number(where, {int(number): str(name) for number, name in data.items()})
    except (AttributeError, TypeError, ValueError, OverflowError):
        raise ModelError(
            f"{where}: expected names in a list or by number, as such or under {', '.join(_UNDER)}"
        ) from None


def _by_number(where: str, found: Mapping[int, str]) -> list[str]:
    last = max(found, default=-1)
    least = min(found, default=0)
    if least < 0 or last > _LAST:
        got = least if least < 0 else last
        raise ModelError(f"{where}: expected numbers of classes from 0 to {_LAST}, got {got}")
    return [found.get(number) or f"unused_{number}" for number in range(last + 1)]
