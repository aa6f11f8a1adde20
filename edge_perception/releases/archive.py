"""A bundle as one file: an uncompressed tar of plain files, looked at whole before one is written.

Not compressed: weights hardly shrink, and a bomb needs compression.
"""

from __future__ import annotations

import io
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from edge_perception.core.errors import BundleError
from edge_perception.models.manifest import MANIFEST_NAME, Bundle, Manifest, parse_manifest
from edge_perception.models.sealed import sealed_size
from edge_perception.releases.signing import SIGNATURES_NAME

SUFFIX = ".bundle"
MAX_BYTES = 8 * 2**30
MAX_MEMBERS = 64
MAX_MANIFEST_BYTES = 4 * 2**20
_CHUNK = 1 << 20


def pack(bundle: Bundle, target: Path) -> Path:
    """Write a bundle with its signatures as one file; the same bundle gives the same bytes."""
    names = [MANIFEST_NAME, *sorted(bundle.manifest.files)]
    if (bundle.path / SIGNATURES_NAME).is_file():
        names.insert(1, SIGNATURES_NAME)
    try:
        with tarfile.open(target, "w", format=tarfile.USTAR_FORMAT) as archive:
            for name in names:
                path = bundle.path / name
                info = tarfile.TarInfo(name)
                info.size, info.mode = path.stat().st_size, 0o644
                with path.open("rb") as file:
                    archive.addfile(info, file)
    except OSError as error:
        raise BundleError(f"{target}: cannot be written: {error}") from error
    return target


def unpack(
    archive_path: Path,
    into: Path,
    *,
    max_bytes: int = MAX_BYTES,
    deadline_s: float = 600.0,
    steady_s: Callable[[], float] = time.monotonic,
) -> Manifest:
    """Check all members of an archive, then write them into the empty folder `into`.

    Args:
        archive_path: what `pack` wrote.
        into: an existing, empty folder.
        max_bytes: of all files together.
        deadline_s: a source that is slower is given up.
        steady_s: steady clock, for tests.

    Raises:
        BundleError: no such archive, a member that is not a plain file of the manifest, too many,
            too large, or too slow.
    """
    started_s = steady_s()
    if not archive_path.is_file():  # a pipe or device has no end
        raise BundleError(f"{archive_path}: expected a plain file")
    try:
        with archive_path.open("rb") as raw, tarfile.open(fileobj=raw, mode="r:") as archive:
            members = _checked(archive, archive_path.name, max_bytes)
            manifest = _manifest(archive, members[MANIFEST_NAME])
            _compare(manifest, members, archive_path.name)
            for name, member in members.items():
                source = archive.extractfile(member)
                assert source is not None
                with (into / name).open("xb") as target:
                    _copy(
                        source,
                        target,
                        member.size,
                        lambda: _check_time(steady_s() - started_s, deadline_s),
                    )
    except (tarfile.TarError, EOFError) as error:
        raise BundleError(f"{archive_path.name}: expected a bundle archive: {error}") from error
    except OSError as error:
        raise BundleError(f"{archive_path.name}: cannot be unpacked: {error}") from error
    return manifest


def _checked(archive: tarfile.TarFile, where: str, max_bytes: int) -> dict[str, tarfile.TarInfo]:
    members: dict[str, tarfile.TarInfo] = {}
    total = 0
    for member in archive:
        name = member.name
        if not member.isreg() or member.sparse is not None:
            raise BundleError(f"{where}: '{name}': expected a plain file, got a link or device")
        if Path(name).name != name or name in ("", ".", "..") or "\\" in name or "\0" in name:
            raise BundleError(f"{where}: '{name}': expected a plain file name, not a path")
        if name in members:
            raise BundleError(f"{where}: '{name}' is there twice")
        total += member.size
        if member.size < 0 or total > max_bytes:
            raise BundleError(f"{where}: expected at most {max_bytes} bytes, got {total} or more")
        members[name] = member
        if len(members) > MAX_MEMBERS:
            raise BundleError(f"{where}: expected at most {MAX_MEMBERS} files")
    if MANIFEST_NAME not in members:
        raise BundleError(f"{where}: expected {MANIFEST_NAME}, got {sorted(members)}")
    return members


def _manifest(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Manifest:
    if member.size > MAX_MANIFEST_BYTES:
        raise BundleError(
            f"{MANIFEST_NAME}: expected at most {MAX_MANIFEST_BYTES} bytes, got {member.size}"
        )
    file = archive.extractfile(member)
    assert file is not None
    return parse_manifest(file.read())


def _compare(manifest: Manifest, members: dict[str, tarfile.TarInfo], where: str) -> None:
    expected = {MANIFEST_NAME, *manifest.files}
    got = set(members) - {SIGNATURES_NAME}
    if got != expected:
        raise BundleError(f"{where}: expected files {sorted(expected)}, got {sorted(got)}")
    for name, entry in manifest.files.items():
        if members[name].size not in (entry.size, sealed_size(entry.size)):
            raise BundleError(
                f"{where}: {name}: expected {entry.size} bytes, got {members[name].size}"
            )


def _copy(
    source: IO[bytes], target: io.BufferedWriter, size: int, check: Callable[[], None]
) -> None:
    left = size
    while left:
        check()
        chunk = source.read(min(_CHUNK, left))
        if not chunk:
            raise BundleError(f"{target.name}: truncated, {left} of {size} bytes are missing")
        target.write(chunk)
        left -= len(chunk)


def _check_time(elapsed_s: float, deadline_s: float) -> None:
    if elapsed_s > deadline_s:
        raise BundleError(f"the archive was not read within {deadline_s:g} s")
