"""Values that no command can use: one line that names the option, exit 2, never a stack trace."""

import pytest

from edge_perception.cli.main import main
from edge_perception.core.errors import ConfigurationError
from edge_perception.core.ros_names import namespace_prefix, topic_problem
from edge_perception.recordings.writer import RecordingWriter, Topic
from edge_perception.validation.segments import plan_segments
from edge_perception.validation.settings import ReplaySettings


@pytest.fixture
def recording_path(tmp_path):
    path = tmp_path / "bag.mcap"
    with RecordingWriter(path) as writer:
        writer.add_topic(Topic(name="/a", type="std_msgs/msg/String", definition="string data\n"))
        for index in range(3):
            writer.write("/a", bytes(8), log_time_ns=10**9 + index)
    return path


def refused(capsys, *arguments):
    try:
        status = main([str(argument) for argument in arguments])
    except SystemExit as ended:
        status = ended.code
    said = capsys.readouterr()
    assert "Traceback" not in said.out + said.err
    assert status == 2, said.out + said.err
    return said.err


@pytest.mark.parametrize("value", ["nan", "-1", "inf", "x"])
@pytest.mark.parametrize(
    ("command", "option"),
    [
        (["doctor"], "--watch"),
        (["resources"], "--seconds"),
        (["doctor"], "--domain"),
        (["play", "bag.mcap"], "--wait"),
        (["play", "bag.mcap"], "--clock"),
        (["record"], "--duration"),
        (["models", "history"], "--limit"),
        (["models", "export-triton", "repository", "bev_lite/audio"], "--max-batch"),
        (["models", "export-triton", "repository", "bev_lite/audio"], "--queue-delay-us"),
        (["run"], "--respawn-delay"),
        (["run"], "--respawn-limit"),
    ],
)
def test_a_number_that_is_none(capsys, command, option, value):
    assert option in refused(capsys, *command, option, value)


@pytest.mark.parametrize(
    "arguments",
    [
        ("doctor", "--namespace", "a b"),
        ("record", "--namespace", "robot-1"),
        ("run", "--namespace", "robot-1"),
        ("validate", "bag.mcap", "--out", "/nowhere", "--namespace", "a b"),
        ("models", "swap", "bev_lite", "--manager", "/a-b"),
        ("models", "events", "--manager", "/a b"),
        ("record", "--topics", "/a-b:std_msgs/msg/String"),
        ("play", "bag.mcap", "--namespace", "1st"),
        ("play", "bag.mcap", "--params-file", "a.yaml"),
        ("play", "bag.mcap", "--remap", "/a:=/b"),
        ("evaluate", "--ground-truth", "a.yaml"),
        ("evaluate", "--params-file", "a.yaml"),
    ],
)
def test_what_cannot_be_followed_is_named(capsys, arguments):
    assert arguments[-2].removeprefix("--") in refused(capsys, *arguments)


@pytest.mark.parametrize("segment_s", [float("nan"), float("inf"), -5.0, 0.5])
def test_segments_of_no_length(recording_path, segment_s):
    with pytest.raises(ConfigurationError, match="--segment"):
        plan_segments(ReplaySettings(bag=str(recording_path), segment_s=segment_s))


@pytest.mark.parametrize("warm_up_s", [float("nan"), -3.0, 1e9])
def test_a_warm_up_that_is_none(recording_path, warm_up_s):
    with pytest.raises(ConfigurationError, match="--warm-up"):
        plan_segments(ReplaySettings(bag=str(recording_path), warm_up_s=warm_up_s))


@pytest.mark.parametrize(
    "change",
    [
        {"delay": ("lidar:nans",)},
        {"shift": ("lidar:infms",)},
        {"lose": ("lidar:nan",)},
        {"shift": ("lidar:1e12s",)},
        {"noise": ("lidar:nan",)},
        {"noise": ("lidar:inf",)},
    ],
)
def test_changes_by_no_number(recording_path, change):
    with pytest.raises(ConfigurationError, match=next(iter(change))):
        ReplaySettings(bag=str(recording_path), **change).changes()


@pytest.mark.parametrize("what", ["drop", "delay", "shift", "lose"])
def test_changes_of_a_topic_that_is_not_there(recording_path, what):
    form = "lidr:0-1" if what == "drop" else "lidr:1s"
    changes = ReplaySettings(bag=str(recording_path), **{what: (form,)}).changes()
    with pytest.raises(ConfigurationError, match=f"{what} 'lidr'.*lidar/points"):
        changes.check_topics(["/lidar/points"])


def test_an_earlier_result_with_figures_that_are_none(tmp_path, capsys):
    path = tmp_path / "result.json"
    for metrics in ("[1]", '{"recall": "high"}', '{"recall": 7}'):
        path.write_text(
            f'{{"schema": "edge_perception/validation_result/1", "metrics": {metrics}}}'
        )
        said = refused(capsys, "validate", "a.mcap", "--thresholds", path, "--out", tmp_path / "o")
        assert "result.json: metrics" in said


def test_a_file_where_a_folder_belongs(tmp_path, capsys, ros_domain, monkeypatch):
    monkeypatch.setenv("ROS_DOMAIN_ID", str(ros_domain))
    (tmp_path / "file").write_text("")
    said = refused(capsys, "record", "--out", tmp_path / "file" / "events", "--duration", "1")
    assert "file" in said


@pytest.mark.parametrize("name", ["/a-b/image", "/1st", "/a//b", "/a/", "a", "", "/a b", "/ä"])
def test_names_that_ros_has_not(name):
    from rclpy.exceptions import InvalidTopicNameException
    from rclpy.validate_full_topic_name import validate_full_topic_name

    assert topic_problem(name)
    with pytest.raises((InvalidTopicNameException, ValueError)):
        validate_full_topic_name(name)


@pytest.mark.parametrize("name", ["/a", "/A_1/b2", "/_a/__b", "/" + "a" * 246])
def test_names_that_ros_has(name):
    from rclpy.validate_full_topic_name import validate_full_topic_name

    assert not topic_problem(name)
    assert validate_full_topic_name(name)


def test_namespaces():
    assert namespace_prefix("") == namespace_prefix("/") == ""
    assert namespace_prefix("a/b/") == "/a/b"
