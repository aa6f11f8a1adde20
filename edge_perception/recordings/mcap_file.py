"""One MCAP file: whole, without its index, cut off, or damaged within.

The file is walked once from record to record without unpacking its chunks: the message indexes
behind each chunk tell what it holds. Only a file that does not say so is unpacked to be counted.
The summary at the end is a claim that is held against what was found.
"""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from operator import attrgetter
from pathlib import Path

import lz4.frame
import zstandard
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.records import Attachment, Channel, Metadata, Statistics

from edge_perception.core.errors import ConfigurationError
from edge_perception.recordings.mcap_walk import (
    MESSAGE,
    Block,
    Reach,
    Walk,
    each_record,
    parse,
    walk,
)
from edge_perception.recordings.storage import (
    CDR,
    LATEST_NS,
    OnDamage,
    RecordedMessage,
    Span,
    StoredChannel,
    clock_notes,
    in_order,
    ros_type,
)
from edge_perception.recordings.unpacking import plain_message

_QOS = "offered_qos_profiles"
_DAMAGE = (ValueError, RuntimeError, OSError, EOFError, MemoryError, zstandard.ZstdError)


class McapFile:
    """Messages of one MCAP file.

    Raises:
        ConfigurationError: it is no MCAP, or no message can be recovered.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        found = self._found = walk(path)
        self._blocks: list[Block] = []
        self._undeclared = {key for block in found.blocks for key in block.channels}
        lost = self._count(by_index=found.statistics is not None)
        held = self._held()
        if found.statistics is not None and not _agree(found.statistics, held, self._untimed()):
            # The indexes of chunks or the summary say what is not so: the messages themselves tell.
            lost = self._count(by_index=False)
            held = self._held()
        total = sum(reach.count for reach in held.values())
        self.channels = [
            self._stored(channel, held.get(key, Reach())) for key, channel in found.channels.items()
        ]
        back_ns = max((reach.back_ns for reach in held.values()), default=0)
        self.notes: list[str] = clock_notes(path, back_ns)
        if found.damage or not found.has_summary:
            self.notes.append(
                f"{path.name}: {found.damage or 'it has no index'}; recovered {total} messages"
                f"{_length(self.channels)}, up to there"
            )
        untimed = self._untimed()
        self.contradictions = [*lost, *_claims(found, held, untimed, path.name)]
        if untimed:
            self.contradictions.append(
                f"{path.name}: {untimed.total()} messages without a time: they arrive after 2038"
            )
        if found.behind:
            self.contradictions.append(
                f"{path.name}: {found.behind} bytes behind its end are not read: two recordings "
                "in one file?"
            )
        if not total and (found.damage or lost):
            why = "; ".join(filter(None, (found.damage, *lost)))
            raise ConfigurationError(
                f"{path}: expected an MCAP recording, no message can be recovered: {why}"
            )

    def messages(
        self,
        topics: Collection[str],
        *,
        start_ns: int | None,
        end_ns: int | None,
        on_damage: OnDamage,
    ) -> Iterator[RecordedMessage]:
        """Yield messages in order of arrival; a chunk that cannot be read is told and left out."""
        wanted = self._wanted(topics)
        first = -1 if start_ns is None else start_ns
        end = 2**64 if end_ns is None else end_ns

        def opened(block: Block) -> Iterator[RecordedMessage]:
            try:
                found = self._messages_of(block, wanted)
            except _DAMAGE as error:
                on_damage(self._lost(block, error))
                return
            found.sort(key=attrgetter("log_time_ns"))
            yield from (m for m in found if first <= m.log_time_ns < end)

        yield from in_order(
            Span(start_ns=max(block.whole.first_ns, first), open=partial(opened, block))
            for block in self._blocks
            if block.whole.first_ns < end
            and block.whole.last_ns >= first
            and not wanted.isdisjoint(block.channels)
        )

    def latest(
        self, topic: str, *, before_ns: int, count: int, on_damage: OnDamage
    ) -> list[RecordedMessage]:
        """Return the last messages of a topic before a moment; read from there backwards."""
        wanted = self._wanted([topic])
        found: list[RecordedMessage] = []
        for block in sorted(self._blocks, key=lambda b: b.whole.last_ns, reverse=True):
            if len(found) >= count and block.whole.last_ns < found[-count].log_time_ns:
                break
            if block.whole.first_ns >= before_ns or wanted.isdisjoint(block.channels):
                continue
            try:
                more = self._messages_of(block, wanted)
            except _DAMAGE as error:
                on_damage(self._lost(block, error))
                continue
            found = sorted(
                [*(m for m in more if m.log_time_ns < before_ns), *found],
                key=attrgetter("log_time_ns"),
            )
        return found[-count:]

    def attachments(self) -> Mapping[str, Callable[[], bytes]]:
        """Return files stored inside by name."""
        return {name: partial(self._attached, at) for name, at in self._found.attachments.items()}

    def metadata(self) -> Mapping[str, Mapping[str, str]]:
        """Return texts stored inside by name."""
        found = self._found.metadata.items()
        return {name: parse(Metadata, self._read(at)).metadata for name, at in found}

    def _attached(self, at: tuple[int, int]) -> bytes:
        try:
            return bytes(parse(Attachment, self._read(at)).data)
        except (*_DAMAGE, McapError, struct.error) as error:
            raise ConfigurationError(f"{self.path}: damaged near byte {at[0]}: {error}") from error

    # -- counting --

    def _count(self, *, by_index: bool) -> list[str]:
        """Take over the blocks; unpack those that do not say what they hold.

        Args:
            by_index: believe the message indexes of chunks, which nothing obliges to be complete;
                only where statistics will be held against them.
        """
        self._blocks, lost = [], []
        whole = by_index and self._found.has_summary and not self._found.damage
        for block in self._found.blocks:
            # A summary need not repeat the channels and schemas that chunks declare.
            if whole and block.channels and self._all_declared():
                self._blocks.append(block)
                continue
            try:
                self._blocks.append(self._counted(block))
            except _DAMAGE as error:
                lost.append(self._lost(block, error))
        return lost

    def _all_declared(self) -> bool:
        """Whether all channels that indexes speak of are known, each with its schema."""
        found = self._found
        if not self._undeclared:
            return True
        for key in tuple(self._undeclared):
            channel = found.channels.get(key)
            if channel is not None and (
                not channel.schema_id or channel.schema_id in found.schemas
            ):
                self._undeclared.remove(key)
        return not self._undeclared

    def _counted(self, block: Block) -> Block:
        counted = Block(at=block.at, size=block.size, chunk=block.chunk)
        data = self._unpacked(block)
        for opcode, at, end in each_record(data):
            if opcode == Opcode.MESSAGE:
                key, _, log_ns, _ = MESSAGE.unpack_from(data, at)
                if log_ns > LATEST_NS:
                    counted.untimed[key] += 1
                else:
                    counted.note(key, 1, log_ns, log_ns)
            else:
                self._found.declare(opcode, data[at:end])
        return counted

    def _held(self) -> dict[int, Reach]:
        held: dict[int, Reach] = {}
        for block in self._blocks:
            for key, part in block.channels.items():
                reach = held.setdefault(key, Reach())
                reach.add(part.count, part.first_ns, part.last_ns, part.back_ns)
        return held

    def _untimed(self) -> Counter[int]:
        return sum((block.untimed for block in self._blocks), Counter())

    def _stored(self, channel: Channel, reach: Reach) -> StoredChannel:
        schema = self._found.schemas.get(channel.schema_id)
        is_cdr = channel.message_encoding.lower() == CDR
        return StoredChannel(
            topic=channel.topic,
            type="" if schema is None else ros_type(schema.name) if is_cdr else schema.name,
            encoding=CDR if is_cdr else channel.message_encoding,
            definition=("", "")
            if schema is None
            else (schema.encoding, schema.data.decode("utf-8", "replace")),
            qos=channel.metadata.get(_QOS) or None,
            count=reach.count,
            first_ns=reach.first_ns if reach.count else 0,
            last_ns=reach.last_ns if reach.count else 0,
        )

    # -- reading --

    def _wanted(self, topics: Collection[str]) -> set[int]:
        return {
            key
            for key, channel in self._found.channels.items()
            if channel.topic in topics and channel.message_encoding.lower() == CDR
        }

    def _messages_of(self, block: Block, wanted: Collection[int]) -> list[RecordedMessage]:
        data = self._unpacked(block)
        found = []
        for opcode, at, end in each_record(data):
            if opcode != Opcode.MESSAGE:
                continue
            key, _, log_ns, publish_ns = MESSAGE.unpack_from(data, at)
            if key in wanted and log_ns <= LATEST_NS:
                channel = self._found.channels[key]
                schema = self._found.schemas.get(channel.schema_id)
                found.append(
                    RecordedMessage(
                        topic=channel.topic,
                        type=ros_type(schema.name) if schema else "",
                        log_time_ns=log_ns,
                        publish_time_ns=publish_ns,
                        data=_plain(data[at + MESSAGE.size : end]),
                    )
                )
        return found

    def _unpacked(self, block: Block) -> bytes:
        """Return the records of a block.

        Raises:
            ValueError and others of `_DAMAGE`: it is damaged.
        """
        raw = self._read((block.at, block.size))
        chunk = block.chunk
        if chunk is None:
            return raw
        if chunk.compression == "zstd":
            data = zstandard.decompress(raw, chunk.unpacked_bytes)
        elif chunk.compression == "lz4":
            data = lz4.frame.decompress(raw)
        elif chunk.compression in ("", "none"):
            data = raw
        else:
            raise ValueError(f"unknown compression '{chunk.compression}'")
        if chunk.crc and zlib.crc32(data) != chunk.crc:
            raise ValueError("its checksum does not fit")
        return data

    def _read(self, at: tuple[int, int]) -> bytes:
        with self.path.open("rb") as file:
            file.seek(at[0])
            data = file.read(at[1])
        if len(data) != at[1]:
            raise EOFError("the file ends within")
        return data

    def _lost(self, block: Block, error: BaseException) -> str:
        names: Counter[str] = Counter()
        for key, part in block.channels.items():
            if key in self._found.channels:
                names[self._found.channels[key].topic] += part.count
        what = ", ".join(f"{count} of {name}" for name, count in sorted(names.items()))
        return (
            f"{self.path.name}: damaged near byte {block.at} ({error or type(error).__name__}): "
            f"{what or 'an unknown number of messages'} lost"
        )


def _plain(data: bytes) -> bytes:
    """Return the bytes of a message; as they are where they cannot be unpacked."""
    try:
        return plain_message(data)
    except (zstandard.ZstdError, ValueError):
        return data


def _agree(said: Statistics, held: Mapping[int, Reach], untimed: Counter[int]) -> bool:
    """Whether as many messages are held as the statistics say, of each channel."""
    counts = untimed + Counter({key: reach.count for key, reach in held.items()})
    told = {key: count for key, count in said.channel_message_counts.items() if count}
    return said.message_count == counts.total() and told in ({}, dict(counts))


def _claims(found: Walk, held: Mapping[int, Reach], untimed: Counter[int], name: str) -> list[str]:
    """Hold the summary's statistics against what was found."""
    texts = [
        f"{name}: {part.count} messages of channel {key}, which is not declared"
        for key, part in sorted(held.items())
        if key not in found.channels
    ]
    said = found.statistics
    if said is None:
        return texts
    whole = Reach()
    for part in held.values():
        whole.add(part.count, part.first_ns, part.last_ns)
    total = whole.count + untimed.total()
    if said.message_count != total:
        return [*texts, f"{name}: its index says {said.message_count} messages, it holds {total}"]
    for key, count in sorted(said.channel_message_counts.items()):
        held_now = (held[key].count if key in held else 0) + untimed[key]
        if count != held_now:
            topic = found.channels[key].topic if key in found.channels else f"channel {key}"
            texts.append(f"{name}: its index says {count} of {topic}, it holds {held_now}")
    for what, claim, is_ns in (
        ("starts", said.message_start_time, whole.first_ns),
        ("ends", said.message_end_time, whole.last_ns),
    ):
        if whole.count and not untimed and claim != is_ns:
            texts.append(
                f"{name}: its index says that it {what} at {claim * 1e-9:.3f} s, "
                f"its messages say {is_ns * 1e-9:.3f} s"
            )
    return texts


def _length(channels: list[StoredChannel]) -> str:
    full = [channel for channel in channels if channel.count]
    if not full:
        return ""
    length_ns = max(c.last_ns for c in full) - min(c.first_ns for c in full)
    return f", {length_ns * 1e-9:.2f} s"
