import pytest

from edge_perception.core.errors import ConfigurationError
from edge_perception.recordings.definitions import (
    full_definition,
    message_class,
    split_type,
    starts_with_header,
)

pytestmark = pytest.mark.usefixtures("ros")


def test_contained_types_follow_the_definition_once_each():
    text = full_definition("edge_perception/msg/FusedPerception")
    named = [line[5:] for line in text.splitlines() if line.startswith("MSG: ")]
    assert sorted(named) == sorted(set(named))
    assert {
        "std_msgs/Header",
        "builtin_interfaces/Time",
        "geometry_msgs/Point",
        "edge_perception/SourceStatus",
        "edge_perception/Latency",
    } <= set(named)
    assert text.count("=" * 80) == len(named)


def test_class_of_a_type_name():
    from sensor_msgs.msg import PointCloud2

    assert message_class("sensor_msgs/msg/PointCloud2") is PointCloud2


@pytest.mark.parametrize("name", ["PointCloud2", "sensor_msgs/PointCloud2", "a/srv/B", "a//B"])
def test_malformed_type_names_are_refused(name):
    with pytest.raises(ConfigurationError, match="expected package/msg/Name"):
        split_type(name)


def test_types_that_are_not_installed_are_named():
    with pytest.raises(ConfigurationError, match="nowhere/msg/Thing"):
        message_class("nowhere/msg/Thing")
    with pytest.raises(ConfigurationError, match="sensor_msgs/msg/Nothing"):
        full_definition("sensor_msgs/msg/Nothing")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sensor_msgs/msg/CompressedImage", True),
        ("edge_perception/msg/AudioChunk", True),
        ("geometry_msgs/msg/Point", False),
        ("edge_perception/msg/Tensor", False),
    ],
)
def test_whether_a_type_starts_with_a_header(name, expected):
    assert starts_with_header(name) is expected
