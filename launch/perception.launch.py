"""The pipeline on a vehicle: encoders, fusion, model manager.

ros2 launch edge_perception perception.launch.py sources:=camera_front,lidar composed:=true
"""

import tempfile
from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node
from launch_ros.parameter_descriptions import ParameterValue

from edge_perception.core.plugins import add_plugin_folders
from edge_perception.core.share import share_file
from edge_perception.running.log_format import FORMATS, TEXT, log_environment
from edge_perception.running.node_parameters import METRICS, RESOURCES, TRACES
from edge_perception.running.plugin_parameters import plugin_parameters
from edge_perception.running.process_plan import (
    DEFAULT_PARAMETERS,
    FUSION,
    choose_sources,
    encoder_processes,
    full_namespace,
    store_parameters,
    topic_remaps,
)
from edge_perception.running.ros_yaml import Section, dump
from edge_perception.running.transport import transport_environment

PACKAGE = "edge_perception"
BOOLEAN = ["true", "false", "True", "False"]  # launch files of others write them as Python does
RESPAWN_DELAY_S = 1.0
RESPAWN_LIMIT = 100  # a crash loop ends, and the last one stays in the log


def generate_launch_description():
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "namespace", default_value="", description="namespace of all nodes"
            ),
            DeclareLaunchArgument(
                "params_file",
                default_value=str(share_file(DEFAULT_PARAMETERS)),
                description="ROS parameter file; config/perception.yaml has every parameter",
            ),
            DeclareLaunchArgument(
                "use_sim_time", default_value="false", choices=BOOLEAN, description="follow /clock"
            ),
            DeclareLaunchArgument(
                "composed",
                default_value="false",
                choices=BOOLEAN,
                description="all nodes in one process, features handed over by reference",
            ),
            DeclareLaunchArgument(
                "log_level",
                default_value="info",
                choices=["debug", "info", "warn", "error", "fatal"],
                description="log level of the nodes",
            ),
            DeclareLaunchArgument(
                "log_format",
                default_value=TEXT,
                choices=list(FORMATS),
                description="of the console: as ROS has it, or an object of JSON a line",
            ),
            DeclareLaunchArgument(
                "sources",
                default_value="",
                description="names with commas between, each beginning with its modality; "
                "empty: as the parameter file says",
            ),
            DeclareLaunchArgument(
                "model_store",
                default_value="",
                description="folder of releases, of every node; empty: as the parameter file says",
            ),
            DeclareLaunchArgument(
                "trust_file",
                default_value="",
                description="trusted keys, without which models cannot be changed; "
                "empty: as the parameter file says",
            ),
            DeclareLaunchArgument(
                "plugin_folders",
                default_value="",
                description="folders with extensions of your own, with commas between, for every "
                "node; empty: as the parameter file says",
            ),
            DeclareLaunchArgument(
                "autostart",
                default_value="true",
                choices=BOOLEAN,
                description="nodes configure and activate themselves",
            ),
            DeclareLaunchArgument(
                "respawn",
                default_value="true",
                choices=BOOLEAN,
                description="start a process again when it ends",
            ),
            DeclareLaunchArgument(
                "respawn_delay", default_value=str(RESPAWN_DELAY_S), description="s, until then"
            ),
            DeclareLaunchArgument(
                "respawn_limit",
                default_value=str(RESPAWN_LIMIT),
                description="starts of a process until it is given up; -1: never",
            ),
            DeclareLaunchArgument(
                "topics",
                default_value="",
                description="source:=topic with commas between, instead of SOURCE/image_raw and so "
                "on; what belongs to it (compressed, camera_info) moves with it. A name with a "
                "slash at its end is the namespace of a driver: camera_front:=/front/",
            ),
            DeclareLaunchArgument(
                "diagnostic_aggregator",
                default_value="false",
                choices=BOOLEAN,
                description="start the aggregator with config/diagnostic_aggregator.yaml",
            ),
            DeclareLaunchArgument(
                "metrics",
                default_value="false",
                choices=BOOLEAN,
                description="serve metrics for Prometheus on 127.0.0.1 (docs/observing.md)",
            ),
            DeclareLaunchArgument(
                "resources",
                default_value="false",
                choices=BOOLEAN,
                description="tell processor, memory, heat and watts of this machine in diagnostics",
            ),
            DeclareLaunchArgument(
                "traces",
                default_value="false",
                choices=BOOLEAN,
                description="slow fused views to a collector of OpenTelemetry (docs/observing.md)",
            ),
            OpaqueFunction(function=start_nodes),
        ]
    )


def start_nodes(context):
    values = {
        name: LaunchConfiguration(name).perform(context)
        for name in (
            "namespace",
            "params_file",
            "composed",
            "log_level",
            "log_format",
            "sources",
            "model_store",
            "trust_file",
            "plugin_folders",
            "topics",
            "diagnostic_aggregator",
            "metrics",
            "resources",
            "traces",
        )
    }
    on = {name for name, text in values.items() if text in ("true", "True")}
    add_plugin_folders(filter(None, values["plugin_folders"].split(",")))
    # By the groups that launch files of others put this one into: sections of a file are for that.
    pushed = context.launch_configurations.get("ros_namespace", "")
    sources = choose_sources(
        values["sources"],
        [Path(values["params_file"])],
        namespace=full_namespace(pushed, values["namespace"]),
    )
    encoders = encoder_processes(sources)
    common = {
        "package": PACKAGE,
        "namespace": values["namespace"],
        "output": "screen",
        "respawn": LaunchConfiguration("respawn"),
        "respawn_delay": number(context, "respawn_delay", float),
        "respawn_max_retries": number(context, "respawn_limit", int),
        "remappings": topic_remaps(values["topics"], sources),
        # Only for these processes: what else the robot starts keeps its own environment.
        "additional_env": {
            **transport_environment(context.environment),
            **log_environment(values["log_format"]),
        },
    }
    parameters = [
        values["params_file"],
        # All nodes are told: they know then which names in the file somebody reads. A mapping would
        # be written for the one node, and only fusion has this parameter.
        str(file_for_all({"sources": list(sources)})),
        {
            name: ParameterValue(LaunchConfiguration(name), value_type=bool)
            for name in ("use_sim_time", "autostart")
        },
        store_parameters(values["model_store"], values["trust_file"]),
        plugin_parameters(),
    ]
    log_level = ["--log-level", values["log_level"]]
    aggregator = aggregator_nodes(values) if "diagnostic_aggregator" in on else []

    def node(executable, name, words=(), **extra):
        return LifecycleNode(
            executable=executable,
            name=name,
            arguments=list(words),
            parameters=[*parameters, extra] if extra else parameters,
            ros_arguments=log_level,
            **common,
        )

    # Of its own also where the others are one process: a scrape must not hold their interpreter.
    observing = [node(name, name) for name in (METRICS, RESOURCES, TRACES) if name in on]
    if "composed" in on:
        # Fusion's `sources` tell the other nodes of the process which encoders to be.
        return [
            Node(
                executable="perception",
                parameters=[*parameters, {"sources": list(sources)}],
                ros_arguments=log_level,
                **common,
            ),
            *observing,
            *aggregator,
        ]

    return [
        *(
            node(encoder.executable, encoder.node_name, encoder.arguments, source=encoder.source)
            for encoder in encoders
        ),
        node(FUSION, FUSION, sources=list(sources)),
        node("model_manager", "model_manager"),
        *observing,
        *aggregator,
    ]


def number(context, name, kind):
    text = LaunchConfiguration(name).perform(context)
    try:
        return kind(text)
    except ValueError:
        raise RuntimeError(f"{name}: expected a number, got '{text}'") from None


def aggregator_nodes(values):
    """Return the aggregator of diagnostics."""
    try:
        get_package_prefix("diagnostic_aggregator")
    except PackageNotFoundError as error:
        raise RuntimeError(f"diagnostic_aggregator: not installed: {error}") from None
    return [
        Node(
            package="diagnostic_aggregator",
            executable="aggregator_node",
            namespace=values["namespace"],
            parameters=[str(share_file("config/diagnostic_aggregator.yaml"))],
            output="screen",
        )
    ]


def file_for_all(values):
    """Return a parameter file that holds for every node."""
    path = Path(tempfile.mkdtemp(prefix="edge_perception_launch_")) / "all.yaml"
    path.write_text(dump([Section(pattern="/**", values=values, origin="launch")]))
    return path
