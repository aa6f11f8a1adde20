"""Parameter files as rcl understands them."""

import math

import pytest

from edge_perception.core.errors import ConfigurationError
from edge_perception.running.ros_yaml import Section, dump, parse_file, parse_value, scalar


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("-3", -3),
        ("0x10", 16),
        ("010", 8),
        ("08", 8.0),
        ("1e3", 1000.0),
        ("1.", 1.0),
        (".5", 0.5),
        ("0x1p3", 8.0),
        ("y", True),
        ("Off", False),
        ("tRue", "tRue"),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("2020-01-01", "2020-01-01"),
        ("1e400", "1e400"),
        ("9223372036854775808", 2.0**63),
        (".inf", math.inf),
        ("-.INF", -math.inf),
    ],
)
def test_scalars(text, value):
    assert scalar(text) == value
    assert type(scalar(text)) is type(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[0, 0, 1.73, 0, 0, 0, 1]", [0.0, 0.0, 1.73, 0.0, 0.0, 0.0, 1.0]),
        ("[1, 2]", [1, 2]),
        ("[]", []),
        ("'1'", "1"),
        ("!!str 1", "1"),
        ("[a, b]", ["a", "b"]),
    ],
)
def test_values(text, value):
    found = parse_value(text, "x")
    assert found == value
    assert [type(i) for i in found] == [type(i) for i in value]


@pytest.mark.parametrize(
    "text", ["", "~", "[1, true]", "[a, 1]", "[[1]]", "[{a: 1}]", "[1", "a: ["]
)
def test_what_is_no_value_is_refused_by_name(text):
    with pytest.raises(ConfigurationError, match=r"lidar_encoder\.x"):
        parse_value(text, "lidar_encoder.x")


def test_sections_are_found_at_any_depth_with_their_line():
    text = """\
robot1:
  front:
    fusion:
      ros__parameters: {a: 1, b: {c: 2, d.e: 3}}
  /lidar_encoder:
    ros__parameters: {x: [1, 2.5]}
/**:
  ros__parameters: {use_sim_time: true}
---
'*/fusion': {ros__parameters: }
"""
    found = parse_file(text, "f.yaml")
    assert [(s.pattern, dict(s.values)) for s in found] == [
        ("/robot1/front/fusion", {"a": 1, "b.c": 2, "b.d.e": 3}),
        ("/robot1/lidar_encoder", {"x": [1.0, 2.5]}),
        ("/**", {"use_sim_time": True}),
        ("/*/fusion", {}),
    ]
    assert found[0].origin == "f.yaml:4"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("fusion:\n  deadline_s: 0.3\n", r"f.yaml:2: expected ros__parameters below '/fusion/dead"),
        ("fusion:\n", "expected ros__parameters below '/fusion', got nothing"),
        ("- 1\n", "expected ros__parameters with sections"),
        ("a: 1\n", "expected ros__parameters below '/a', got '1'"),
        ("ros__parameters: {a: 1}\n", "expected a node name above"),
        ("fusion: {ros__parameters: 3}\n", "expected a mapping of parameters, got '3'"),
        ("fus-ion: {ros__parameters: {a: 1}}\n", "letters, digits"),
        ("fusion: {ros__parameters: {a: }}\n", "f.yaml:1: a: expected a value, got nothing"),
        ("fusion: {ros__parameters: {a: [1, x]}}\n", "a: expected a list of one kind"),
        ("{[1]: 2}\n", "expected a name"),
        ("fusion: [1\n", "expected YAML"),
        ("\tfusion: 1\n", "expected YAML"),
    ],
)
def test_what_is_no_parameter_file_is_one_line(text, says):
    with pytest.raises(ConfigurationError, match=says) as told:
        parse_file(text, "f.yaml")
    assert "\n" not in str(told.value)


def test_what_is_written_is_read_again():
    values = {
        "a": True, "b": 3, "c": 1e-7, "d": "yes", "e": 'a "b"\n', "f": [1.0, 2.0],
        "g": ["1", "x"], "h": math.inf, "i": "", "qos_overrides./a/b.subscription.depth": 3,
    }  # fmt: skip
    sections = [
        Section(pattern="/**/fusion", values=values, origin=""),
        Section(pattern="/x", values={}, origin=""),
        Section(pattern="/**/fusion", values={"a": False}, origin=""),
    ]
    found = parse_file(dump(sections), "f")
    assert [s.pattern for s in found] == ["/**/fusion", "/x", "/**/fusion"]
    assert dict(found[0].values) == values
    assert [type(v) for v in found[0].values.values()] == [type(v) for v in values.values()]
    assert dict(found[2].values) == {"a": False}


def test_an_anchor_that_holds_itself_is_a_line():
    with pytest.raises(ConfigurationError, match=r"p.yaml: sections are nested without end"):
        parse_file("a: &a\n  b: *a\n", "p.yaml")
    with pytest.raises(ConfigurationError, match=r"p.yaml"):
        parse_file("/**:\n  ros__parameters: &a\n    b: *a\n", "p.yaml")
