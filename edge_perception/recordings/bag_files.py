"""Which files make up a recording, whatever its folder looks like."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from edge_perception.core.errors import ConfigurationError
from edge_perception.recordings.bag_metadata import NAME, BagMetadata, read_metadata
from edge_perception.recordings.other_files import first_known
from edge_perception.recordings.unpacking import ZSTD_ENDS

_ENDS = (".mcap", ".db3")
_NUMBER = re.compile(r"_(\d+)$")
_HIGHEST = 9999  # number of a file; above they are dates


@dataclass(kw_only=True)
class BagFiles:
    """The files of one recording."""

    files: list[Path]
    metadata: BagMetadata | None = None  # None: there is none
    notes: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)  # told, and not there


def find_files(path: Path) -> BagFiles:
    """Return the files of a recording: one file, or those of a rosbag2 folder.

    A folder's files are those its metadata.yaml lists and those whose names go on from them; a
    folder without any is looked through for one recording below it.

    Raises:
        ConfigurationError: there is nothing, or it is not clear what.
    """
    if not path.exists():
        raise ConfigurationError(f"{path}: expected a recording, there is nothing")
    if path.name == NAME and path.is_file():
        path = path.parent
    if not path.is_dir():
        return BagFiles(files=[path], notes=_of_several(path))
    metadata = read_metadata(path)
    there = _storage_files(path)
    found = BagFiles(files=[], metadata=metadata)
    if metadata is None and there:
        found.notes.append(f"{path.name}: it has no {NAME}: read are {_names(there)}")
    if metadata is not None:
        found.notes += [f"{path.name}: {note}" for note in metadata.notes]
        _listed(path, metadata, found)
    if not found.files:
        if metadata is not None and there and metadata.files:
            found.notes.append(
                f"{path.name}: {NAME} lists files that are not there: read are {_names(there)}"
            )
            found.missing = []
        found.files = _of_one(path, there)
        if not (metadata and metadata.files):
            _note_gaps(path, found)
    else:
        _unlisted(there, found)
    return found if found.files else _below(path, found)


def _listed(path: Path, metadata: BagMetadata, found: BagFiles) -> None:
    """Take the files that metadata.yaml lists, wherever the folder was when it was written."""
    for name in metadata.files:
        ways = [path / name, path / Path(name.replace("\\", "/")).name]
        ways += [way.with_name(way.name + end) for way in ways for end in ZSTD_ENDS]
        ways += [way.with_suffix("") for way in ways[:2] if way.suffix in ZSTD_ENDS]
        file = next((way for way in ways if way.is_file()), None)
        if file is None:
            found.missing.append(f"{path.name}: {NAME} lists {name}, which is not there")
        elif _is_among(file, found.files):
            found.notes.append(f"{path.name}: {NAME} lists {name} twice: read once")
        else:
            found.files.append(file)


def _unlisted(there: Iterable[Path], found: BagFiles) -> None:
    """Take what goes on from the listed files, as a recorder leaves it that was killed."""
    stems = {_NUMBER.sub("", _plain(file).stem) for file in found.files}
    known = {_plain(file) for file in found.files}
    for file in there:
        if _is_among(file, found.files):
            continue
        plain = _plain(file)
        if plain in known:
            found.notes.append(f"{file.name}: the same, packed otherwise, is read: not read")
        elif _NUMBER.search(plain.stem) and _NUMBER.sub("", plain.stem) in stems:
            found.files.append(file)
            found.notes.append(f"{file.name}: not listed in {NAME}: read too")
        else:
            found.notes.append(f"{file.name}: not listed in {NAME}: not read")


def _is_among(file: Path, files: Iterable[Path]) -> bool:
    """Whether a file is one of these, whatever way leads to it: `..`, links."""
    return any(file.samefile(other) for other in files)


def _of_one(path: Path, there: list[Path]) -> list[Path]:
    """Return files that nothing lists; their names must say that they belong together."""
    if len({_NUMBER.sub("", _plain(file).stem) for file in there}) > 1:
        raise ConfigurationError(
            f"{path}: expected the files of one recording, got {_names(there)}; name one of them"
        )
    return there


def _of_several(path: Path) -> list[str]:
    """Say that a file is one of several: what is latched, as /tf_static, may be in another one."""
    metadata = read_metadata(path.parent)
    names = {Path(name.replace("\\", "/")).name for name in metadata.files} if metadata else set()
    if len(names) < 2 or names.isdisjoint((path.name, _plain(path).name)):
        return []
    return [
        f"{path.name}: one of {len(names)} files of one recording: name its folder to read them all"
    ]


def _note_gaps(path: Path, found: BagFiles) -> None:
    """Name the numbers that are left out among files that nothing lists; rosbag2 counts from 0."""
    numbers = {number for _, number, _ in map(_order, found.files) if number >= 0}
    if not numbers or max(numbers) > _HIGHEST:
        return
    first = min(numbers)
    lost = ", ".join(map(str, sorted(set(range(first, max(numbers))) - numbers)))
    if lost:
        found.missing.append(f"{path.name}: of its files number {lost} is not there")
    if first:
        found.notes.append(
            f"{path.name}: its files begin with number {first}: what came before is not there"
        )


def _below(path: Path, found: BagFiles) -> BagFiles:
    folders = sorted({file.parent for file in path.rglob("*") if _is_storage(file)})
    folders = [folder for folder in folders if not any(p in folders for p in folder.parents)]
    if len(folders) == 1:
        below = find_files(folders[0])
        where = folders[0].relative_to(path)
        return BagFiles(
            files=below.files,
            metadata=below.metadata,
            notes=[f"{path.name}: its recording is in {where}", *below.notes],
            missing=below.missing,
        )
    if folders:
        names = ", ".join(str(folder.relative_to(path)) for folder in folders[:8])
        raise ConfigurationError(
            f"{path}: expected one recording, got {len(folders)}: {names}; name one of them"
        )
    told = "; ".join(["", *found.missing, *filter(None, [first_known(path.iterdir())])])
    raise ConfigurationError(
        f"{path}: expected a recording: an .mcap, a .db3 or a folder with them{told}"
    )


def _storage_files(folder: Path) -> list[Path]:
    files = [file for file in folder.iterdir() if _is_storage(file)]
    plain = {_plain(file) for file in files if file == _plain(file)}
    return sorted(
        (file for file in files if file == _plain(file) or _plain(file) not in plain), key=_order
    )


def _is_storage(file: Path) -> bool:
    return _plain(file).suffix in _ENDS and file.is_file()


def _plain(file: Path) -> Path:
    """Return a file's name before it was packed."""
    return file.with_suffix("") if file.suffix in ZSTD_ENDS else file


def _order(file: Path) -> tuple[str, int, str]:
    """Sort by number: bag_10 comes after bag_9."""
    number = _NUMBER.search(_plain(file).stem)
    return _NUMBER.sub("", _plain(file).stem), int(number[1]) if number else -1, file.name


def _names(files: Iterable[Path]) -> str:
    return ", ".join(file.name for file in files)
