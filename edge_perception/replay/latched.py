"""What a late comer is told: messages from before a segment that hold for it too.

On the robot a node that starts late gets them from publishers that keep their last messages. A
segment of a recording starts late too. At the start of all, an encoder waits a moment for its
first calibration.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from edge_perception.encoders.place import FIRST_CALIBRATION_S
from edge_perception.recordings.reader import Recording
from edge_perception.recordings.storage import RecordedMessage
from edge_perception.replay.binding import Binding

_LATE_S = 1.0  # a recorder finds its publishers within


def late_transforms(bag: Recording, binding: Binding) -> list[str]:
    """Name static transforms that a recorder got late: what came before them had no pose."""
    found = []
    for topic in sorted(topic for topic, is_static in binding.transforms.items() if is_static):
        first = next(bag.messages([topic]), None)
        late_s = 0.0 if first is None else (first.log_time_ns - bag.start_ns) * 1e-9
        if late_s > _LATE_S:
            found.append(
                f"{topic}: its first message came {late_s:.2f} s after the first of all: what came "
                "before is without the poses it tells; T_base_sensor gives them from the start on"
            )
    return found


def told_before(bag: Recording, binding: Binding, start_ns: int) -> Iterator[RecordedMessage]:
    """Yield the messages that still hold at a moment, as if they arrived then.

    Of a topic that says how others are to be read (`TopicSpec.latched`), of a calibration, and of
    one that was offered transient local it is the last message; of static transforms all, each of
    which tells of other frames.
    """
    static = {topic for topic, is_static in binding.transforms.items() if is_static}
    found: list[RecordedMessage] = []
    for topic in binding.topics:
        if topic in static or binding.transforms.get(topic) is False:
            continue
        is_state = topic in binding.latched or topic in binding.calibrations
        if is_state or bag.topics[topic].qos.is_latched:
            found += bag.latest(topic, before_ns=start_ns)
    if static:
        seen: set[bytes] = set()
        for message in bag.messages(sorted(static), end_ns=start_ns):
            if message.data not in seen:
                seen.add(message.data)
                found.append(message)
    for message in sorted(found, key=lambda item: (item.log_time_ns, item.topic)):
        yield replace(message, log_time_ns=start_ns)


def told_at_first(bag: Recording, binding: Binding) -> Iterator[RecordedMessage]:
    """Yield first calibrations that arrived after frames, as if they arrived before them.

    Those within `FIRST_CALIBRATION_S`: on the robot the frames before them wait.
    """
    until_ns = bag.start_ns + round(FIRST_CALIBRATION_S * 1e9)
    waiting, late = dict(binding.calibrations), set()
    topics = [topic for topic, source in binding.inputs.items() if source in waiting.values()]
    for message in bag.messages([*waiting, *topics], end_ns=until_ns) if waiting else ():
        late.add(binding.inputs.get(message.topic))
        source = waiting.pop(message.topic, None)
        if source in late:
            yield replace(message, log_time_ns=bag.start_ns)
        if not waiting:
            return
