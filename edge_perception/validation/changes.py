"""What differs between a message and its partner of the baseline, in words.

Each function takes the records of one pair and gives texts; what they add up to is judged in
`diff`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from edge_perception.validation.pairing import Record, distance_m
from edge_perception.validation.thresholds import Tolerances


def state_changes(now: Record, then: Record) -> Iterator[str]:
    """Name changes of mode, validity, level and of the sources' states."""
    for key in ("mode", "valid", "level"):
        if now[key] != then[key]:
            yield f"{key} {then[key]} became {now[key]}"
    others = by_source(then)
    for status in now["sources"]:
        name = status["source"]
        other = others.pop(name, None)
        if other is None:
            yield f"source {name} is new"
            continue
        if status["state"] != other["state"]:
            yield f"{name} {other['state']} became {status['state']}"
        if status["contributed"] != other["contributed"]:
            verb = "contributes now" if status["contributed"] else "does not contribute any more"
            yield f"{name} {verb}"
    for name in others:
        yield f"source {name} is gone"


def timing_changes(now: Record, then: Record, limits: Tolerances) -> Iterator[str]:
    """Name shifts of stamps and of publication, and what closed the cycle."""
    if now["closed_by"] != then["closed_by"]:
        yield f"closed_by {then['closed_by']} became {now['closed_by']}"
    others = by_source(then)
    for status in now["sources"]:
        other = others.get(status["source"])
        if other is None or not (status["contributed"] and other["contributed"]):
            continue
        shift_ms = (status["stamp_ns"] - other["stamp_ns"]) / 1e6
        if abs(shift_ms) > limits.stamp_ms:
            yield f"{status['source']} stamps shifted by {shift_ms:+.1f} ms"
    shift_ms = (now["published_ns"] - then["published_ns"]) / 1e6
    if abs(shift_ms) > limits.published_ms:
        yield f"published {'later' if shift_ms > 0 else 'earlier'}"
    if now["deadline_missed"] != then["deadline_missed"]:
        yield f"deadline {'missed' if now['deadline_missed'] else 'kept'} now"


def object_changes(item: Record, other: Record, limits: Tolerances) -> Iterator[str]:
    """Name what changed of one object."""
    name = item["class_name"]
    if name != other["class_name"]:
        yield f"{other['class_name']} became {name}"
    if distance_m(item["center_m"], other["center_m"]) > limits.position_m:
        yield f"{name} moved"
    if abs(item["score"] - other["score"]) > limits.score:
        yield f"{name} score changed"
    sizes = zip(item["size_m"], other["size_m"], strict=True)
    if max(abs(a - b) for a, b in sizes) > limits.size_m:
        yield f"{name} size changed"
    turned = abs(math.remainder(item["yaw_rad"] - other["yaw_rad"], math.tau))
    if math.degrees(turned) > limits.yaw_deg:
        yield f"{name} heading changed"
    if "emergency_evidence" in other:  # a baseline of before it was told
        is_one, was_one = bool(item["emergency_evidence"]), bool(other["emergency_evidence"])
        if is_one != was_one:
            yield f"{name} {'is' if is_one else 'is not'} an emergency vehicle now"
    speed, before = _velocity(item), _velocity(other)
    if (speed is None) != (before is None):
        yield f"{name} velocity {'not told any more' if speed is None else 'told now'}"
    elif speed and before and distance_m(speed, before) > limits.velocity_mps:
        yield f"{name} velocity changed"


class TrackPairs:
    """Which track of the baseline is which of this run: one for one, for as long as both live."""

    def __init__(self) -> None:
        self._now_of: dict[int, int] = {}
        self._then_of: dict[int, int] = {}

    def change(self, item: Record, other: Record) -> str | None:
        """Name a track that became another one; None: it did not, or a side tells none."""
        now, then = item.get("track_id"), other.get("track_id")
        if not now or not then:
            return None
        same = self._now_of.get(then, now) == now and self._then_of.get(now, then) == then
        self._now_of[then], self._then_of[now] = now, then
        return None if same else f"{item['class_name']} track became another one"


def sound_changes(now: Record, then: Record, limits: Tolerances) -> tuple[list[str], int]:
    """Name what changed of the sound events of a pair; return how many there were too."""
    changes, count = [], 0
    left = {(event["source"], event["class_name"]): event for event in then["sound_events"]}
    for event in now["sound_events"]:
        count += 1
        other = left.pop((event["source"], event["class_name"]), None)
        if other is None:
            changes.append(f"{event['class_name']} added")
        elif abs(event["score"] - other["score"]) > limits.score:
            changes.append(f"{event['class_name']} score changed")
        elif _turned_deg(event, other) > limits.bearing_deg:
            changes.append(f"{event['class_name']} bearing changed")
    changes += [f"{event['class_name']} removed" for event in left.values()]
    return changes, count + len(left)


def condition_changes(now: Record, then: Record) -> Iterator[str]:
    """Name conditions that came or went, and another speed advice."""
    if "conditions" not in then:  # a baseline of before they were told
        return
    held, before = _held(now), _held(then)
    for name in (*before, *(name for name in held if name not in before)):
        if (name in held) != (name in before):
            yield f"{name} {'is told now' if name in held else 'is not told any more'}"
    if now["speed_advice_mps"] != then["speed_advice_mps"]:
        texts = (
            "none" if advice is None else f"{advice:g} m/s"
            for advice in (then["speed_advice_mps"], now["speed_advice_mps"])
        )
        yield f"speed advice {' became '.join(texts)}"


def _held(record: Record) -> list[str]:
    return [item["name"] for item in record["conditions"] if item["confidence"] > 0.0]


def by_source(record: Record) -> dict[str, Mapping[str, Any]]:
    """Return the states of a message's sources by name."""
    return {status["source"]: status for status in record["sources"]}


def _velocity(item: Record) -> Sequence[float] | None:
    """Return the velocity of an object; None: it is not known."""
    velocity = item.get("velocity_mps")
    return velocity if velocity and velocity[0] is not None else None


def _turned_deg(event: Record, other: Record) -> float:
    """Return how far a bearing turned; infinite: one of two has none."""
    now, then = event.get("bearing_rad"), other.get("bearing_rad")
    if now is None or then is None:
        return 0.0 if now is then else math.inf
    return abs(math.degrees(math.remainder(now - then, math.tau)))
