"""A training set of labelled recordings: a document that says of each frame where it is from.

Nothing is copied: the set names recordings and labels with their hashes, and is void where one of
them changed. Recordings that belong together (of one robot, minutes apart) are trained on or held
out as a whole.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edge_perception.core.errors import ConfigurationError
from edge_perception.core.json_file import read_json_object
from edge_perception.core.parameter import parameter
from edge_perception.core.schema import decode
from edge_perception.evaluation.mining import Moment, labels_path, moments_of, origin_of
from edge_perception.evaluation.recorded import RecordedFrames
from edge_perception.recordings.own_parameters import parameters_path
from edge_perception.recordings.reader import open_recording
from edge_perception.recordings.stamps import NS
from edge_perception.samples.labels_file import find_labels, read_labels_file

SCHEMA = "edge_perception/training_set/1"
TRAIN, HELD_OUT = "train", "held_out"
_TOGETHER_NS = 600 * NS  # recordings of one robot that begin within are of one drive
_CHUNK = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Decider:
    """A model that saw a frame when it was kept."""

    role: str
    name: str
    version: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class SetFrame:
    """One labelled moment."""

    stamp_ns: int
    boxes: int
    reasons: tuple[str, ...] = ()  # why it was kept
    decided_by: tuple[Decider, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SetRecording:
    """One recording of a set."""

    path: str  # relative to the set
    robot: str = ""  # empty: not collected from a fleet
    group: str = ""  # those of one group resemble each other
    part: str = parameter(TRAIN, choices=(TRAIN, HELD_OUT))
    sha256: str
    parameters_sha256: str = ""  # of the file beside it; empty: there is none
    labels: str  # relative to the set
    labels_sha256: str
    labelled_by: str
    frames: tuple[SetFrame, ...]


@dataclass(frozen=True, kw_only=True)
class TrainingSet:
    """All of it."""

    schema: str = parameter(SCHEMA, choices=(SCHEMA,))
    made: str = ""  # ISO 8601, UTC
    recordings: tuple[SetRecording, ...]

    @property
    def digest(self) -> str:
        """What the set is known by: hashes, frames and parts, wherever it lies."""
        rows = [
            {**asdict(row), "path": "", "labels": ""}
            for row in sorted(self.recordings, key=lambda row: row.sha256)
        ]
        return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()

    def of(self, part: str) -> list[SetRecording]:
        """Return the recordings of a part."""
        return [row for row in self.recordings if row.part == part]

    def frames(self, part: str) -> int:
        """Return how many frames a part has."""
        return sum(len(row.frames) for row in self.of(part))


def gather(
    paths: Sequence[Path], file: Path, *, held_out: float, now: datetime | None = None
) -> tuple[TrainingSet, list[str]]:
    """Make a set of labelled recordings, and write it; return it and what was left out.

    Args:
        paths: recordings.
        file: to write.
        held_out: share of the groups that are not trained on.
        now: of the document; None: the wall clock.

    Raises:
        ConfigurationError: none of them can be used, or somebody's labels are nobody's.
    """
    rows, left_out = [], []
    for path in paths:
        labels = find_labels(path)
        if labels is None:
            left_out.append(f"{path}: no labels beside it; `mine take` brings them")
            continue
        rows.append(_row(path, labels, file.parent))
    if not rows:
        raise ConfigurationError("training set: expected labelled recordings, got none")
    twice = {row.sha256 for row in rows if sum(r.sha256 == row.sha256 for r in rows) > 1}
    if twice:
        names = ", ".join(row.path for row in rows if row.sha256 in twice)
        raise ConfigurationError(f"training set: the same recording more than once: {names}")
    when = (now or datetime.now(timezone.utc)).isoformat(timespec="seconds")
    made = TrainingSet(made=when, recordings=tuple(_parted(_grouped(rows), held_out)))
    partial = file.with_name(f"{file.name}.partial")
    partial.write_text(json.dumps(asdict(made), indent=1), encoding="utf-8")
    partial.replace(file)
    return made, left_out


def read_set(file: Path) -> TrainingSet:
    """Read a set; every recording and label must be what it was.

    Raises:
        ConfigurationError: it is none, or a file of it is missing or changed.
    """
    found = decode(TrainingSet, read_json_object(file), file.name)
    for row in found.recordings:
        pairs = [(row.path, row.sha256), (row.labels, row.labels_sha256)]
        if row.parameters_sha256:
            pairs.append((str(parameters_path(Path(row.path))), row.parameters_sha256))
        for name, sha256 in pairs:
            path = file.parent / name
            got = file_sha256(path)
            if got != sha256:
                raise ConfigurationError(
                    f"{file}: {path}: changed since the set was made: expected sha256 "
                    f"{sha256[:12]}, got {got[:12]}; `mine gather` makes it anew"
                )
    return found


def frames_of(file: Path, found: TrainingSet, part: str) -> Iterator[tuple[str, RecordedFrames]]:
    """Yield the recordings of a part with their labels, and the group that each belongs to."""
    for row in found.of(part):
        yield row.group, RecordedFrames(file.parent / row.path, file.parent / row.labels)


def file_sha256(path: Path) -> str:
    """Return the hash of a file.

    Raises:
        ConfigurationError: it cannot be read.
    """
    whole = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(_CHUNK):
                whole.update(block)
    except OSError as error:
        raise ConfigurationError(f"{path}: expected a file of the set: {error}") from error
    return whole.hexdigest()


def _row(path: Path, labels: Path, folder: Path) -> SetRecording:
    about = read_labels_about(labels)
    if not about:
        raise ConfigurationError(
            f"{labels}: labelled_by: expected who looked at these labels, got nothing; "
            "`mine take --by NAME` writes it"
        )
    origin, sha256 = origin_of(path), file_sha256(path)
    if origin and origin.get("sha256") != sha256:
        raise ConfigurationError(f"{path}: changed since it was collected")
    parameters = parameters_path(path)
    truth = read_labels_file(labels).truth
    moments = _moments(path)
    return SetRecording(
        path=os.path.relpath(path, folder),
        robot=str(origin.get("robot", "")),
        sha256=sha256,
        parameters_sha256=file_sha256(parameters) if parameters.is_file() else "",
        labels=os.path.relpath(labels, folder),
        labels_sha256=file_sha256(labels),
        labelled_by=about,
        frames=tuple(
            SetFrame(
                stamp_ns=shown.stamp_ns,
                boxes=len(truth.frames[shown.frame].boxes),
                reasons=moments[shown.stamp_ns].reasons if shown.stamp_ns in moments else (),
                decided_by=_deciders(moments.get(shown.stamp_ns)),
            )
            for shown in truth.sweeps
        ),
    )


def read_labels_about(labels: Path) -> str:
    """Return who looked at labels; empty: they do not say."""
    if labels.suffix != ".json":
        return ""
    return str(read_json_object(labels).get("labelled_by", ""))


def _moments(path: Path) -> dict[int, Moment]:
    """Return the moments of a file of `record`; of another recording nothing is known."""
    try:
        return {moment.stamp_ns: moment for moment in moments_of(open_recording(path))}
    except ConfigurationError:
        return {}


def _deciders(moment: Moment | None) -> tuple[Decider, ...]:
    return tuple(Decider(**model) for model in moment.models) if moment is not None else ()


def _grouped(rows: Sequence[SetRecording]) -> list[SetRecording]:
    """Give recordings of one drive one group: of one robot, and close in time."""
    made: list[SetRecording] = []
    last: dict[str, int] = {}
    number: dict[str, int] = {}
    for row in sorted(rows, key=lambda r: (r.robot, min(f.stamp_ns for f in r.frames or _NONE))):
        begin_ns = min((f.stamp_ns for f in row.frames), default=0)
        if row.robot not in last or begin_ns - last[row.robot] > _TOGETHER_NS:
            number[row.robot] = number.get(row.robot, 0) + 1
        last[row.robot] = max((f.stamp_ns for f in row.frames), default=begin_ns)
        made.append(replace(row, group=f"{row.robot or 'unknown'} {number[row.robot]}"))
    return made


_NONE: tuple[Any, ...] = (SetFrame(stamp_ns=0, boxes=0),)


def _parted(rows: Sequence[SetRecording], held_out: float) -> Iterator[SetRecording]:
    """Hold out a share of the groups, chosen by a hash of what is in them."""
    groups: dict[str, str] = {}
    for row in rows:
        groups[row.group] = min(groups.get(row.group, row.sha256), row.sha256)
    order = sorted(groups, key=lambda name: hashlib.sha256(groups[name].encode()).hexdigest())
    kept_back = set(order[: math.ceil(held_out * len(order))])
    if held_out < 1.0 and len(kept_back) == len(order):
        kept_back.discard(order[-1])
    for row in rows:
        yield replace(row, part=HELD_OUT if row.group in kept_back else TRAIN)


__all__ = ["HELD_OUT", "TRAIN", "TrainingSet", "frames_of", "gather", "labels_path", "read_set"]
