"""The quality of service a recording offers for each topic, in the words of rosbag2."""

from __future__ import annotations

from dataclasses import dataclass

import yaml

from edge_perception.core.parameter import parameter
from edge_perception.core.schema import decode

_RELIABILITY = {"reliable": 1, "best_effort": 2}
_DURABILITY = {"transient_local": 1, "volatile": 2}
_KEEP_LAST = 1
_INFINITE = {"sec": 2147483647, "nsec": 4294967295}


@dataclass(frozen=True, kw_only=True)
class TopicQos:
    """What matters of a QoS profile here."""

    reliability: str = parameter("reliable", choices=tuple(_RELIABILITY))
    durability: str = parameter("volatile", choices=tuple(_DURABILITY))
    depth: int = parameter(5, low=1, high=1000)


SENSOR_DATA = TopicQos(reliability="best_effort")
RELIABLE = TopicQos()


def qos_to_yaml(qos: TopicQos) -> str:
    """Return the value of a channel's ``offered_qos_profiles`` metadata (numbers of the rmw)."""
    profile = {
        "history": _KEEP_LAST,
        "depth": qos.depth,
        "reliability": _RELIABILITY[qos.reliability],
        "durability": _DURABILITY[qos.durability],
        "deadline": dict(_INFINITE),
        "lifespan": dict(_INFINITE),
        "liveliness": 1,
        "liveliness_lease_duration": dict(_INFINITE),
        "avoid_ros_namespace_conventions": False,
    }
    return str(yaml.safe_dump([profile], sort_keys=False)).strip()


def qos_from_yaml(text: str) -> TopicQos:
    """Read the first offered profile; numbers and names (rosbag2 version 9) are understood.

    An empty text, or a profile that leaves a value to the system, gives the defaults.

    Raises:
        ConfigurationError: the text is not a list of profiles.
    """
    profiles = yaml.safe_load(text) if text.strip() else []
    if not profiles:
        return RELIABLE
    first = decode(dict, profiles[0], "offered_qos_profiles[0]")
    values: dict[str, object] = {
        "reliability": _name(first.get("reliability"), _RELIABILITY, RELIABLE.reliability),
        "durability": _name(first.get("durability"), _DURABILITY, RELIABLE.durability),
        "depth": first.get("depth") or RELIABLE.depth,  # 0: left to the system
    }
    return decode(TopicQos, values, "offered_qos_profiles[0]")


def _name(value: object, numbers: dict[str, int], default: str) -> str:
    if isinstance(value, str) and value in numbers:
        return value
    return next((name for name, number in numbers.items() if number == value), default)
