from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

import pytest

from edge_perception.core.errors import ConfigurationError, ManifestError
from edge_perception.core.schema import decode


class Color(Enum):
    RED = 1
    BLUE = 2


@dataclass(frozen=True, kw_only=True)
class Inner:
    ratio: float = field(metadata={"min": 0.0, "max": 1.0, "unit": "share"})


@dataclass(frozen=True, kw_only=True)
class Outer:
    name: str
    count: int = field(default=1, metadata={"min": 1, "max": 10})
    inner: Inner | None = None
    shape: tuple[int, ...] = ()
    pair: tuple[float, float] = (0.0, 0.0)
    table: Mapping[str, Inner] = field(default_factory=dict)
    kind: str = field(default="a", metadata={"choices": ("a", "b")})
    color: Color = Color.RED
    flag: bool = False


def test_decodes_nested_data():
    outer = decode(
        Outer,
        {
            "name": "x",
            "inner": {"ratio": 1},
            "shape": [1, 2],
            "pair": [1, 2.5],
            "table": {"k": {"ratio": 0.5}},
            "color": "blue",
        },
        "outer",
    )
    assert outer.inner == Inner(ratio=1.0)
    assert outer.shape == (1, 2)
    assert outer.pair == (1.0, 2.5)
    assert outer.table["k"].ratio == 0.5
    assert outer.color is Color.BLUE


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({}, "outer.name: expected a value, got nothing"),
        ({"name": 3}, "outer.name: expected a string, got 3"),
        ({"name": "x", "more": 1}, "outer.more: expected one of"),
        ({"name": "x", "count": 11}, "outer.count: expected 1 to 10, got 11"),
        ({"name": "x", "count": True}, "outer.count: expected an integer, 1 to 10, got True"),
        ({"name": "x", "count": 1.5}, "outer.count: expected an integer, 1 to 10, got 1.5"),
        ({"name": "x", "kind": 3}, "outer.kind: expected one of a, b, got 3"),
        ({"name": "x", "inner": {}}, "outer.inner.ratio: expected a value, 0 to 1 share, got noth"),
        ({"name": "x", "inner": {"ratio": 2.0}}, "outer.inner.ratio: expected 0 to 1 share"),
        ({"name": "x", "inner": {"ratio": float("nan")}}, "outer.inner.ratio: expected 0 to 1"),
        ({"name": "x", "shape": ["a"]}, r"outer.shape\[0\]: expected an integer, got 'a'"),
        ({"name": "x", "shape": "12"}, "outer.shape: expected a list, got '12'"),
        ({"name": "x", "pair": [1]}, "outer.pair: expected a list of 2"),
        ({"name": "x", "table": {"k": 1}}, "outer.table.k: expected a mapping, got 1"),
        ({"name": "x", "kind": "c"}, "outer.kind: expected one of a, b, got 'c'"),
        ({"name": "x", "color": "green"}, "outer.color: expected one of red, blue"),
        ({"name": "x", "flag": 1}, "outer.flag: expected true or false, got 1"),
        ([], r"outer: expected a mapping, got \[\]"),
    ],
)
def test_refuses_with_the_field_named(data, text):
    with pytest.raises(ConfigurationError, match=text):
        decode(Outer, data, "outer")


def test_raises_the_error_asked_for():
    with pytest.raises(ManifestError):
        decode(Outer, {}, "outer", error=ManifestError)
