"""What a registry says, beneath its signatures: releases, channels and rollouts, as JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

from edge_perception.core.errors import RegistryError
from edge_perception.core.parameter import parameter
from edge_perception.core.schema import decode

ANY_DEVICE = "any"
MOST_DOCUMENT_BYTES = 4 * 2**20
# After so many days a robot takes nothing new: what a freeze can hide is no older.
TIMESTAMP_DAYS = 3
MOST_ARCHIVE_BYTES = 8 * 2**30
RUNNING, PAUSED, STOPPED, DONE = "running", "paused", "stopped", "done"
_SHA256 = re.compile(r"[0-9a-f]{64}")
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Pieces:
    """A file in pieces that are stored by their hashes: a break costs one of them."""

    sha256: str
    size: int = parameter(unit="bytes", low=0, high=MOST_ARCHIVE_BYTES)
    piece_bytes: int = parameter(unit="bytes", low=1, high=64 * 2**20)
    pieces: tuple[str, ...]

    def size_of(self, number: int) -> int:
        """Return the bytes of a piece."""
        return min(self.piece_bytes, self.size - number * self.piece_bytes)

    def __post_init__(self) -> None:
        """Refuse pieces that do not make up the file."""
        expected = -(-self.size // self.piece_bytes)
        if len(self.pieces) != expected:
            raise RegistryError(f"pieces: expected {expected}, got {len(self.pieces)}")
        for sha256 in (self.sha256, *self.pieces):  # they become names of files
            if not _SHA256.fullmatch(sha256):
                raise RegistryError(f"pieces: expected sha256 in hexadecimal, got '{sha256[:80]}'")


@dataclass(frozen=True, kw_only=True)
class Delta:
    """How to make an archive of the archive of an older release."""

    base: str  # digest of its manifest
    base_sha256: str  # of its archive
    base_size: int = parameter(unit="bytes", low=0, high=MOST_ARCHIVE_BYTES)
    patch: Pieces


@dataclass(frozen=True, kw_only=True)
class ReleaseDocument:
    """One variant of a release, and what is known of it."""

    schema: int = parameter(1, choices=(1,))
    name: str
    role: str
    version: str
    release: int = parameter(low=1, high=2**31)
    device_class: str = ANY_DEVICE
    manifest_sha256: str
    archive: Pieces
    deltas: tuple[Delta, ...] = ()
    metrics: Mapping[str, Any] = field(default_factory=dict)
    measured: Mapping[str, Any] = field(default_factory=dict)  # by device: latency_ms, watts, …
    evidence: Mapping[str, Any] = field(default_factory=dict)  # why it is better, of `evaluate`
    calibration_set: str = ""
    changelog: str = ""
    licence: str = ""


@dataclass(frozen=True, kw_only=True)
class ChannelEntry:
    """A release in a channel, and where its document is."""

    name: str
    role: str
    version: str
    release: int
    device_class: str
    manifest_sha256: str
    document: str  # path of the target


@dataclass(frozen=True, kw_only=True)
class ChannelDocument:
    """What a channel of a team offers."""

    schema: int = parameter(1, choices=(1,))
    channel: str
    entries: tuple[ChannelEntry, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Which robots, and how long they are looked at."""

    share: float = parameter(0.0, "of all robots", low=0.0, high=1.0)
    groups: tuple[str, ...] = ()  # robots of these too
    soak_s: float = parameter(3600.0, unit="s", low=0.0, high=1e8)


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Why a rollout went on or stopped."""

    stage: int
    at: str  # ISO 8601 UTC
    verdict: str
    text: str
    figures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """Who may take a release now."""

    id: str
    name: str
    version: str
    salt: str
    stages: tuple[Stage, ...]
    stage: int = 0
    state: str = parameter(RUNNING, choices=(RUNNING, PAUSED, STOPPED, DONE))
    reason: str = ""
    begun_ns: int = 0
    since_ns: int = 0  # of this stage
    manifests: tuple[str, ...] = ()  # digests of its variants
    evidence: tuple[Evidence, ...] = ()


@dataclass(frozen=True, kw_only=True)
class RolloutsDocument:
    """All rollouts of a team, the newest last."""

    schema: int = parameter(1, choices=(1,))
    rollouts: tuple[Rollout, ...] = ()


def encode(document: Any) -> bytes:
    """Return a document as bytes: the same document, the same bytes."""
    return json.dumps(asdict(document), sort_keys=True, separators=(",", ":")).encode("utf-8")


def parse(kind: type[T], data: bytes, where: str) -> T:
    """Read a document.

    Raises:
        RegistryError: no JSON, or it breaks its schema.
    """
    try:
        plain = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise RegistryError(f"{where}: expected JSON: {error}") from error
    return decode(kind, plain, where, error=RegistryError)


def channel_path(team: str, channel: str) -> str:
    """Return where the document of a channel is."""
    return f"{team}/channel-{channel}.json"


def rollouts_path(team: str) -> str:
    """Return where the rollouts of a team are."""
    return f"{team}/rollouts.json"


def release_path(team: str, document: ReleaseDocument) -> str:
    """Return where the document of a release is."""
    return f"{team}/{document.name}-{document.version}-{document.device_class}.json"
