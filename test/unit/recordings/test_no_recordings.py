"""Files given in the place of a recording are named for what they are, with what to do."""

from pathlib import Path

import pytest

from edge_perception.core.errors import ConfigurationError
from edge_perception.recordings.reader import open_recording

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("drive.bag", b"#ROSBAG V2.0\n", "a bag of ROS 1: `rosbags-convert`"),
        ("drive.bag.active", b"#ROSBAG V2.0\n", "a bag of ROS 1"),
        ("drive.mcap", LFS, "a pointer of Git LFS, not the file: `git lfs pull`"),
        ("drive.db3", LFS, "a pointer of Git LFS"),
        ("drive.mcap.gz", b"\x1f\x8b\x08", "packed by gzip: `gunzip`"),
        ("drive.db3.lz4", b"\x04\x22\x4d\x18", "packed by LZ4: `lz4 -d`"),
        ("drive.zip", b"PK\x03\x04", "a zip archive: `unzip`"),
        ("drive.tar", bytes(256) + b"xustar\x00", "a tar archive: `tar xf`"),
        ("drive.pcap", b"\xd4\xc3\xb2\xa1", "packets of a network: the sensor's driver"),
        ("drive.mcap", b"<!DOCTYPE html><title>403</title>", "a web page"),
        ("drive.mcap", bytes(4096), "nothing but zeros"),
        ("drive.mcap", b"", "expected an MCAP recording, got 0 bytes"),
        ("drive.db3", b"something else", "expected a rosbag2 database"),
        ("drive.svo", b"something else", "expected an .mcap, a .db3 or a rosbag2 folder"),
    ],
)
def test_a_file_that_is_no_recording(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=name) as refused:
        open_recording(path)
    assert says in str(refused.value)


def test_a_folder_without_a_recording_names_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("Tuesday, dry")
    (tmp_path / "town.bag").write_bytes(b"#ROSBAG V2.0\n")
    with pytest.raises(
        ConfigurationError, match=r"a folder with them; town\.bag is a bag of ROS 1"
    ):
        open_recording(tmp_path)
    (tmp_path / "town.bag").unlink()
    with pytest.raises(ConfigurationError, match=r"a folder with them$"):
        open_recording(tmp_path)
