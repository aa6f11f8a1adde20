"""What is read of parameter files without ROS is what rcl gives a node."""

import itertools

import pytest
import rclpy
from rclpy.context import Context
from rclpy.node import Node

from edge_perception.running.parameter_yaml import ParameterFiles

SPACES = ("/", "/r", "/r/s")
PATTERNS = (
    "/**", "/*", "/**/fusion", "/*/fusion", "/r/*", "/r/**", "/**/r/fusion", "fusion",
    "/r/fusion", "r/fusion", "'**'", "'*/fusion'", "/**/s/*",
)  # fmt: skip


def as_rcl(arguments, namespace, name="fusion"):
    context = Context()
    rclpy.init(args=["n", "--ros-args", *arguments, "-r", f"__ns:={namespace}"], context=context)
    node = Node(name, context=context)
    try:
        return {name: parameter.value for name, parameter in node._parameter_overrides.items()}
    finally:
        node.destroy_node()
        context.shutdown()


def written(tmp_path, *texts):
    paths = []
    for index, text in enumerate(texts):
        paths.append(tmp_path / f"{index}.yaml")
        paths[-1].write_text(text)
    return paths


def agree(paths, namespace):
    arguments = [word for path in paths for word in ("--params-file", str(path))]
    ours = ParameterFiles(paths, namespace=namespace).of_node("fusion")
    assert ours == as_rcl(arguments, namespace)
    return ours


@pytest.mark.parametrize("namespace", SPACES)
def test_which_sections_mean_a_node(ros_domain, tmp_path, namespace):
    text = "".join(
        f"{pattern}:\n  ros__parameters: {{p{index}: {index}}}\n"
        for index, pattern in enumerate(PATTERNS)
    )
    assert len(agree(written(tmp_path, text), namespace)) >= 3


def test_nested_sections(ros_domain, tmp_path):
    text = """\
r:
  s:
    fusion: {ros__parameters: {a: 1, b: {c: 2}}}
  fusion:
    ros__parameters: {a: 3}
"""
    for namespace in SPACES:
        agree(written(tmp_path, text), namespace)


def test_which_of_several_sections_wins(ros_domain, tmp_path):
    """Every order of two places in one file, and a third in a second file."""
    patterns = ("/**", "/**/fusion", "/fusion")
    for case, order in enumerate(itertools.product(patterns, repeat=3)):
        if order[0] == order[1]:
            continue
        texts = [
            "".join(f"{p}:\n  ros__parameters: {{x: {i}}}\n" for i, p in enumerate(order[:2])),
            f"{order[2]}:\n  ros__parameters: {{x: 2, y: {case}}}\n",
        ]
        agree(written(tmp_path, *texts), "/")


def test_values(ros_domain, tmp_path):
    values = (
        "1", "-3", "0x10", "010", "08", "1e3", "1.", ".5", "0x1p3", "y", "Off", "tRue", "1_000",
        "1:30", "2020-01-01", "1e400", "9223372036854775808", ".inf", "'1'", "!!str 1", "[1, 2]",
        "[1.0, 2.5]", "[a, b]", "[true, no]", "a b", "+1", "-0", "=", "0o10", "1.5e", "Infinity",
        "0b11", "1e+22", "inf",
    )  # fmt: skip
    lines = "".join(f"    p{index}: {value}\n" for index, value in enumerate(values))
    (path,) = written(tmp_path, f"fusion:\n  ros__parameters:\n{lines}")
    ours = ParameterFiles([path]).of_node("fusion")
    theirs = as_rcl(["--params-file", str(path)], "/")
    assert len(ours) == len(values)
    for index, value in enumerate(values):
        mine, other = ours[f"p{index}"], theirs[f"p{index}"]
        assert mine == (list(other) if isinstance(mine, list) else other), value
        assert isinstance(mine, list) or type(mine) is type(other), value
