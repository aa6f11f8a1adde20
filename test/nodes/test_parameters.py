"""Parameters declared from a dataclass: ranges, units, refusals and changes while running."""

from dataclasses import dataclass, field

import pytest
from rcl_interfaces.srv import DescribeParameters, SetParameters
from rclpy.parameter import Parameter

from edge_perception.core.errors import ConfigurationError
from edge_perception.nodes.base import PerceptionNode


@dataclass(frozen=True, kw_only=True)
class Options:
    ratio: float = field(
        default=0.5,
        metadata={"text": "a share", "unit": "1", "min": 0.0, "max": 1.0, "dynamic": True},
    )
    count: int = field(default=2, metadata={"min": 1, "max": 9, "dynamic": True})
    kind: str = field(default="a", metadata={"choices": ("a", "b"), "dynamic": True})
    fixed: str = "x"
    pose: tuple[float, ...] = (0.0, 1.0)
    folders: tuple[str, ...] = ()
    cores: tuple[int, ...] = ()
    places: tuple[float, ...] = ()


class OptionsNode(PerceptionNode):
    def __init__(self, **kwargs):
        super().__init__("options", **kwargs)
        self.seen = []
        self.options = self.declare_parameters_of(
            Options, prefix="part.", on_change=self.seen.append
        )


@pytest.fixture
def node(harness):
    node = harness.add(OptionsNode, parameters={"part.count": 3, "autostart": False})
    harness.start()
    return node


def set_parameter(harness, name, value):
    request = SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()])
    return harness.call(SetParameters, "/options/set_parameters", request).results[0]


def test_defaults_and_overrides(node):
    assert node.options.config == Options(count=3)


def test_lists_that_are_empty_by_default_take_their_own_kind(harness):
    given = {"part.folders": ["a"], "part.cores": [1, 0], "part.places": [0.5, -1.0]}
    node = harness.add(OptionsNode, parameters={**given, "autostart": False})
    config = node.options.config
    assert (config.folders, config.cores, config.places) == (("a",), (1, 0), (0.5, -1.0))


@pytest.mark.parametrize(("name", "value"), [("part.places", [1, 2]), ("part.ratio", 1)])
def test_a_whole_number_in_the_place_of_a_float_says_what_to_write(harness, name, value):
    with pytest.raises(ConfigurationError, match=r"part\..*a float is written 1\.0, not 1"):
        harness.add(OptionsNode, parameters={name: value, "autostart": False})


def test_descriptors_carry_unit_and_range(harness, node):
    answer = harness.call(
        DescribeParameters,
        "/options/describe_parameters",
        DescribeParameters.Request(names=["part.ratio", "part.count", "part.kind"]),
    )
    ratio, count, kind = answer.descriptors
    assert ratio.description == "a share [1]"
    assert (ratio.floating_point_range[0].from_value, ratio.floating_point_range[0].to_value) == (
        0.0,
        1.0,
    )
    assert count.integer_range[0].to_value == 9
    assert "a, b" in kind.additional_constraints


def test_a_change_reaches_the_node(harness, node):
    assert set_parameter(harness, "part.ratio", 0.75).successful
    assert node.options.config.ratio == 0.75
    assert node.seen[-1].ratio == 0.75


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("part.ratio", 1.5, "part.ratio: expected 0 to 1 1, got 1.5"),
        ("part.ratio", float("nan"), "part.ratio: expected 0 to 1"),
        ("part.count", 0, "part.count: expected 1 to 9, got 0"),
        ("part.kind", "c", "part.kind: expected one of a, b, got 'c'"),
        ("part.fixed", "y", "part.fixed: cannot change while the node runs"),
        ("part.count", "three", "count"),
    ],
)
def test_a_refusal_names_the_allowed_range(harness, node, name, value, text):
    before = node.options.config
    result = set_parameter(harness, name, value)
    assert not result.successful
    assert text in result.reason
    assert node.options.config == before
    assert not node.seen


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"part.count": 10}, r"part.count: expected 1 to 9: .*10"),
        ({"part.kind": "c"}, "kind: expected one of a, b, got 'c'"),
    ],
)
def test_a_bad_value_at_start_names_the_allowed_range(harness, parameters, text):
    with pytest.raises(ConfigurationError, match=text):
        harness.add(OptionsNode, parameters={**parameters, "autostart": False})
