"""The quality of service a recording offers for each topic, in the words of rosbag2.

QoS says how messages were sent, and nothing about which were recorded. What others write there is
read as far as it can be understood; the rest is told, and never costs a message.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import yaml

from edge_perception.core.parameter import parameter

_RELIABILITY = {"reliable": 1, "best_effort": 2}
_DURABILITY = {"transient_local": 1, "volatile": 2}
# Left to the system, or to the other end: words and numbers of the rmw, of both policies.
_OPEN = ("", "system_default", "unknown", "best_available", "0", "3", "4", "5")
_KEEP_LAST = 1
_MOST = 1000
_INFINITE = {"sec": 2147483647, "nsec": 4294967295}
_KEYS = ("reliability", "durability", "depth", "history")


@dataclass(frozen=True, kw_only=True)
class TopicQos:
    """What matters of a QoS profile here."""

    reliability: str = parameter("reliable", choices=tuple(_RELIABILITY))
    durability: str = parameter("volatile", choices=tuple(_DURABILITY))
    depth: int = parameter(5, low=1, high=_MOST)

    @property
    def is_latched(self) -> bool:
        """Whether who comes later gets the last messages too."""
        return self.durability == "transient_local"


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


def read_qos(offered: object) -> tuple[TopicQos, str]:
    """Read offered profiles, of which the first counts.

    Args:
        offered: text of a storage, or what metadata.yaml holds: a list of profiles with names
            (rosbag2 version 9) or numbers.

    Returns:
        The profile, and what could not be understood: of that the default is taken. No profile,
        a key that is missing and a value that is left to the system give the default too.
    """
    if isinstance(offered, (str, bytes)):
        try:
            offered = yaml.safe_load(offered)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            return RELIABLE, f"no YAML: {' '.join(str(error).split())}"
    if not offered:
        return RELIABLE, ""
    first = offered[0] if isinstance(offered, list) else offered
    if not isinstance(first, Mapping):
        return RELIABLE, f"expected a list of profiles, got {first!r:.60}"
    if not isinstance(offered, list) and not any(_key(key) in _KEYS for key in first):
        keys = ", ".join(map(str, list(first)[:3]))
        return RELIABLE, f"expected a list of profiles, got a mapping of {keys}"
    told = {_key(key): value for key, value in first.items()}
    odd: list[str] = []
    qos = TopicQos(
        reliability=_name("reliability", told, _RELIABILITY, RELIABLE.reliability, odd),
        durability=_name("durability", told, _DURABILITY, RELIABLE.durability, odd),
        depth=_depth(told.get("depth"), odd),
    )
    return qos, "; ".join(odd)


def _key(name: object) -> str:
    return str(name).strip().lower()


def _name(
    policy: str,
    told: Mapping[str, object],
    numbers: Mapping[str, int],
    default: str,
    odd: list[str],
) -> str:
    value = told.get(policy)
    if value is None:
        return default
    word = str(value).strip().lower().replace(" ", "_").replace("-", "_")
    word = word.removeprefix("rmw_qos_policy_").removeprefix(f"{policy}_")
    word = word.removeprefix("qos").removeprefix(f"{policy}policy.").removesuffix(".0")
    for name, number in numbers.items():
        if word in (name, str(number)):
            return name
    if word not in _OPEN:
        odd.append(f"{policy}: expected {' or '.join(numbers)}, got {value!r:.40}")
    return default


def _depth(value: object, odd: list[str]) -> int:
    if value is None:
        return RELIABLE.depth
    try:
        number = int(str(value).strip().removesuffix(".0"))
    except ValueError:
        odd.append(f"depth: expected a number, got {value!r:.40}")
        return RELIABLE.depth
    return min(number, _MOST) if number > 0 else RELIABLE.depth  # 0: left to the system
