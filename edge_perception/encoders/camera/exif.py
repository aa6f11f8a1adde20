"""What EXIF says of how a picture is to be turned for the eye: phones and trail cameras write it.

The pixels stay as they lie, as image_transport has them; whoever calibrated what a viewer shows has
a calibration, and maybe a pose, of the turned picture. EXIF 2.32, 4.5.4 and 4.6.4: an APP1 segment
with a TIFF header and a directory of entries of 12 bytes.
"""

from __future__ import annotations

import struct

APP1 = 0xE1  # JPEG marker of the segment
_MAGIC = b"Exif\0\0"
_ORIENTATION, _SHORT = 0x0112, 3
_MOST_ENTRIES = 64
_TURNS = {  # orientation to what brings the picture upright
    2: "mirrored",
    3: "turned by 180 degrees",
    4: "mirrored and turned by 180 degrees",
    5: "mirrored and turned by 90 degrees to the left",
    6: "turned by 90 degrees to the right",
    7: "mirrored and turned by 90 degrees to the right",
    8: "turned by 90 degrees to the left",
}


def turned_by_exif(segment: bytes) -> str:
    """Return how an APP1 segment wants its picture shown; empty: as it lies.

    Args:
        segment: behind its length.
    """
    if not segment.startswith(_MAGIC):
        return ""
    tiff = segment[len(_MAGIC) :]
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return ""
    try:
        (at,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, at)
        for index in range(min(count, _MOST_ENTRIES)):
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", tiff, at + 2 + 12 * index)
            if (tag, kind) == (_ORIENTATION, _SHORT):
                return _TURNS.get(value, "")
    except struct.error:
        return ""  # cut off, or not what it says: it does not say how to turn
    return ""
