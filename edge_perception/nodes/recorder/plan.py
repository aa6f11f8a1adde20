"""Which topics the event recorder keeps, as the parameter files of the nodes tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from edge_perception.core.errors import ConfigurationError
from edge_perception.core.ros_names import namespace_prefix, topic_problem
from edge_perception.core.transforms import MOVING, STATIC, TF_TYPE
from edge_perception.encoders.pose import pose_of
from edge_perception.fusion.odometry import ODOMETRY_TYPE
from edge_perception.nodes.topics.message_types import is_installed
from edge_perception.recordings.qos import SENSOR_DATA, TopicQos
from edge_perception.recordings.writer import Topic
from edge_perception.running.parameter_yaml import ParameterFiles
from edge_perception.running.ros_yaml import dump
from edge_perception.running.vehicle_plan import read_plan

FUSED, LOAD_EVENTS = "/perception/fused", "/load_events"
_TOLD_ONCE = TopicQos(durability="transient_local", depth=1)
_MOST_STATIC = 1000  # messages of static transforms, each of which tells of other frames
_MOST_STEPS = 64  # of load control, of all sources


@dataclass(frozen=True, kw_only=True)
class RecordPlan:
    """Which topics are kept."""

    topics: tuple[Topic, ...]
    fused: str
    # Topics that may be told once only, and how many of their messages hold.
    holding: Mapping[str, int] = field(default_factory=dict)
    sources: tuple[str, ...] = ()
    prefix: str = ""  # namespace of the nodes
    parameters: str = ""  # of the nodes, to lie beside each file: where its sensors are

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the topics."""
        return tuple(topic.name for topic in self.topics)

    @classmethod
    def of(
        cls, *, params_files: Sequence[Path], namespace: str = "", topics: Sequence[str] = ()
    ) -> RecordPlan:
        """Return the inputs of the sources that the parameter files name, and the fused view.

        Transforms are among them where the pose of a source comes from them.

        Args:
            params_files: of the nodes.
            namespace: of the nodes.
            topics: more, as `/name:package/msg/Type`.

        Raises:
            ConfigurationError: a topic has another form, or ROS has none of such a name.
        """
        prefix = namespace_prefix(namespace)
        holding: dict[str, int] = {}
        found: dict[str, Topic] = {}
        plan = read_plan(params_files, namespace=namespace)
        for source in plan.sources:
            specs = dict(source.topics())
            if source.spec.calibration is not None:
                specs[source.calibration_topic] = source.spec.calibration
            for name, spec in specs.items():
                if not spec.optional or is_installed(spec.type):
                    full = prefix + name
                    told_once = spec.latched or spec is source.spec.calibration
                    if told_once:
                        holding[full] = 1
                    qos = _TOLD_ONCE if told_once else SENSOR_DATA
                    found.setdefault(full, Topic(name=full, type=spec.type, qos=qos))
        if odometry := plan.odometry_topic:
            found[prefix + odometry] = Topic(
                name=prefix + odometry, type=ODOMETRY_TYPE, qos=SENSOR_DATA
            )
        if is_installed(TF_TYPE) and any(
            pose_of(source.spec, source.options).asks_tf for source in plan.sources
        ):
            found[STATIC] = Topic(name=STATIC, type=TF_TYPE, qos=replace(_TOLD_ONCE, depth=100))
            found[MOVING] = Topic(name=MOVING, type=TF_TYPE, qos=SENSOR_DATA)
            holding[STATIC] = _MOST_STATIC
        found[prefix + LOAD_EVENTS] = Topic(
            name=prefix + LOAD_EVENTS,
            type="edge_perception/msg/LoadEvent",
            qos=replace(_TOLD_ONCE, depth=_MOST_STEPS),
        )
        holding[prefix + LOAD_EVENTS] = _MOST_STEPS  # a step holds until the next one
        fused = prefix + FUSED
        found[fused] = Topic(name=fused, type="edge_perception/msg/FusedPerception")
        for text in topics:
            name, colon, kind = text.partition(":")
            if not colon:
                raise ConfigurationError(f"topics: expected /name:package/msg/Type, got '{text}'")
            if problem := topic_problem(name):
                raise ConfigurationError(f"topics: {problem}")
            found[name] = Topic(name=name, type=kind)
        return cls(
            topics=tuple(found.values()),
            fused=fused,
            holding=holding,
            sources=tuple(source.name for source in plan.sources),
            prefix=prefix,
            parameters=dump(ParameterFiles(params_files).sections) if params_files else "",
        )
