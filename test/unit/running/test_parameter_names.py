"""Names that nothing reads, namespaces, and the arguments of a process."""

import re
from pathlib import Path

import pytest

from edge_perception.core.errors import ConfigurationError
from edge_perception.core.share import share_file
from edge_perception.running.node_arguments import checked_arguments, read_arguments
from edge_perception.running.node_parameters import check_names
from edge_perception.running.parameter_yaml import ParameterFiles
from edge_perception.running.ros_yaml import dump, parse_file
from edge_perception.running.vehicle_plan import read_plan


@pytest.fixture
def write(tmp_path):
    def write(text, name="params.yaml"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def section(node, **values):
    lines = "".join(f"    {name}: {value}\n" for name, value in values.items())
    return f"{node}:\n  ros__parameters:\n{lines}"


WRONG = [
    ("lidar_encoder", "T_base_sensr", "[0.0]", "'T_base_sensor'"),
    ("/**/lidar_encoder", "content.min_point", "1", "'content."),
    ("fusion", "decision.min_scor", "0.3", "'decision.min_score'"),
    ("fusion", "lidr.rate_hz", "10.0", "'lidar.rate_hz'"),
    ("fusion", "camera_frnt.rate_hz", "10.0", r"nearest: '\w+\.rate_hz'"),
    ("fusion", "min_score", "0.3", "'decision.min_score'"),
    ("/**", "deadlin_s", "0.3", "'deadline_s'"),
    ("/r/*", "deadlin_s", "0.3", "'deadline_s'"),
    ("lidar_encoder", "deadline_s", "0.3", "it is one of fusion"),
    ("model_manager", "admission_limt_mb", "1", "'admission_"),
    ("nonode", "x", "1", "nearest: '"),
    ("fuson", "deadline_s", "0.3", "nearest: 'fusion'"),
    ("lidar_encodr", "threads", "2", "nearest: 'lidar_encoder'"),
    ("sonar_encoder", "threads", "2", "nearest: '"),
    ("camera_left_encoder", "threads", "2", "nearest: '"),  # nobody has such a source
    ("fusion", '"qos_overrides./lidar/points.subscription.reliabilty"', "reliable", "nearest"),
    (
        "lidar_encoder",
        '"qos_overrides./lidar/points.subscription.reliability"',
        "relible",
        "expected one of reliable, best_effort, system_default, got 'relible'",
    ),
    (
        "lidar_encoder",
        '"qos_overrides./lidar/points.subscription.depth"',
        "-3",
        "expected 1 to 100000, got -3",
    ),
    (
        "camera_encoder",
        '"qos_overrides./camera/image_raw.subscription.durability"',
        "volatile",
        "of an input reliability and depth can be changed, not durability",
    ),
    (
        "lidar_encoder",
        '"qos_overrides./features/lidar.publisher.depth"',
        "5",
        "the QoS of what a node publishes cannot be changed",
    ),
    (
        "lidar_encoder",
        "use_sim_time",
        '"true"',
        "expected true or false without quotes, got 'true'",
    ),
    ("/**", "use_sim_time", "1", "expected true or false without quotes, got 1"),
    ("lidar_encoder", "topic", "/my/points", "topics are remapped: `--topics lidar:=/my/points`"),
    ("fusion", "lidar.input_topic", "/my/points", "topics are remapped: "),
]


@pytest.mark.parametrize(("node", "name", "value", "says"), WRONG)
def test_a_name_that_nothing_reads_is_refused_with_the_nearest(write, node, name, value, says):
    path = write(section(node, **{name: value}))
    with pytest.raises(ConfigurationError, match=says) as told:
        read_plan([path], namespace="r")
    text = str(told.value)
    assert "\n" not in text
    assert f"{path}:" in text
    with (
        pytest.raises(ConfigurationError, match=re.escape(text)),
        checked_arguments(["node", "--ros-args", "--params-file", str(path)]),
    ):
        pass


@pytest.mark.parametrize(
    "name",
    ["nonode.x", "fusion.decision.min_scor", "lidar_encoder.T_base_sensr", "fuson.deadline_s"],
)
def test_also_among_single_values(name):
    with pytest.raises(ConfigurationError, match=r"--set: .*nearest: '"):
        read_plan([], overrides={name: 1})
    node, _, parameter = name.partition(".")
    with (
        pytest.raises(ConfigurationError, match="nearest: '"),
        checked_arguments(["n", "--ros-args", "-p", f"{node}:{parameter}:=1"]),
    ):
        pass


def test_everything_that_a_node_reads_is_known(write):
    path = write(
        section("/**", use_sim_time="true", other_nodes="[velodyne, nav2_*]", model_store="x")
        + section("fusion", **{"sources": "[camera_left, lidar]", "camera_left.rate_hz": "5.0"})
        + section("camera_left_encoder", **{"content.frozen_frames": "5"})
        + section("audio_encoder", threads="2")  # of the package, not of this vehicle
        + section(
            "lidar_encoder",
            **{
                '"qos_overrides./lidar/points.subscription.reliability"': "reliable",
                '"qos_overrides./lidar/points.subscription.depth"': "20",
                '"qos_overrides./clock.subscription.durability"': "volatile",
                '"qos_overrides./parameter_events.publisher.depth"': "1000",
            },
        )
        + section("/**", **{'"qos_overrides./map.subscription.durability"': "transient_local"})
        + section("velodyne", whatever="1")
        + section("/**/nav2_controller", whatever="1")
    )
    check_names(ParameterFiles([path, share_file("config/perception.yaml")]))


def test_values_reach_the_plan_as_they_reach_the_nodes(write):
    path = write(
        section(
            "lidar_encoder",
            **{"T_base_sensor": "[0, 0, 1.73, 0, 0, 0, 1]", "content.min_points": "7"},
        )
        + section("fusion", sources="[lidar]", deadline_s="1")
    )
    plan = read_plan([path])
    (lidar,) = plan.sources
    assert lidar.options.T_base_sensor == (0.0, 0.0, 1.73, 0.0, 0.0, 0.0, 1.0)
    assert lidar.content.min_points == 7
    assert plan.fusion.cycle.deadline_s == 1.0
    whole = read_plan([], overrides={"lidar_encoder.T_base_sensor": [0, 0, 1, 0, 0, 0, 1]})
    assert whole.sources[1].options.T_base_sensor == (0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


def test_the_degradation_policy_of_the_files_is_that_of_the_plan(write):
    policy = write("schema_version: 1\nmodes:\n  - {mode: none, action: invalid}\n", "policy.yaml")
    path = write(section("fusion", degradation_policy=str(policy)))
    assert len(read_plan([path]).policy.modes) == 1


class TestNamespaces:
    A = section("/a/fusion", deadline_s="0.21", **{"decision.min_score": "0.31"})
    B = section("/b/fusion", deadline_s="0.22")

    def deadline_s(self, path, **given):
        plan = read_plan([path], **given)
        return plan.namespace, plan.fusion.cycle.deadline_s, plan.fusion.decision.min_score

    def test_two_vehicles_are_never_mixed(self, write):
        path = write(self.A + self.B)
        with pytest.raises(ConfigurationError, match="/a and /b: choose with --namespace"):
            read_plan([path])
        usual = read_plan([]).fusion.decision.min_score
        assert self.deadline_s(path, namespace="a") == ("/a", 0.21, 0.31)
        assert self.deadline_s(path, namespace="/b") == ("/b", 0.22, usual)

    def test_the_only_one_is_taken_with_a_note(self, write):
        path = write(self.A)
        assert self.deadline_s(path) == ("/a", 0.21, 0.31)
        assert "namespace /a" in read_plan([path]).notes[0]

    def test_nested_below_its_namespace(self, write):
        path = write("a:\n  fusion:\n    ros__parameters: {deadline_s: 0.21}\n")
        assert self.deadline_s(path, namespace="a")[1] == 0.21
        assert self.deadline_s(path)[:2] == ("/a", 0.21)

    def test_the_root_is_what_it_says(self, write):
        path = write(section("fusion", deadline_s="0.3") + self.A)
        assert self.deadline_s(path)[:2] == ("/", 0.3)
        assert read_plan([path]).notes == ()

    def test_a_wildcard_needs_a_namespace(self, write):
        path = write(section("/*/fusion", deadline_s="0.3"))
        with pytest.raises(ConfigurationError, match=r"/\*/fusion.*--namespace"):
            read_plan([path])
        assert self.deadline_s(path, namespace="r")[1] == 0.3

    def test_a_process_refuses_a_file_of_other_vehicles(self, write):
        path = str(write(self.A + self.B))
        arguments = ["n", "--ros-args", "--params-file", path]
        with pytest.raises(ConfigurationError, match="namespace /, got only /a/fusion, /b/fusion"):
            checked_arguments(arguments).__enter__()
        with checked_arguments([*arguments, "-r", "__ns:=/b"]) as checked:
            assert "__ns:=/b" in checked


class TestArguments:
    def test_values_on_the_command_line_win_over_the_file_before_them(self, write):
        path = write(section("/**", deadline_s="0.1") + section("/**/fusion", deadline_s="0.2"))
        arguments = ["n", "x", "--ros-args", "--params-file", str(path), "-p", "deadline_s:=0.3"]
        read = read_arguments(arguments)
        assert read.parameters.of_node("fusion")["deadline_s"] == 0.3
        assert read.others == ["n", "x", "--ros-args"]
        turned = ["n", "--ros-args", "-p", "deadline_s:=0.3", "--params-file", str(path)]
        assert read_arguments(turned).parameters.of_node("fusion")["deadline_s"] == 0.2

    def test_rcl_is_told_what_was_understood(self, write):
        path = write(section("lidar_encoder", T_base_sensor="[0, 0, 1.73, 0, 0, 0, 1]"))
        with checked_arguments(["n", "--ros-args", "--params-file", str(path)]) as checked:
            file = checked[checked.index("--params-file") + 1]
            (found,) = parse_file(Path(file).read_text(), file)
        assert found.values["T_base_sensor"] == [0.0, 0.0, 1.73, 0.0, 0.0, 0.0, 1.0]
        assert "[0.0, 0.0, 1.73" in dump([found])

    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            (["-p", "x"], "expected name:=value, got 'x'"),
            (["-p"], "expected a value"),
            (["-p", "deadline_s:="], "expected a value"),
            (["--params-file", "/nowhere.yaml"], "/nowhere.yaml"),
        ],
    )
    def test_what_is_wrong_is_one_line(self, arguments, says):
        with pytest.raises(ConfigurationError, match=says):
            checked_arguments(["n", "--ros-args", *arguments]).__enter__()

    def test_others_pass(self):
        arguments = ["n", "-p", "not ROS", "--ros-args", "--log-level", "info", "--", "-p", "x"]
        with checked_arguments(arguments) as checked:
            assert checked == arguments

    def test_a_section_of_the_name_that_a_launch_file_gives_a_node_is_read(self, write):
        path = write(section("/r/front", rate_hz="5.0"))
        words = ["/opt/lidar_encoder", "--ros-args", "-r", "__ns:=/r", "--params-file", str(path)]
        with pytest.raises(ConfigurationError, match="no node reads the section '/r/front'"):
            checked_arguments(words).__enter__()
        with checked_arguments([*words, "-r", "__node:=front"]) as checked:
            assert "__node:=front" in checked
            file = checked[checked.index("--params-file") + 1]
            (found,) = parse_file(Path(file).read_text(), file)
        assert (found.pattern, found.values) == ("/r/front", {"rate_hz": 5.0})
        wrong = write(section("/r/front", rate="5.0"))
        words[-1] = str(wrong)
        with pytest.raises(ConfigurationError, match="'rate' is no parameter of front; nearest"):
            checked_arguments([*words, "-r", "__node:=front"]).__enter__()

    def test_an_encoder_does_not_refuse_sections_of_others_that_fusion_is_told_elsewhere(
        self, write
    ):
        path = write(
            section("camera_left_encoder", rate_hz="5.0") + section("lidar_top_encoder", threads=2)
        )
        words = ["--ros-args", "--params-file", str(path)]
        for program in ("camera_encoder", "encoder"):
            with checked_arguments([f"/opt/lib/{program}", *words]) as checked:
                assert "--params-file" in checked
        with pytest.raises(ConfigurationError, match="no node reads the section"):
            checked_arguments(["/opt/lib/fusion", *words]).__enter__()
        words[-1] = str(write(section("camra_left_encoder", rate_hz="5.0")))
        with pytest.raises(ConfigurationError, match="no node reads the section '/camra_left"):
            checked_arguments(["/opt/lib/camera_encoder", *words]).__enter__()

    @pytest.mark.parametrize("first", [True, False], ids=["name first", "file first"])
    def test_a_process_of_several_nodes_that_is_given_a_name_keeps_theirs(self, write, first):
        path = write(section("/r/perception", sources="[lidar]", autostart="false"))
        named, file = ["-r", "__node:=perception"], ["--params-file", str(path)]
        words = [*(named if first else file), "-r", "__ns:=/r", *(file if first else named)]
        arguments = ["/opt/perception", "--ros-args", *words, "-p", "perception:log_burst:=7"]
        with checked_arguments(arguments, several=True) as checked:
            assert not any("__node" in word for word in checked)
            file_read = checked[checked.index("--params-file") + 1]
            found = ParameterFiles([Path(file_read)], namespace="/r")
        assert found.of_node("fusion")["sources"] == ["lidar"]
        assert found.of_node("lidar_encoder")["autostart"] is False
        assert found.of_node("model_manager")["log_burst"] == 7
        kept = ["/opt/perception", "--ros-args", "-r", "fusion:__node:=fuser"]
        with checked_arguments(kept, several=True) as checked:
            assert checked == kept
