"""Files packed whole: read to their end, or to where they break off, which is told."""

from __future__ import annotations

import pytest
import zstandard

from edge_perception.recordings.unpacking import unpacked

PLAIN = bytes(range(256)) * 20_000


def packed(*parts, checksum=True):
    pack = zstandard.ZstdCompressor(write_checksum=checksum).compress
    return b"".join(pack(part) for part in parts)


@pytest.mark.parametrize(
    ("data", "plain", "wrong"),
    [
        (packed(PLAIN), PLAIN, ""),
        (packed(PLAIN, b"", b"a second frame"), PLAIN + b"a second frame", ""),
        (packed(PLAIN)[:-1], PLAIN, "it breaks off"),
        (packed(PLAIN, checksum=False)[:-40], None, "it breaks off"),
        (packed(PLAIN)[:3], b"", "it breaks off"),
        (b"", b"", "it breaks off"),
        (packed(PLAIN) + b"behind its end", PLAIN, "Unknown frame descriptor"),
    ],
)
def test_what_breaks_off_is_told(tmp_path, data, plain, wrong):
    path = tmp_path / "bag_0.mcap.zstd"
    path.write_bytes(data)
    file, said = unpacked(path, tmp_path / "scratch")
    assert file.name == "bag_0.mcap"
    assert wrong in said
    assert bool(said) == bool(wrong)
    read = file.read_bytes()
    assert PLAIN.startswith(read) if plain is None else read == plain
