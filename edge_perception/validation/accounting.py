"""Counts what a recording holds and what of it was replayed, topic by topic.

A verdict holds for the messages that arrived. Where some did not, it is not PASSED: whatever the
reason, it is named here, in one place.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from edge_perception.recordings.reader import Recording
from edge_perception.replay.binding import Binding
from edge_perception.replay.stats import MAX_GAP_NS, ReplayStats, jump_told
from edge_perception.validation.digest import RecordingDigest

UNUSED = "not used"
_AT_TIMES = ("calibration of ", "transforms")  # roles of what need not come all the time
_UNEVEN_NS, _UNEVEN_PERIODS = 1_000_000_000, 5  # that sources may begin or end apart


@dataclass(frozen=True, kw_only=True)
class TopicCount:
    """One topic of a recording."""

    topic: str
    type: str
    role: str  # source it feeds, `calibration of …`, `transforms`, `odometry`, `not used: why`
    held: int  # messages in the files, as they count them
    replayed: int  # of these
    unusable: int = 0  # of these: their bytes are no such message
    first_ns: int = 0  # arrival of the first one that was replayed; 0: there is none
    last_ns: int = 0

    @property
    def is_used(self) -> bool:
        """Whether it is a topic of the vehicle."""
        return not self.role.startswith(UNUSED)


@dataclass(frozen=True, kw_only=True)
class Accounting:
    """The counts of a whole recording, and what is wrong with them."""

    topics: tuple[TopicCount, ...]
    problems: tuple[str, ...]


def counts_of(
    bag: Recording, binding: Binding, digest: RecordingDigest, stats: ReplayStats
) -> dict[str, Any]:
    """Return what a segment knows, as plain data."""
    reasons = {skipped.name: skipped.reason for skipped in bag.skipped} | dict(binding.refused)
    roles = {name: f"{UNUSED}: {reasons[name]}" if name in reasons else UNUSED
             for name in bag.counts}  # fmt: skip
    roles |= dict(binding.inputs)
    roles |= {topic: f"calibration of {name}" for topic, name in binding.calibrations.items()}
    roles |= dict.fromkeys(binding.transforms, "transforms")
    if binding.odometry:
        roles[binding.odometry] = "odometry"
    return {
        "roles": roles,
        "types": {name: topic.type for name, topic in bag.topics.items()},
        "held": dict(bag.counts),
        "read": dict(digest.counts),
        "unusable": dict(stats.undecoded),
        "spans": dict(digest.spans),
        "problems": [*bag.contradictions, *binding.missing],
    }


def account_for(accounts: Sequence[Mapping[str, Any]]) -> Accounting:
    """Put the counts of all segments together and name what did not arrive."""
    first = accounts[0]["counts"]
    read: Counter[str] = Counter()
    unusable: Counter[str] = Counter()
    spans: dict[str, list[int]] = {}
    for account in accounts:
        read.update(account["counts"]["read"])
        unusable.update(account["counts"]["unusable"])
        for name, (begin, end) in account["counts"]["spans"].items():
            known = spans.setdefault(name, [begin, end])
            known[:] = min(known[0], begin), max(known[1], end)
    topics = tuple(
        TopicCount(
            topic=name,
            type=first["types"].get(name, ""),
            role=role,
            held=first["held"].get(name, 0),
            replayed=0 if role.startswith(UNUSED) else read[name],
            unusable=unusable[name],
            first_ns=spans.get(name, (0, 0))[0],
            last_ns=spans.get(name, (0, 0))[1],
        )
        for name, role in sorted(first["roles"].items())
    )
    problems = [text for account in accounts for text in account["damage"]]
    problems += [text for account in accounts for text in account["counts"]["problems"]]
    problems += [
        f"{row.topic}: the files hold {row.held} messages, {row.replayed} were replayed"
        for row in topics
        if row.is_used and row.held != row.replayed
    ]
    problems += _unusable(topics)
    if not sum(account["outputs"] for account in accounts):
        problems.append("nothing was fused: there is not one message to judge")
    return Accounting(topics=topics, problems=tuple(dict.fromkeys(problems)))


def jumps_at_cuts(accounts: Sequence[Mapping[str, Any]]) -> list[str]:
    """Name silences in which a recording was cut: no segment hears both of their ends.

    Args:
        accounts: of the segments, in their order.
    """
    told, last_ns = [], None
    for counts in (account["counts"] for account in accounts):
        used = {name for name, role in counts["roles"].items() if not role.startswith(UNUSED)}
        spans = [span for name, span in counts["spans"].items() if name in used]
        if not spans:
            continue
        gap_ns = 0 if last_ns is None else min(begin for begin, _ in spans) - last_ns
        if gap_ns > MAX_GAP_NS:
            told.append(jump_told(gap_ns))
        last_ns = max(end for _, end in spans)
    return told


def _unusable(topics: Sequence[TopicCount]) -> list[str]:
    """Name what came and was no message at all: it might as well not have come."""
    return [
        f"{row.topic} ({row.role}): none of its {row.replayed} messages can be read"
        for row in topics
        if row.is_used and row.replayed and row.unusable >= row.replayed
    ]


def uneven(topics: Sequence[Mapping[str, Any]], start_ns: int) -> list[str]:
    """Name sources that begin later or end earlier than the others, with the times.

    Args:
        topics: of `to_json`.
        start_ns: of the recording.
    """
    spans: dict[str, list[int]] = {}
    counts: Counter[str] = Counter()
    for row in topics:
        role = str(row["role"])
        if not row["replayed"] or role.startswith((UNUSED, *_AT_TIMES)):
            continue
        span = spans.setdefault(role, [row["first_ns"], row["last_ns"]])
        span[:] = min(span[0], row["first_ns"]), max(span[1], row["last_ns"])
        counts[role] += row["replayed"]
    begin_ns = min((span[0] for span in spans.values()), default=0)
    end_ns = max((span[1] for span in spans.values()), default=0)
    told = []
    for name, (first_ns, last_ns) in sorted(spans.items()):
        period_ns = (last_ns - first_ns) / max(counts[name] - 1, 1)
        most_ns = max(_UNEVEN_NS, _UNEVEN_PERIODS * period_ns)
        for at_ns, apart_ns, what, than in (
            (first_ns, first_ns - begin_ns, "first message came", "after that of the others"),
            (last_ns, end_ns - last_ns, "last message came", "before that of the others"),
        ):
            if apart_ns > most_ns:
                told.append(
                    f"{name}: its {what} at {(at_ns - start_ns) * 1e-9:.1f} s, "
                    f"{apart_ns * 1e-9:.1f} s {than}"
                )
    return told


def to_json(accounting: Accounting) -> dict[str, Any]:
    """Return what result.json says."""
    return {
        "topics": [asdict(row) for row in accounting.topics],
        "problems": list(accounting.problems),
    }


def lines(topics: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say the counts of `to_json` in a few lines."""
    used = [row for row in topics if not row["role"].startswith(UNUSED)]
    rest = [row for row in topics if row["role"].startswith(UNUSED)]
    told = []
    if used:
        parts = (
            f"{row['topic']} {row['replayed']} of {row['held']}"
            + (f" ({row['unusable']} no such message)" if row["unusable"] else "")
            for row in used
        )
        told.append(f"replayed: {', '.join(parts)}")
    if rest:
        parts = (
            f"{row['topic']} ({row['held']}{row['role'].removeprefix(UNUSED)})" for row in rest
        )
        told.append(f"not used: {', '.join(parts)}")
    return told
