"""What a robot tells its fleet: readings by kind, as JSON of a schema, and batches of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import zstandard

from edge_perception.core.errors import FleetError
from edge_perception.core.parameter import parameter
from edge_perception.core.schema import decode

SCHEMA = 1
# Most important first: where room is short, the last go first.
PRIORITIES: Mapping[str, int] = {
    "versions": 0,  # what serves: release digests by role, rollouts, who the robot is
    "event": 0,  # a step of a change of models, with its reason: evidence of trials too
    "sample": 1,  # a recording that was uploaded
    "slo": 1,  # views and bad ones of them, by objective
    "drift": 1,
    "metric": 2,
}
LEAST = max(PRIORITIES.values())
_MOST_BATCH_BYTES = 16 * 2**20


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One thing told, at a time of the robot's clock."""

    kind: str = parameter(choices=tuple(PRIORITIES))
    stamp_ns: int
    data: Mapping[str, Any] = field(default_factory=dict)

    @property
    def priority(self) -> int:
        """Its importance; 0 is the most."""
        return PRIORITIES[self.kind]


@dataclass(frozen=True, kw_only=True)
class Numbered:
    """A reading with its number in the spool that it was kept in."""

    sequence: int = parameter(low=1)
    reading: Reading


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Readings of one robot; robot, spool and sequence make each of them known for ever."""

    schema: int = parameter(SCHEMA, choices=(SCHEMA,))
    device: str
    spool: str
    readings: tuple[Numbered, ...]
    dropped: int = 0  # readings that this spool had no room for, so far


def encode_reading(reading: Reading) -> bytes:
    """Return a reading as it is kept."""
    return json.dumps(asdict(reading), sort_keys=True, separators=(",", ":")).encode("utf-8")


def pack_batch(
    device: str, spool: str, rows: Sequence[tuple[int, bytes]], dropped: int = 0
) -> bytes:
    """Return a batch as it is sent, compressed."""
    kept = ",".join(f'{{"sequence":{number},"reading":{body.decode()}}}' for number, body in rows)
    head = json.dumps({"schema": SCHEMA, "device": device, "spool": spool, "dropped": dropped})
    text = f'{head[:-1]},"readings":[{kept}]}}'
    return zstandard.ZstdCompressor(level=3, write_checksum=True).compress(text.encode("utf-8"))


def unpack_batch(payload: bytes) -> Batch:
    """Read a batch.

    Raises:
        FleetError: damaged, too long, or of an unknown schema.
    """
    try:
        with zstandard.ZstdDecompressor().stream_reader(payload) as stream:
            data = stream.read(_MOST_BATCH_BYTES + 1)
        if len(data) > _MOST_BATCH_BYTES:
            raise FleetError(f"batch: expected at most {_MOST_BATCH_BYTES} bytes")
        plain = json.loads(data)
    except (zstandard.ZstdError, ValueError, RecursionError) as error:
        raise FleetError(f"batch: expected compressed JSON: {error}") from error
    return decode(Batch, plain, "batch", error=FleetError)
