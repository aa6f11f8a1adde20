"""Configurations that are written as Python, as those of OpenMMLab: read, never run.

What is read: assignments of literals, `dict(…)`, lists, tuples, names that were assigned before,
sums and products, slices, and the files that `_base_` or `with read_base():` name. Everything else
is `UNREAD`, which is no value: who asks for it is told so.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edge_perception.core.errors import ModelError

_LARGEST = 1 << 20
_DEEPEST = 10  # bases of bases
_MOST_FILES = 40
_LONGEST = 10_000  # entries of what a product of a list makes


class Unread:
    """Stands where something was written that is not read."""

    def __repr__(self) -> str:
        return "not read"


UNREAD = Unread()
_OPERATORS: Mapping[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
}
_CALLS: Mapping[str, Callable[..., Any]] = {
    "dict": dict, "list": list, "tuple": tuple, "len": len, "sum": sum, "int": int,
    "float": float, "min": min, "max": max, "abs": abs, "round": round, "str": str,
}  # fmt: skip


def read_python_config(path: Path) -> dict[str, Any]:
    """Return what a configuration says, that of its bases below it.

    Raises:
        ModelError: a file cannot be read, is no Python, or is its own base.
    """
    return _read(path, (), [0])


def _read(path: Path, above: tuple[Path, ...], count: list[int]) -> dict[str, Any]:
    count[0] += 1
    if path.resolve() in above or len(above) > _DEEPEST or count[0] > _MOST_FILES:
        raise ModelError(f"{path.name}: is its own base, or has too many")
    try:
        if path.stat().st_size > _LARGEST:
            raise ModelError(f"{path.name}: expected at most {_LARGEST} bytes")
        tree = ast.parse(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{path}: cannot be read: {error}") from error
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ModelError(f"{path.name}: expected Python: {error}") from error
    reader = _Reader(path, (*above, path.resolve()), count)
    try:
        for statement in tree.body:
            reader.statement(statement)
    except RecursionError:
        raise ModelError(f"{path.name}: is nested too deeply") from None
    return _merged(reader.base, reader.own)


class _Reader:
    """Reads one file."""

    def __init__(self, path: Path, above: tuple[Path, ...], count: list[int]) -> None:
        self._path, self._above, self._count = path, above, count
        self.base: dict[str, Any] = {}  # what the bases say
        self.own: dict[str, Any] = {}

    def statement(self, node: ast.stmt) -> None:
        """Take an assignment; pass everything else over."""
        if isinstance(node, ast.Assign):
            value = self.value(node.value)
            for target in node.targets:
                self._assign(target, value)
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            self._assign(node.target, self.value(node.value))
        elif isinstance(node, ast.With):
            for inner in node.body:
                if isinstance(inner, ast.ImportFrom):
                    self._import(inner)

    def _assign(self, target: ast.expr, value: Any) -> None:
        if isinstance(target, ast.Name):
            self.own[target.id] = value
            if target.id == "_base_":
                self._bases([value] if isinstance(value, str) else list(value or ()))
            return
        if isinstance(target, ast.Attribute | ast.Subscript):  # model.x = …, model['x'] = …
            try:
                holder = self.value(target.value)
                key = target.attr if isinstance(target, ast.Attribute) else self.value(target.slice)
                holder[key] = value
            except (TypeError, KeyError, IndexError):
                return
        if isinstance(target, ast.Tuple) and isinstance(value, list | tuple):
            for one, part in zip(target.elts, value, strict=False):
                self._assign(one, part)

    def _bases(self, names: list[Any]) -> None:
        for name in names:
            if isinstance(name, str) and name.endswith(".py") and "::" not in name:
                self._base(self._path.parent / name)

    def _base(self, path: Path) -> None:
        if not path.is_file():
            raise ModelError(
                f"{self._path.name}: its base '{path.name}' is not there: give the configuration "
                "in the tree it belongs to, or the one that training or the exporter wrote as one "
                "file"
            )
        self.base = _merged(self.base, _read(path, self._above, self._count))

    def _import(self, node: ast.ImportFrom) -> None:
        """As `with read_base(): from .._base_.models.x import *`."""
        if not node.level:
            return
        folder = self._path.parent
        for _ in range(node.level - 1):
            folder = folder.parent
        self._base(folder.joinpath(*(node.module or "").split(".")).with_suffix(".py"))

    def value(self, node: ast.expr) -> Any:
        """Return what an expression says, UNREAD where it is more than is read here."""
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.List | ast.Tuple | ast.Set):
            made: list[Any] = []
            for item in node.elts:
                if isinstance(item, ast.Starred):
                    more = self.value(item.value)
                    made += more if isinstance(more, list | tuple) else [UNREAD]
                else:
                    made.append(self.value(item))
            return tuple(made) if isinstance(node, ast.Tuple) else made
        if isinstance(node, ast.Dict):
            return self._pairs(node.keys, node.values)
        if isinstance(node, ast.Name):
            return self.own.get(node.id, self.base.get(node.id, UNREAD))
        try:
            return self._computed(node)
        except (TypeError, ValueError, KeyError, IndexError, ZeroDivisionError, OverflowError):
            return UNREAD

    def _computed(self, node: ast.expr) -> Any:
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return -self.value(node.operand)
        if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
            return self._sum(node)
        if isinstance(node, ast.Call):
            return self._call(node)
        if isinstance(node, ast.Subscript):
            return self.value(node.value)[self._index(node.slice)]
        if isinstance(node, ast.Attribute):
            holder = self.value(node.value)
            if isinstance(node.value, ast.Name) and node.value.id == "_base_":
                return self.base[node.attr]
            named = isinstance(node.value, ast.Name) and node.value.id in ("np", "math", "torch")
            if named and node.attr == "pi":
                return 3.141592653589793
            return holder[node.attr] if isinstance(holder, dict) else UNREAD
        return UNREAD

    def _sum(self, node: ast.BinOp) -> Any:
        left, right = self.value(node.left), self.value(node.right)
        for one, other in ((left, right), (right, left)):
            many = isinstance(one, list | tuple | str) and isinstance(other, int)
            if many and len(one) * other > _LONGEST:
                return UNREAD
        return _OPERATORS[type(node.op)](left, right)

    def _index(self, node: ast.expr) -> Any:
        if isinstance(node, ast.Slice):
            parts = (node.lower, node.upper, node.step)
            return slice(*(None if part is None else self.value(part) for part in parts))
        return self.value(node)

    def _call(self, node: ast.Call) -> Any:
        if not isinstance(node.func, ast.Name):
            return UNREAD
        if node.func.id == "dict" and not node.args:
            names = [None if word.arg is None else ast.Constant(word.arg) for word in node.keywords]
            return self._pairs(names, [word.value for word in node.keywords])
        call = _CALLS.get(node.func.id)
        if call is None or node.keywords:
            return UNREAD
        return call(*(self.value(item) for item in node.args))

    def _pairs(self, keys: Any, values: Any) -> dict[Any, Any]:
        made: dict[Any, Any] = {}
        for key, item in zip(keys, values, strict=True):
            value = self.value(item)
            if key is None:  # **other
                made |= value if isinstance(value, dict) else {}
            else:
                made[self.value(key)] = value
        return made


def _merged(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """As OpenMMLab merges: dictionaries key by key, but where `_delete_` says otherwise."""
    made = dict(base)
    for name, value in own.items():
        old = made.get(name)
        if isinstance(value, dict) and isinstance(old, dict) and not value.get("_delete_", False):
            made[name] = _merged(old, value)
        else:
            made[name] = value
    return made
