"""Files that people give where a recording is expected, told by how they begin."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

HEAD_BYTES = 512  # that tell
_MOST_FILES = 64  # of a folder, looked at
_TAR = (257, b"ustar")
# First bytes, what it is, and what to do; after the table of each format's own specification.
_KINDS = (
    (b"#ROSBAG", "a bag of ROS 1", "`rosbags-convert` makes one of ROS 2 of it"),
    (b"version https://git-lfs", "a pointer of Git LFS, not the file", "`git lfs pull` fetches it"),
    (b"\x1f\x8b", "packed by gzip", "`gunzip` unpacks it"),
    (b"BZh", "packed by bzip2", "`bunzip2` unpacks it"),
    (b"\xfd7zXZ\x00", "packed by xz", "`unxz` unpacks it"),
    (b"\x04\x22\x4d\x18", "packed by LZ4", "`lz4 -d` unpacks it"),
    (b"PK\x03\x04", "a zip archive", "`unzip` unpacks it"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "`7z x` unpacks it"),
    (b"\xd4\xc3\xb2\xa1", "packets of a network", "the sensor's driver makes messages of them"),
    (b"\xa1\xb2\xc3\xd4", "packets of a network", "the sensor's driver makes messages of them"),
    (b"\x4d\x3c\xb2\xa1", "packets of a network", "the sensor's driver makes messages of them"),
    (b"\x0a\x0d\x0d\x0a", "packets of a network", "the sensor's driver makes messages of them"),
    (b"<!DOCTYPE", "a web page", "the download was refused"),
    (b"<!doctype", "a web page", "the download was refused"),
    (b"<html", "a web page", "the download was refused"),
)


def what_it_is(head: bytes) -> str:
    """Return what a file is that begins so, and what to do; empty: not known.

    Args:
        head: its first `HEAD_BYTES`, or as many as it has.
    """
    at, mark = _TAR
    if head[at : at + len(mark)] == mark:
        return "a tar archive: `tar xf` unpacks it"
    if head and not head.strip(b"\0"):
        return "nothing but zeros: a copy or a download that was not finished"
    found = next(((what, to_do) for magic, what, to_do in _KINDS if head.startswith(magic)), None)
    return ": ".join(found) if found else ""


def first_known(files: Iterable[Path]) -> str:
    """Return name and kind of the first file that is known; empty: none is.

    Args:
        files: what is there; folders and what cannot be read are left out.
    """
    for file in sorted(file for file in files if file.is_file())[:_MOST_FILES]:
        try:
            with file.open("rb") as opened:
                what = what_it_is(opened.read(HEAD_BYTES))
        except OSError:
            continue
        if what:
            return f"{file.name} is {what}"
    return ""
