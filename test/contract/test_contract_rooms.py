"""Which room uses which: rooms.yaml and inner_rooms.yaml held against the imports."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import yaml

import edge_perception.core

PACKAGE = Path(edge_perception.core.__file__).resolve().parents[1]
MESSAGES = {"msg", "srv", "action"}  # generated; the rings say who may use them


def table(name: str) -> Any:
    return yaml.safe_load((Path(__file__).parent / name).read_text(encoding="utf-8"))


ROOMS: dict[str, dict[str, str]] = table("rooms.yaml")
INNER: dict[str, dict[str, dict[str, str]]] = table("inner_rooms.yaml")
LEAVES = {"faults", "bench", "demo", "cli"}


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imported(path: Path) -> set[str]:
    """Modules of this package that a file names, at any depth of it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports here are absolute"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in MODULES else str(node.module))
    return {name for name in found if name.split(".")[0] == PACKAGE.name}


USES = {name: imported(path) - {name} for name, path in MODULES.items()}


def room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def inner(module: str) -> str:
    """The room within a room; empty: the file lies in none."""
    path = MODULES.get(module, PACKAGE / "__init__.py")
    parts = path.relative_to(PACKAGE).parts
    return parts[1] if len(parts) > 2 else ""


def test_every_file_is_in_a_room() -> None:
    rooms = {room(module) for module in MODULES} - {""}
    assert rooms == set(ROOMS)
    loose = sorted(path.name for path in PACKAGE.glob("*.py"))
    assert loose == ["__init__.py"]


@pytest.mark.parametrize("name", ROOMS)
def test_a_room_uses_what_it_says_and_nothing_above_itself(name: str) -> None:
    order = list(ROOMS)
    assert all(order.index(used) < order.index(name) for used in ROOMS[name])
    assert all(reason.strip() for reason in ROOMS[name].values())
    uses: dict[str, list[str]] = defaultdict(list)
    for module, used in USES.items():
        if room(module) == name:
            for other in used:
                uses[room(other)].append(f"{module} -> {other}")
    for harmless in (name, "", *MESSAGES):
        uses.pop(harmless, None)
    undeclared = {other: files for other, files in uses.items() if other not in ROOMS[name]}
    assert not undeclared
    assert set(ROOMS[name]) == set(uses), "declared, but not used"


def test_a_room_within_a_room_uses_what_it_says_and_nothing_above_itself() -> None:
    found: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for module, used in USES.items():
        for other in used:
            edge = (room(module), inner(module), inner(other))
            if edge[0] == room(other) and edge[1] and edge[2] and edge[1] != edge[2]:
                found[edge].append(f"{module} -> {other}")
    said = {
        (name, one, other)
        for name, rooms in INNER.items()
        for one, uses in rooms.items()
        for other in uses
    }
    assert not {edge: files for edge, files in found.items() if edge not in said}
    assert said == set(found), "declared, but not used"
    for name, rooms in INNER.items():
        order = list(rooms)
        for one, uses in rooms.items():
            assert all(order.index(other) < order.index(one) for other in uses), (name, one)
            assert all(reason.strip() for reason in uses.values()), (name, one)


def test_nothing_but_the_commands_uses_a_leaf() -> None:
    for name, used in ROOMS.items():
        if name != "cli":
            assert not LEAVES & set(used), name


def test_no_two_files_import_each_other() -> None:
    """Depth first; a file met again on its own path closes a circle."""
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path, module))
        if module in done:
            return
        for other in sorted(USES.get(module, ())):
            visit(other, (*path, module))
        done.add(module)

    for module in MODULES:
        visit(module, ())


@pytest.fixture
def architecture() -> str:
    page = PACKAGE.parent / "docs" / "architecture.md"
    if not page.is_file():
        pytest.skip("docs are not installed beside the package")
    return page.read_text(encoding="utf-8")


def test_the_page_of_the_architecture_names_every_room(architecture: str) -> None:
    missing = [name for name in [*ROOMS, *INNER["nodes"]] if f"`{name}/`" not in architecture]
    assert not missing


def test_the_page_of_the_architecture_names_files_that_are_there(architecture: str) -> None:
    named = re.findall(r"`([a-z_/]+(?:/|\.py))`", architecture)
    files = [name for name in named if "/" in name and name.strip("/") not in INNER["nodes"]]
    assert len(files) > 100
    places = (PACKAGE, PACKAGE.parent)
    assert not [name for name in files if not any((place / name).exists() for place in places)]
