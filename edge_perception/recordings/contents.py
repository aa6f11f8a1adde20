"""What a recording holds, out of what its files and its metadata.yaml say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from edge_perception.recordings.bag_metadata import NAME, BagMetadata
from edge_perception.recordings.qos import RELIABLE, TopicQos, read_qos
from edge_perception.recordings.storage import CDR, StorageFile, StoredChannel, ros_type
from edge_perception.recordings.writer import Topic

# Recorders and their clocks round: a claimed length is another one beyond this.
_SAME_NS = 10_000_000


@dataclass(frozen=True, kw_only=True)
class SkippedTopic:
    """A topic whose messages cannot be read by anything here."""

    name: str
    count: int
    reason: str


@dataclass(kw_only=True)
class Contents:
    """Channels of all files, and what is odd about them."""

    channels: list[StoredChannel]
    counts: Mapping[str, int]  # messages by topic, also of those that cannot be read
    topics: dict[str, Topic]  # that can be read
    skipped: tuple[SkippedTopic, ...]
    notes: list[str] = field(default_factory=list)  # what costs no message
    contradictions: list[str] = field(default_factory=list)  # what is said and is not so

    def readable(self, topic: str) -> list[StoredChannel]:
        """Return the channels of a topic that can be read."""
        return [c for c in self.channels if c.topic == topic and is_readable(c)]


def contents_of(files: Sequence[StorageFile], metadata: BagMetadata | None) -> Contents:
    """Put together what files and metadata.yaml (None: there is none) say."""
    notes = [note for file in files for note in file.notes]
    channels = _typed([c for file in files for c in file.channels], metadata, notes)
    counts: Counter[str] = Counter()
    for channel in channels:
        counts[channel.topic] += channel.count
    found = Contents(
        channels=channels,
        counts=counts,
        topics=_topics(channels, metadata, notes),
        skipped=_skipped(channels),
        notes=notes,
        contradictions=[text for file in files for text in file.contradictions],
    )
    _note_order(files, notes)
    if metadata is not None:
        _compare(found, metadata)
    found.notes = list(dict.fromkeys(notes))
    return found


def is_readable(channel: StoredChannel) -> bool:
    """Whether a channel holds ROS messages of a known type."""
    return channel.encoding == CDR and bool(channel.type)


def _typed(
    channels: Sequence[StoredChannel], metadata: BagMetadata | None, notes: list[str]
) -> list[StoredChannel]:
    """Where a channel says no type, take that of its topic's others, or of metadata.yaml."""
    types: dict[str, set[str]] = {}
    for channel in filter(is_readable, channels):
        types.setdefault(channel.topic, set()).add(channel.type)
    found = []
    for channel in channels:
        claim = metadata.topics.get(channel.topic) if metadata is not None else None
        if channel.encoding == CDR and not channel.type:
            others = types.get(channel.topic, set())
            if len(others) == 1:
                channel = replace(channel, type=next(iter(others)))
            elif claim is not None and claim.type:
                channel = replace(channel, type=ros_type(claim.type))
                notes.append(f"{channel.topic}: its type {channel.type} is told by {NAME} only")
        found.append(channel)
    return found


def _topics(
    channels: Sequence[StoredChannel], metadata: BagMetadata | None, notes: list[str]
) -> dict[str, Topic]:
    found: dict[str, Topic] = {}
    filled: set[str] = set()
    for channel in filter(is_readable, channels):
        name = channel.topic
        if name not in found or (channel.count and name not in filled):
            qos = _qos(channel, metadata, notes)
            found[name] = Topic(name=name, type=channel.type, qos=qos)
        if channel.count:
            filled.add(name)
    return found


def _qos(channel: StoredChannel, metadata: BagMetadata | None, notes: list[str]) -> TopicQos:
    """Return what the file says, or else metadata.yaml; neither chooses messages."""
    claim = metadata.topics.get(channel.topic) if metadata is not None else None
    told = [(channel.qos, ""), (claim.qos if claim else None, f"{NAME}: ")]
    found: list[TopicQos] = []
    for offered, where in told:
        if not offered:
            continue
        qos, odd = read_qos(offered)
        if odd:
            notes.append(
                f"{channel.topic}: {where}its offered QoS is not understood ({odd}): "
                "the default is taken"
            )
        found.append(qos)
    if len(found) == 2 and found[0] != found[1]:
        notes.append(f"{channel.topic}: {NAME} says another QoS than the file: that of the file")
    return found[0] if found else RELIABLE


def _skipped(channels: Sequence[StoredChannel]) -> tuple[SkippedTopic, ...]:
    counts: Counter[str] = Counter()
    reasons: dict[str, str] = {}
    for channel in channels:
        if is_readable(channel):
            continue
        counts[channel.topic] += channel.count
        reasons[channel.topic] = (
            "no schema says its type"
            if channel.encoding == CDR
            else f"its encoding is '{channel.encoding}'"
        )
    return tuple(
        SkippedTopic(name=name, count=counts[name], reason=reason)
        for name, reason in sorted(reasons.items())
    )


def _note_order(files: Sequence[StorageFile], notes: list[str]) -> None:
    reaches = []
    for file in files:
        full = [channel for channel in file.channels if channel.count]
        if full:
            first_ns = min(channel.first_ns for channel in full)
            reaches.append((first_ns, max(channel.last_ns for channel in full), file.path.name))
    if [item[0] for item in reaches] != sorted(item[0] for item in reaches):
        names = ", ".join(name for _, _, name in reaches)
        notes.append(f"its files are not listed in the order of their messages: {names}")
    reaches.sort()
    for (_, last_ns, name), (first_ns, _, other) in pairwise(reaches):
        if first_ns < last_ns:
            notes.append(f"{name} and {other} overlap by {(last_ns - first_ns) * 1e-9:.3f} s")


def _compare(found: Contents, said: BagMetadata) -> None:
    """Hold metadata.yaml against the messages; fewer than it says is a contradiction."""
    held = sum(found.counts.values())
    texts = []
    for name, topic in sorted(said.topics.items()):
        holds = found.counts.get(name, 0)
        if topic.count is not None and topic.count > holds:
            texts.append(f"{name}: {NAME} says {topic.count} messages, the files hold {holds}")
    total = said.message_count
    if total is not None and total > held and not texts:
        texts.append(f"{NAME} says {total} messages, the files hold {held}")
    if total is not None and total < held:
        found.notes.append(f"{NAME} says {total} messages, the files hold {held}: all are read")
    elif held and not texts:
        texts += _compare_length(found, said)
    found.contradictions += texts


def _compare_length(found: Contents, said: BagMetadata) -> list[str]:
    full = [channel for channel in found.channels if channel.count]
    first_ns = min(channel.first_ns for channel in full)
    length_ns = max(channel.last_ns for channel in full) - first_ns
    if said.duration_ns is not None and abs(said.duration_ns - length_ns) > _SAME_NS:
        return [
            f"{NAME} says a length of {said.duration_ns * 1e-9:.3f} s, "
            f"that of the messages is {length_ns * 1e-9:.3f} s"
        ]
    if said.start_ns is not None and abs(said.start_ns - first_ns) > _SAME_NS:
        return [
            f"{NAME} says a start at {said.start_ns * 1e-9:.3f} s, "
            f"the first message came at {first_ns * 1e-9:.3f} s"
        ]
    return []
