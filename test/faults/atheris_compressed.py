"""Coverage-guided fuzzing of compressed images and stamps of serialised messages, by atheris.

python test/faults/atheris_compressed.py -runs=20000
"""

from __future__ import annotations

import sys
from types import SimpleNamespace

import atheris

with atheris.instrument_imports(include=["edge_perception"]):
    from edge_perception.core.errors import EdgePerceptionError
    from edge_perception.encoders.camera.conversion import image_from_msg
    from edge_perception.recordings.stamps import read_stamp_ns

HEADER = SimpleNamespace(stamp=SimpleNamespace(sec=1, nanosec=0), frame_id="camera")
MAGIC = (b"", b"\xff\xd8", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")


def one(data: bytes) -> None:
    image = MAGIC[data[0] % len(MAGIC)] + data[1:] if data else b""
    for attempt in (
        lambda: image_from_msg(SimpleNamespace(header=HEADER, format="jpeg", data=image)),
        lambda: read_stamp_ns(data),
    ):
        try:
            attempt()
        except EdgePerceptionError:
            continue


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
