"""Parameters declared from a dataclass: ranges, units, refusals and changes while running."""

from dataclasses import dataclass, field

import pytest
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.msg import ParameterType
from rcl_interfaces.srv import DescribeParameters, GetParameters, SetParameters
from rclpy.parameter import Parameter

from edge_perception.core.errors import ConfigurationError
from edge_perception.core.parameter import parameter
from edge_perception.nodes.common.base import PerceptionNode


@dataclass(frozen=True, kw_only=True)
class Options:
    ratio: float = field(
        default=0.5,
        metadata={"text": "a share", "unit": "1", "min": 0.0, "max": 1.0, "dynamic": True},
    )
    count: int = field(default=2, metadata={"min": 1, "max": 9, "dynamic": True})
    kind: str = field(default="a", metadata={"choices": ("a", "b"), "dynamic": True})
    fixed: str = "x"
    name: str = parameter("one", read_only=True)
    kept: tuple[str, ...] = parameter((), read_only=True)
    pose: tuple[float, ...] = (0.0, 1.0)
    folders: tuple[str, ...] = ()
    cores: tuple[int, ...] = ()
    places: tuple[float, ...] = ()

    @property
    def held(self):
        return "y was asked for, so it holds from the start on" if self.fixed == "y" else ""


@dataclass(frozen=True, kw_only=True)
class Bounds:
    most: float = parameter(3.0, low=0.0, high=9.0, dynamic=True, stricter="lower")
    runs: int = parameter(20, low=1, high=99, dynamic=True, stricter="higher")
    url: str = parameter("", dynamic=True)


class OptionsNode(PerceptionNode):
    def __init__(self, **kwargs):
        super().__init__("options", **kwargs)
        self.seen = []
        self.options = self.declare_parameters_of(
            Options, prefix="part.", on_change=self.seen.append
        )
        self.bounds = self.declare_parameters_of(
            Bounds, prefix="bounds.", held=lambda: self.options.config.held
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


def test_a_whole_number_in_the_place_of_a_float_is_one(harness):
    given = {"part.places": [1, -2], "part.ratio": 1}
    node = harness.add(OptionsNode, parameters={**given, "autostart": False})
    assert (node.options.config.places, node.options.config.ratio) == ((1.0, -2.0), 1.0)


@pytest.mark.parametrize(("name", "value"), [("part.count", 1.0), ("part.cores", [0.5])])
def test_a_fraction_in_the_place_of_a_whole_number_is_refused(harness, name, value):
    with pytest.raises(ConfigurationError, match=name):
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


def test_a_whole_number_is_a_float_while_the_node_runs_too(harness, node):
    assert set_parameter(harness, "part.ratio", 1).successful
    assert node.options.config.ratio == 1.0


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
        ("part.name", "other", "part.name: read-only"),
        ("part.count", "three", "count"),
        ("part.pose", [1.0, float("nan")], "part.pose: cannot change"),
    ],
)
def test_a_refusal_names_the_allowed_range(harness, node, name, value, text):
    node.trigger_configure()
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


def change(harness, transition_id):
    request = ChangeState.Request(transition=Transition(id=transition_id))
    return harness.call(ChangeState, "/options/change_state", request).success


def test_configuration_is_set_after_cleanup_and_holds_from_the_next_configure_on(harness, node):
    assert change(harness, Transition.TRANSITION_CONFIGURE)
    refused = set_parameter(harness, "part.fixed", "y")
    assert "after cleanup" in refused.reason
    assert change(harness, Transition.TRANSITION_CLEANUP)
    assert set_parameter(harness, "part.fixed", "w").successful
    assert change(harness, Transition.TRANSITION_CONFIGURE)
    assert node.options.config.fixed == "w"
    assert not set_parameter(harness, "part.fixed", "z").successful


def test_what_says_that_it_is_held_changes_in_no_state(harness, node):
    assert set_parameter(harness, "part.fixed", "y").successful
    for name, value in (("part.fixed", "x"), ("part.ratio", 0.1)):
        reason = set_parameter(harness, name, value).reason
        assert f"{name}: cannot change: y was asked for, so it holds from the start on" in reason
    assert node.options.config.fixed == "y"


def test_beside_what_is_held_a_bound_changes_to_what_is_stricter_only(harness, node):
    assert set_parameter(harness, "bounds.most", 4.0).successful
    assert set_parameter(harness, "bounds.url", "a").successful
    assert set_parameter(harness, "part.fixed", "y").successful
    assert set_parameter(harness, "bounds.most", 2.0).successful
    assert set_parameter(harness, "bounds.runs", 30).successful
    for name, value, text in (
        ("bounds.most", 2.5, "expected at most 2, got 2.5: y was asked for"),
        ("bounds.runs", 29, "expected at least 30, got 29: y was asked for"),
        ("bounds.url", "b", "cannot change: y was asked for"),
    ):
        result = set_parameter(harness, name, value)
        assert not result.successful
        assert f"{name}: {text}" in result.reason
    assert node.bounds.config == Bounds(most=2.0, runs=30, url="a")


def test_what_is_read_only_says_so_and_is_refused_in_every_state(harness, node):
    names = ["part.name", "part.fixed", "part.ratio"]
    request = DescribeParameters.Request(names=names)
    answer = harness.call(DescribeParameters, "/options/describe_parameters", request)
    assert [descriptor.read_only for descriptor in answer.descriptors] == [True, False, False]
    assert "while the node is unconfigured" in answer.descriptors[1].additional_constraints
    assert "part.name: read-only" in set_parameter(harness, "part.name", "other").reason
    assert node.options.config.name == "one"


def test_empty_lists_are_values_with_the_type_of_their_list(harness, node):
    names = ["part.folders", "part.cores", "part.places", "part.kept"]
    request = GetParameters.Request(names=names)
    answer = harness.call(GetParameters, "/options/get_parameters", request)
    assert [value.type for value in answer.values] == [
        ParameterType.PARAMETER_STRING_ARRAY,
        ParameterType.PARAMETER_INTEGER_ARRAY,
        ParameterType.PARAMETER_DOUBLE_ARRAY,
        ParameterType.PARAMETER_STRING_ARRAY,
    ]
    assert "read-only" in set_parameter(harness, "part.kept", ["a"]).reason


@pytest.mark.parametrize("kind", [Parameter.Type.BYTE_ARRAY, Parameter.Type.BOOL_ARRAY])
def test_an_empty_list_of_whatever_type_empties_a_list(harness, node, kind):
    # `ros2 param set NODE NAME "[]"` sends booleans.
    assert set_parameter(harness, "part.folders", ["a"]).successful
    message = Parameter("part.folders", kind, []).to_parameter_msg()
    request = SetParameters.Request(parameters=[message])
    assert harness.call(SetParameters, "/options/set_parameters", request).results[0].successful
    assert node.options.config.folders == ()
    assert node.get_parameter("part.folders").type_ is Parameter.Type.STRING_ARRAY
