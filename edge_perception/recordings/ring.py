"""Keeps the interesting seconds: a ring of messages in memory, and files around events.

No ROS in here: messages are bytes, time is an argument.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from edge_perception.core.errors import ConfigurationError
from edge_perception.core.parameter import parameter
from edge_perception.recordings.own_parameters import parameters_path
from edge_perception.recordings.stamps import NS
from edge_perception.recordings.writer import RecordingWriter, Topic

PREFIX = "event_"


def kind_of(file: Path) -> str:
    """Return the kind of event that a file was begun for: the first word of its reason."""
    return file.stem.removeprefix(PREFIX).partition("_")[2].partition("_")[0]


@dataclass(frozen=True, kw_only=True)
class RingOptions:
    """How much is kept, and for how long."""

    before_s: float = parameter(5.0, unit="s", low=0.0, high=600.0)
    after_s: float = parameter(5.0, unit="s", low=0.0, high=600.0)
    memory_mb: float = parameter(512.0, unit="MB", low=1.0, high=1e5)
    quota_mb: float = parameter(4096.0, unit="MB", low=1.0, high=1e7)


@dataclass(frozen=True, kw_only=True)
class _Kept:
    topic: str
    data: bytes
    time_ns: int


class EventRecorder:
    """Writes what arrived before and after each event to a file of its own.

    A file has its name only when it is complete. An event during the seconds after another one
    prolongs its file. When the folder is over its quota, files go: the oldest of the kind
    that takes most.
    A disk that takes no more costs the present file only: the ring goes on, the next event tries
    again, and `problem` says so until a file is complete.

    What tells how other messages are to be read (the format of sound, a calibration, transforms)
    may come once only, long before an event: each file begins with what of it still holds.
    """

    def __init__(
        self,
        folder: Path,
        topics: Iterable[Topic],
        options: RingOptions,
        *,
        holding: Mapping[str, int] | None = None,
        parameters: str = "",
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Start with an empty ring.

        Args:
            folder: for the files; made where it is missing.
            topics: that are kept.
            options: how much of them.
            holding: by topic, how many of its newest different messages hold until they are
                replaced.
            parameters: of the vehicle's nodes, to lie beside each file; empty: none.
            say: takes lines for people.

        Raises:
            ConfigurationError: there is no topic.
        """
        self._folder, self._options, self._say = folder, options, say
        self._parameters = parameters
        self._holding = dict(holding or {})
        self._held: dict[str, dict[bytes, None]] = {name: {} for name in self._holding}
        self._topics = {topic.name: topic for topic in topics}
        if not self._topics:
            raise ConfigurationError("record: expected at least one topic")
        folder.mkdir(parents=True, exist_ok=True)
        for partial in folder.glob(f"{PREFIX}*.partial"):
            partial.unlink()  # of a recorder that was killed
        self._ring: deque[_Kept] = deque()
        self._bytes = 0
        self._writer: RecordingWriter | None = None
        self._path = folder
        self._until_ns = 0
        self._reasons: list[str] = []
        self.files: list[Path] = []
        self.problem = ""  # why the newest event is not on disk; empty: it is
        self.forgotten = 0  # messages that left the ring for its memory before their time

    def message(self, topic: str, data: bytes, time_ns: int) -> None:
        """Take a message; times do not go back."""
        if self._writer is not None and time_ns > self._until_ns:
            self.finish()
        if topic in self._held and not self._hold(topic, data):
            return  # told before, and it is in every file
        if self._writer is not None:
            try:
                self._writer.write(topic, data, log_time_ns=time_ns)
                return
            except OSError as error:
                self._give_up(error)
        self._ring.append(_Kept(topic=topic, data=data, time_ns=time_ns))
        self._bytes += len(data)
        oldest_ns = time_ns - round(self._options.before_s * NS)
        while self._ring and self._ring[0].time_ns < oldest_ns:
            self._drop_oldest()
        while self._bytes > self._options.memory_mb * 1e6 and len(self._ring) > 1:
            self.forgotten += 1
            self._drop_oldest()

    def event(self, reason: str, time_ns: int) -> None:
        """Start a file with what is in the ring, or prolong the present one."""
        self._until_ns = time_ns + round(self._options.after_s * NS)
        self._reasons.append(f"{time_ns}: {reason}")
        if self._writer is not None:
            return
        word = "".join(c if c.isalnum() else "_" for c in reason)[:40]
        self._path = self._folder / f"{PREFIX}{time_ns}_{word}.mcap"
        try:
            self._writer = RecordingWriter(self._path, compression="zstd")
            for topic in self._topics.values():
                self._writer.add_topic(topic)
            in_ring = {kept.data for kept in self._ring if kept.topic in self._held}
            # Before all that it is needed for: messages of one time are read in order of topics.
            begins_ns = max(0, (self._ring[0].time_ns if self._ring else time_ns) - 1)
            for name, held in self._held.items():
                for data in held:
                    if data not in in_ring:
                        self._writer.write(name, data, log_time_ns=begins_ns)
            for kept in self._ring:
                self._writer.write(kept.topic, kept.data, log_time_ns=kept.time_ns)
        except OSError as error:
            self._give_up(error)
            return
        self._ring.clear()
        self._bytes = 0
        self._say(f"{self._path.name}: {reason}")

    def tick(self, time_ns: int) -> None:
        """Complete a file whose time is over, though no message comes any more."""
        if self._writer is not None and time_ns > self._until_ns:
            self.finish()

    def finish(self) -> None:
        """Complete the present file and keep to the quota."""
        if self._writer is None:
            return
        writer = self._writer
        try:
            writer.add_metadata("events", {str(i): text for i, text in enumerate(self._reasons)})
            if self._parameters:  # before the recording: what has its name is complete
                parameters_path(self._path).write_text(self._parameters, encoding="utf-8")
            writer.close()
        except OSError as error:
            self._give_up(error)
            return
        self._writer, self._reasons, self.problem = None, [], ""
        self.files.append(self._path)
        self._keep_quota()

    def _give_up(self, error: OSError) -> None:
        """Leave the present file; a file cut short must not look like a complete one."""
        writer, self._writer, self._reasons = self._writer, None, []
        if writer is not None:
            with contextlib.suppress(OSError):
                parameters_path(self._path).unlink(missing_ok=True)
                writer.discard()
        self.problem = f"{self._path.name}: not written: {error.strerror or error}"
        self._say(self.problem)

    def _hold(self, topic: str, data: bytes) -> bool:
        """Remember a message that holds; return whether it is new."""
        held = self._held[topic]
        if data in held:
            return False
        held[data] = None
        while len(held) > self._holding[topic]:
            del held[next(iter(held))]
        return True

    def _drop_oldest(self) -> None:
        self._bytes -= len(self._ring.popleft().data)

    def _keep_quota(self) -> None:
        files = sorted(self._folder.glob(f"{PREFIX}*.mcap"), key=lambda f: f.stat().st_mtime_ns)
        sizes = {file: file.stat().st_size for file in files}
        while sum(sizes.values()) > self._options.quota_mb * 1e6 and len(files) > 1:
            # Of the kind that takes most: what happens often leaves room for what is rare.
            by_kind: dict[str, int] = {}
            for file, size in sizes.items():
                by_kind[kind_of(file)] = by_kind.get(kind_of(file), 0) + size
            older = files[:-1]
            oldest = max(older, key=lambda f: (by_kind[kind_of(f)], -older.index(f)))
            files.remove(oldest)
            del sizes[oldest]
            oldest.unlink()
            parameters_path(oldest).unlink(missing_ok=True)
            self._say(f"{oldest.name}: removed, the folder is over its quota")
