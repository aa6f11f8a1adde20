"""What a change of models was about to do, on disk before it is done."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from edge_perception.core.errors import StoreError
from edge_perception.core.schema import decode
from edge_perception.releases.filesystem import FileSystem

FINAL_STEPS = ("done", "aborted")
_KEPT_RECORDS = 200


@dataclass(frozen=True, kw_only=True)
class Record:
    """One step of one change."""

    transaction_id: str
    step: str
    before: Mapping[str, str] = field(default_factory=dict)  # digest by role
    after: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""

    def next(self, step: str, *, reason: str = "") -> Record:
        """Return the record of the next step of the same change."""
        return replace(self, step=step, reason=reason)


class Journal:
    """Lines of JSON, each with a checksum; a torn last line was never written."""

    def __init__(self, path: Path, files: FileSystem) -> None:
        self._path, self._files = path, files
        self._lock = threading.Lock()  # a record must not fall into the file that is replaced

    def append(self, record: Record) -> None:
        """Write a record and make it durable before returning."""
        with self._lock:
            new = not self._path.exists()
            self._files.append(self._path, _line(_text(record)))
            self._files.sync(self._path)
            if new:
                self._files.sync_folder(self._path.parent)

    def open_change(self) -> Record | None:
        """Return the newest record where its change is not over.

        Only that one is made of its text: of 200 it takes 5 ms of Python beside those that serve.

        Raises:
            StoreError: a line before the last is damaged.
        """
        texts, _ = self._texts()
        newest = _record(texts[-1]) if texts else None
        return newest if newest is not None and newest.step not in FINAL_STEPS else None

    def records(self) -> list[Record]:
        """Return all records, the oldest first.

        Raises:
            StoreError: a line before the last is damaged.
        """
        return [_record(text) for text in self._texts()[0]]

    def repair(self) -> str:
        """Drop a torn last line, set a damaged journal aside, shorten a long one; say what.

        Only for the one manager of the store: others must not write here.
        """
        with self._lock:
            return self._repair()

    def _repair(self) -> str:
        try:
            texts, torn = self._texts()
        except StoreError as error:
            self._files.rename(self._path, self._path.with_suffix(".damaged"))
            self._files.sync_folder(self._path.parent)
            return f"{error}; set aside, the set of `current` stands;"
        if not torn and len(texts) <= _KEPT_RECORDS:
            return ""
        temporary = self._path.with_suffix(".new")
        self._files.write(temporary, b"".join(map(_line, texts[-_KEPT_RECORDS // 2 :])))
        self._files.sync(temporary)
        self._files.rename(temporary, self._path)
        self._files.sync_folder(self._path.parent)
        return "dropped a torn record;" if torn else ""

    def _texts(self) -> tuple[list[bytes], bool]:
        """Return the JSON of every record, checked, and whether a torn one follows.

        Raises:
            StoreError: a line before the last is damaged.
        """
        try:
            lines = self._path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return [], False
        except OSError as error:
            raise StoreError(f"{self._path}: cannot be read: {error}") from error
        texts = []
        torn = lines[-1] != b""  # a whole record ends with a newline
        for number, line in enumerate(lines[:-1], 1):
            check, _, text = line.partition(b" ")
            last = number == len(lines) - 1
            if check == _check(text) and (not last or _is_record(text)):
                texts.append(text)
            elif last:
                return texts, True
            else:
                raise StoreError(f"{self._path}: line {number} is damaged: checksum")
        return texts, torn


def _record(text: bytes) -> Record:
    return decode(Record, json.loads(text), "record", error=StoreError)


def _is_record(text: bytes) -> bool:
    try:
        _record(text)
    except (ValueError, StoreError):
        return False
    return True


def _text(record: Record) -> bytes:
    return json.dumps(asdict(record), sort_keys=True).encode("utf-8")


def _line(text: bytes) -> bytes:
    return _check(text) + b" " + text + b"\n"


def _check(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest()[:16].encode("ascii")
