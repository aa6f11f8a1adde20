"""Virtual robots: the real store, synchronisation, spool and outbox, with a virtual clock and link.

What a robot does beyond that is made up: it serves a release at once, and says of a bad one that
its views are bad.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge_perception.core.errors import EdgePerceptionError, LinkError
from edge_perception.fleet.membership import Device
from edge_perception.fleet.outbox import Outbox
from edge_perception.fleet.readings import Reading
from edge_perception.fleet.spool import Spool
from edge_perception.fleet.sync import Sync
from edge_perception.releases.signing import Trust
from edge_perception.releases.store import ReleaseStore

OFFLINE = 0.3  # of the time, in stretches
_STRETCH_S = 2 * 3600
_BREAKS, _DAMAGES = 0.02, 0.02  # of requests
_VIEWS = 100  # of a round
_ROLE = "audio"


class VirtualLink:
    """The files of a registry, as one robot sees them through its network."""

    def __init__(self, seed: int) -> None:
        self.files: Mapping[str, bytes] = {}
        self.up = True
        self._rng = random.Random(seed)

    def _answer(self, path: str) -> bytes:
        if not self.up or self._rng.random() < _BREAKS:
            raise LinkError(f"{path}: the link broke")
        if path not in self.files:
            raise FileNotFoundError(path)
        data = self.files[path]
        if data and self._rng.random() < _DAMAGES:
            damaged = bytearray(data)
            damaged[self._rng.randrange(len(damaged))] ^= 0x55
            return bytes(damaged)
        return data

    def stream(self, path: str) -> Iterator[bytes]:
        """Yield a file, broken or damaged now and then."""
        yield self._answer(path)

    def read_if_changed(self, path: str, etag: str, most_bytes: int) -> tuple[bytes, str] | None:
        """Return a file, unless its ETag is that given."""
        data = self._answer(path)[: most_bytes + 1]
        new = hashlib.sha256(data).hexdigest()[:16]
        return None if new == etag else (data, new)


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """What all robots were given."""

    folder: Path
    root: bytes
    trust: Trust
    team: str
    bad: str  # version whose views are bad


@dataclass(kw_only=True)
class Tally:
    """What a robot has seen, for the result."""

    told: int = 0
    touched_bad: bool = False
    unsigned: int = 0  # releases that served and were not of the registry
    errors: dict[str, int] = field(default_factory=dict)


class VirtualRobot:
    """One of many."""

    def __init__(self, fleet: Fleet, number: int) -> None:
        self.id = f"robot-{number:05}"
        self._fleet, self._number = fleet, number
        self.link = VirtualLink(number)
        folder = fleet.folder / self.id
        self.store = ReleaseStore(folder)
        self.sync = Sync(
            device=Device(id=self.id),
            store=self.store,
            trust=fleet.trust,
            place=self.link,
            root=fleet.root,
            team=fleet.team,
            channel="stable",
        )
        self.spool = Spool(folder / "spool.db", 2**20)
        self._sent: list[bytes] = []
        self.outbox = Outbox(self.id, self.spool, self._send)
        self.tally = Tally()

    def online(self, now_s: float) -> bool:
        """Whether it has a network: by stretches of its own."""
        stretch = int(now_s / _STRETCH_S + self._number * 0.37)
        return random.Random(f"{self._number} {stretch}").random() >= OFFLINE

    def step(self, now_s: float, now_ns: int, files: Mapping[str, bytes]) -> list[bytes]:
        """Live through one round; return the batches that it sent."""
        self.link.files, self.link.up = files, self.online(now_s)
        try:
            plan = self.sync.poll(now_ns)
            for sha256, why in plan.retreats.items():
                self._retreat(sha256, why)
            for document in plan.offers:
                self._serve(self.sync.fetch(document, now_ns).sha256)
        except (EdgePerceptionError, OSError) as error:
            kind = type(error).__name__
            self.tally.errors[kind] = self.tally.errors.get(kind, 0) + 1
        self._tell(now_ns)
        self._sent = []
        try:
            self.outbox.step(now_s)
        except LinkError:
            self.outbox.link_broke()
        return self._sent

    def version(self) -> str:
        """Return the version that serves; empty: none."""
        sha256 = self.store.slots.get("current").get(_ROLE, "")
        return self.store.release(sha256).manifest.version if sha256 else ""

    def _serve(self, sha256: str) -> None:
        before = self.store.slots.get("current")
        self.store.slots.point(previous=before, current={_ROLE: sha256})
        self.store.served({_ROLE: sha256})
        if self.version() == self._fleet.bad:
            self.tally.touched_bad = True

    def _retreat(self, sha256: str, why: str) -> None:
        self.store.notes.quarantine(sha256, why)
        self.store.slots.point(current=self.store.slots.get("previous"))

    def _tell(self, now_ns: int) -> None:
        sha256, version = self.store.slots.get("current").get(_ROLE, ""), self.version()
        models: dict[str, Any] = {}
        if sha256:
            models = {_ROLE: {"sha256": sha256, "version": version}}
        bad = _VIEWS // 2 if version == self._fleet.bad else 0
        slo = {"views": _VIEWS, "bad": {"availability": bad}, "models": models}
        readings = [
            Reading(kind="versions", stamp_ns=now_ns, data={"models": models}),
            Reading(kind="slo", stamp_ns=now_ns, data=slo),
        ]
        self.spool.add(readings)
        self.tally.told += len(readings)

    def _send(self, payload: bytes) -> None:
        if not self.link.up:
            raise LinkError("no network")
        self._sent.append(payload)


def work(pipe: Any, fleet: Fleet, numbers: list[int]) -> None:
    """Run robots in a process: rounds come over the pipe, None ends it."""
    robots = [VirtualRobot(fleet, number) for number in numbers]
    files: dict[str, bytes] = {}
    while (round_ := pipe.recv()) is not None:
        now_s, now_ns, news, answers = round_
        files.update(news)
        for robot in robots:
            for payload in answers.get(robot.id, ()):
                if robot.online(now_s):
                    robot.outbox.on_answer(payload)
        sent = {robot.id: robot.step(now_s, now_ns, files) for robot in robots}
        pipe.send(({k: v for k, v in sent.items() if v}, {r.id: r.version() for r in robots}))
    pipe.send({r.id: (r.tally, {n for n, _ in r.spool.waiting(2**40, most=10**6)}) for r in robots})
