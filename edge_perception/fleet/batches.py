"""Readings on their way: batches, compressed, of a schema that both sides say.

What came as it was sent is never refused for what it says: what cannot be read here, such as a
batch of a newer schema or a reading of an unknown kind, is kept aside with the reason, for a
version that can. Only what was damaged, or is of somebody else, is sent again by who sent it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import zstandard

from edge_perception.core.errors import FleetError
from edge_perception.core.parameter import parameter
from edge_perception.core.schema import decode
from edge_perception.fleet.readings import MOST_NUMBER, Reading, check, check_text

# Goes up where what an older `ingest` makes of a batch would be wrong.
SCHEMA = 1
_MOST_BATCH_BYTES = 16 * 2**20
_MOST_REASON = 300


@dataclass(frozen=True, kw_only=True)
class Numbered:
    """A reading with its number in the spool that it was kept in."""

    sequence: int = parameter(low=1, high=MOST_NUMBER)
    reading: Reading


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Readings of one robot; robot, spool and sequence make each of them known for ever."""

    schema: int = parameter(SCHEMA, choices=(SCHEMA,))
    device: str
    spool: str
    readings: tuple[Numbered, ...]
    # Readings that this spool had no room for, so far.
    dropped: int = parameter(0, low=0, high=MOST_NUMBER)


@dataclass(frozen=True, kw_only=True)
class Unread:
    """What came whole and cannot be read here: a batch, as JSON, and why."""

    key: str  # the same for the same batch
    schema: str  # that it says it is of
    reason: str
    body: str


def pack_batch(
    device: str, spool: str, rows: Sequence[tuple[int, bytes]], dropped: int = 0
) -> bytes:
    """Return a batch as it is sent, compressed."""
    kept = b",".join(b'{"sequence":%d,"reading":%b}' % row for row in rows)
    head = json.dumps({"schema": SCHEMA, "device": device, "spool": spool, "dropped": dropped})
    text = b'%b,"readings":[%b]}' % (head[:-1].encode("ascii"), kept)
    return zstandard.ZstdCompressor(level=3, write_checksum=True).compress(text)


def unpack(payload: bytes) -> dict[str, Any]:
    """Return what was sent.

    Raises:
        FleetError: damaged, too long, or no batch at all.
    """
    try:
        with zstandard.ZstdDecompressor().stream_reader(payload) as stream:
            data = stream.read(_MOST_BATCH_BYTES + 1)
        if len(data) > _MOST_BATCH_BYTES:
            raise FleetError(f"batch: expected at most {_MOST_BATCH_BYTES} bytes")
        plain = json.loads(data)
    except (zstandard.ZstdError, ValueError, RecursionError) as error:
        raise FleetError(f"batch: expected compressed JSON: {error}") from error
    if not isinstance(plain, dict) or "schema" not in plain:
        raise FleetError("batch: expected a JSON object with a schema")
    return plain


def read_batch(plain: Mapping[str, Any], device: str) -> tuple[Batch | None, tuple[Unread, ...]]:
    """Return what can be read of a batch, and what cannot.

    Args:
        plain: of `unpack`.
        device: whose topic it came on.

    Raises:
        FleetError: it says that it is of another robot.
    """
    said = plain.get("device", device)
    if said != device:
        raise FleetError(f"batch: expected one of {device}, got one of {str(said)[:80]}")
    try:
        if plain["schema"] != SCHEMA:
            raise FleetError(f"batch.schema: expected {SCHEMA}, got {str(plain['schema'])[:20]}")
        head = decode(Batch, {**plain, "readings": ()}, "batch", error=FleetError)
        check_text(head.spool, "batch.spool")
        rows = plain.get("readings")
        if not isinstance(rows, list):
            raise FleetError("batch.readings: expected a list")
    except FleetError as error:
        return None, (unread(plain, error),)
    good, bad = [], []
    for number, row in enumerate(rows):
        where = f"batch.readings[{number}]"
        try:
            item = decode(Numbered, row, where, error=FleetError)
            check(item.reading, where)
            good.append(item)
        except FleetError as error:
            bad.append(unread({**plain, "readings": [row]}, error))
    batch = Batch(device=head.device, spool=head.spool, readings=tuple(good), dropped=head.dropped)
    return batch, tuple(bad)


def told_twice(plain: Mapping[str, Any], numbers: Collection[int]) -> Unread:
    """Return those readings of a batch whose numbers somebody else used before."""
    rows = [row for row in plain["readings"] if row.get("sequence") in numbers]
    error = FleetError(
        f"spool {plain['spool']}: told otherwise before under the same numbers: two robots have "
        "the name and the disk of one"
    )
    return unread({**plain, "readings": rows}, error)


def unread(plain: Mapping[str, Any], error: FleetError) -> Unread:
    """Return a batch that is kept aside, and why."""
    body = json.dumps(plain, sort_keys=True)
    return Unread(
        key=hashlib.sha256(body.encode("ascii")).hexdigest()[:32],
        schema=str(plain.get("schema"))[:20],
        reason=ascii(str(error))[1:-1][:_MOST_REASON],
        body=body,
    )
