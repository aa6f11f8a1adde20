"""What a rosbag2 folder's metadata.yaml claims, read as far as it can be understood.

The messages are in the storage files and need none of it: whatever is missing, broken or written
by hand costs a note, and what it claims of the messages is held against them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

NAME = "metadata.yaml"
_ROOT = "rosbag2_bagfile_information"


@dataclass(frozen=True, kw_only=True)
class ClaimedTopic:
    """What metadata.yaml says of a topic."""

    type: str = ""
    count: int | None = None
    qos: object = None  # as it is written


@dataclass(frozen=True, kw_only=True)
class BagMetadata:
    """What metadata.yaml says; None and empty: it does not say."""

    files: tuple[str, ...] = ()
    storage: str = ""
    message_count: int | None = None
    start_ns: int | None = None
    duration_ns: int | None = None
    topics: Mapping[str, ClaimedTopic] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def read_metadata(folder: Path) -> BagMetadata | None:
    """Read a folder's metadata.yaml; None: it has none."""
    path = folder / NAME
    if not path.is_file():
        return None
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        document = yaml.load(text, Loader=loader)
    except (OSError, yaml.YAMLError, ValueError, RecursionError) as error:
        said = " ".join(str(error).split())
        return BagMetadata(notes=(f"{NAME} cannot be read ({said}): the files are read without",))
    info = document.get(_ROOT, document) if isinstance(document, Mapping) else None
    if not isinstance(info, Mapping):
        return BagMetadata(notes=(f"{NAME} says nothing: the files are read without",))
    notes = []
    storage = str(info.get("storage_identifier") or "")
    if not storage:
        notes.append(f"{NAME} names no storage: it is told from the files")
    return BagMetadata(
        files=tuple(str(item) for item in _list(info.get("relative_file_paths"))),
        storage=storage,
        message_count=_count(info.get("message_count")),
        start_ns=_time(info.get("starting_time"), "nanoseconds_since_epoch"),
        duration_ns=_time(info.get("duration"), "nanoseconds"),
        topics=_topics(info.get("topics_with_message_count")),
        notes=tuple(notes),
    )


def _topics(items: object) -> dict[str, ClaimedTopic]:
    found: dict[str, ClaimedTopic] = {}
    for item in _list(items):
        told = item.get("topic_metadata") if isinstance(item, Mapping) else None
        if not isinstance(told, Mapping) or "name" not in told:
            continue
        name, count = str(told["name"]), _count(item.get("message_count"))
        before = found.get(name, ClaimedTopic())  # a topic of several types has several entries
        found[name] = ClaimedTopic(
            type=before.type or str(told.get("type") or ""),
            count=count if before.count is None else before.count + (count or 0),
            qos=before.qos or told.get("offered_qos_profiles"),
        )
    return found


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _time(value: object, unit: str) -> int | None:
    return _count(value.get(unit)) if isinstance(value, Mapping) else _count(value)
