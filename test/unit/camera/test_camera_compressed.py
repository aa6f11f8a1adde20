"""JPEG and PNG: decoded, or refused before they cost anything."""

from __future__ import annotations

import base64
import struct
import zlib

import cv2
import numpy as np
import pytest
from camera_messages import compressed_msg, encoded
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_perception.core.errors import InvalidFrameError
from edge_perception.encoders.camera import compressed
from edge_perception.encoders.camera.conversion import image_from_msg


@pytest.fixture(scope="module")
def bgr() -> np.ndarray:
    """Smooth, with blue and red far apart, so that JPEG keeps it and a swap shows."""
    row, column = np.mgrid[0:48, 0:80]
    return np.dstack([40 + column, 60 + 2 * row, 200 - column]).astype(np.uint8)


def near(got: np.ndarray, expected: np.ndarray) -> None:
    assert got.shape == expected.shape
    assert np.abs(got.astype(int) - expected.astype(int)).mean() < 3


def test_png_is_exact(bgr: np.ndarray) -> None:
    frame = image_from_msg(compressed_msg(encoded(bgr, ".png"), "png"))
    np.testing.assert_array_equal(frame.bgr, bgr)
    assert (frame.stamp_ns, frame.frame_id) == (1_500_000_001, "camera_optical")


@pytest.mark.parametrize(
    "options", [(), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1), (cv2.IMWRITE_JPEG_RST_INTERVAL, 2)]
)
@pytest.mark.parametrize("text", ["jpeg", "jpg", "", "bgr8; jpeg compressed bgr8"])
def test_jpeg(bgr: np.ndarray, text: str, options: tuple[int, ...]) -> None:
    near(image_from_msg(compressed_msg(encoded(bgr, ".jpg", *options), text)).bgr, bgr)


def test_publisher_that_compressed_rgb_as_if_bgr(bgr: np.ndarray) -> None:
    data = encoded(bgr[..., ::-1], ".jpg")
    near(image_from_msg(compressed_msg(data, "rgb8; jpeg compressed rgb8")).bgr, bgr)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_grey(bgr: np.ndarray, suffix: str) -> None:
    grey = bgr[..., 1]
    near(image_from_msg(compressed_msg(encoded(grey, suffix))).bgr, np.dstack([grey] * 3))


def test_png_of_16_bits(bgr: np.ndarray) -> None:
    data = encoded(bgr.astype(np.uint16) * 257, ".png")
    near(image_from_msg(compressed_msg(data, "png")).bgr, bgr)


@pytest.mark.parametrize("bits", [10, 12, 16])
def test_colour_of_16_bits_that_uses_fewer(bgr: np.ndarray, bits: int) -> None:
    low = (bgr.astype(np.uint16) << 8 | bgr) >> (16 - bits)
    message = compressed_msg(encoded(low, ".png"), "bgr16; png compressed bgr16")
    found = image_from_msg(message)
    assert np.abs(found.bgr.astype(int) - bgr).max() <= 1
    assert bool(found.notes) is (bits < 16)


def test_transparency_is_left_out(bgr: np.ndarray) -> None:
    alpha = np.dstack([bgr, np.full(bgr.shape[:2], 7, np.uint8)])
    found = image_from_msg(compressed_msg(encoded(alpha, ".png"), "bgra8; png compressed bgra8"))
    np.testing.assert_array_equal(found.bgr, bgr)


def test_orientation_of_exif_is_ignored(bgr: np.ndarray) -> None:
    """A camera's calibration belongs to the pixels as they are stored."""
    tiff = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"  # rotate by 90
    exif = b"Exif\0\0" + tiff
    plain = encoded(bgr, ".jpg")
    data = plain[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + plain[2:]
    assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape == (80, 48, 3)
    near(image_from_msg(compressed_msg(data)).bgr, bgr)


def test_padding_after_the_end_is_accepted(bgr: np.ndarray) -> None:
    near(image_from_msg(compressed_msg(encoded(bgr, ".jpg") + b"\0" * 4096)).bgr, bgr)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.95])
def test_truncated(bgr: np.ndarray, suffix: str, share: float) -> None:
    noisy = np.random.default_rng(0).integers(0, 256, bgr.shape, dtype=np.uint8)
    data = encoded(noisy, suffix)
    with pytest.raises(InvalidFrameError, match=r"truncated|no end|header|first bytes"):
        image_from_msg(compressed_msg(data[: int(len(data) * share)]))


def png_bomb(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


def jpeg_bomb() -> bytes:
    data = bytearray(encoded(np.zeros((8, 8, 3), np.uint8), ".jpg"))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", 65000, 65000)
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "size"), [(png_bomb(60000, 50000), "60000 x 50000"), (jpeg_bomb(), "65000 x 65000")]
)
def test_bomb_is_refused_undecoded(monkeypatch: pytest.MonkeyPatch, data: bytes, size: str) -> None:
    def decoder(*_: object) -> None:
        raise AssertionError("a decoder saw the bomb")

    monkeypatch.setattr(compressed.cv2, "imdecode", decoder)
    with pytest.raises(InvalidFrameError, match=f"image size: .* got {size}"):
        image_from_msg(compressed_msg(data))


@pytest.mark.parametrize(
    ("data", "text", "reason"),
    [
        (b"", "jpeg", "expected JPEG or PNG data"),
        (b"BM\x00\x00abcd", "bmp", r"format 'bmp'\): expected JPEG or PNG data.*BMP.*42 4d"),
        (encoded(np.zeros((4, 4, 3), np.uint8), ".webp"), "webp", "a WebP picture"),
        (encoded(np.zeros((4, 4, 3), np.uint8), ".tiff"), "bgr8; tiff compressed bgr8", "TIFF"),
        (b"\x00\x00\x00\x01\x67" + bytes(99), "h264", "packet of a video"),
        (b"\x00\x00\x01\x40" + bytes(99), "jpeg", "packet of a video"),
        (base64.b64encode(encoded(np.zeros((4, 4, 3), np.uint8), ".jpg")), "jpeg", "base64"),
        (bytes(12) + encoded(np.zeros((4, 4), np.uint16), ".png"), "png", "depth"),
        (b"\xff\xd8\xff\xd9", "jpeg", "frame header"),
        (png_bomb(64, 64), "png", "decode"),
        (encoded(np.zeros((4, 4), np.uint16), ".png"), "16UC1; compressedDepth png", "depth"),
    ],
)
def test_refused(data: bytes, text: str, reason: str) -> None:
    with pytest.raises(InvalidFrameError, match=reason):
        image_from_msg(compressed_msg(data, text))


@pytest.mark.parametrize("grey", [False, True], ids=["colour", "grey"])
@pytest.mark.parametrize("lost", [0.2, 0.4])
def test_a_jpeg_that_lost_a_part_within_is_refused(grey: bool, lost: float) -> None:
    """It begins and ends as it should; the decoder makes an end of grey, and says nothing."""
    picture = np.random.default_rng(2).integers(0, 256, (96, 160, 3), dtype=np.uint8)
    data = encoded(picture[..., 1] if grey else picture, ".jpg")
    start, length = int(0.4 * len(data)), int(lost * len(data))
    near(image_from_msg(compressed_msg(data)).bgr, cv2.imdecode(np.frombuffer(data, np.uint8), 1))
    with pytest.raises(InvalidFrameError, match="JPEG: a part is lost within"):
        image_from_msg(compressed_msg(data[:start] + data[start + length :]))


@pytest.mark.parametrize("rows", [0, 80], ids=["all of it", "above 80 rows of another"])
def test_a_picture_that_is_the_decoders_grey_lost_nothing(rows: int) -> None:
    picture = np.full((96, 160, 3), 128, np.uint8)
    picture[len(picture) - rows :] = 60
    near(image_from_msg(compressed_msg(encoded(picture, ".jpg"))).bgr, picture)


@pytest.mark.parametrize("size", [(96, 160), (720, 1280)], ids=["small", "large"])
@pytest.mark.parametrize("progressive", [0, 1])
@pytest.mark.parametrize("grey", [False, True], ids=["colour", "grey"])
def test_a_grey_road_that_is_coarsely_quantised_lost_nothing(
    grey: bool, progressive: int, size: tuple[int, int]
) -> None:
    rng = np.random.default_rng(3)
    picture = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    picture[size[0] // 2 :] = rng.integers(126, 131, (size[0] - size[0] // 2, size[1], 1))
    quality = [cv2.IMWRITE_JPEG_QUALITY, 10, cv2.IMWRITE_JPEG_PROGRESSIVE, progressive]
    data = cv2.imencode(".jpg", picture[..., 1] if grey else picture, quality)[1].tobytes()
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), 1)
    assert (decoded[-8:, size[1] // 2 :] == 128).all()  # as a decoder's grey
    near(image_from_msg(compressed_msg(data)).bgr, decoded)


@settings(max_examples=80)
@given(
    suffix=st.sampled_from([".jpg", ".png"]),
    places=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), min_size=1, max_size=6),
)
def test_damaged_bytes_give_an_image_or_are_refused(
    suffix: str, places: list[tuple[float, int]]
) -> None:
    data = bytearray(encoded(np.full((24, 32, 3), 90, np.uint8), suffix))
    for share, value in places:
        data[int(share * len(data))] = value
    try:
        frame = image_from_msg(compressed_msg(bytes(data)))
    except InvalidFrameError:
        return
    assert frame.bgr.ndim == 3


def with_exif(jpeg: bytes, orientation: int, order: str = "<") -> bytes:
    """A JPEG with the segment that phones write behind the start marker."""
    entries = ((0x010F, 2, 4, 0x2E2E2E), (0x0112, 3, 1, orientation))
    fields = b"".join(
        struct.pack(f"{order}HHI", tag, kind, count)
        + (struct.pack(f"{order}HH", value, 0) if kind == 3 else struct.pack(f"{order}I", value))
        for tag, kind, count, value in entries
    )
    mark = b"II" if order == "<" else b"MM"
    tiff = mark + struct.pack(f"{order}HIH", 42, 8, len(entries)) + fields + bytes(4)
    segment = b"Exif\0\0" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + jpeg[2:]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("orientation", "says"),
    [(1, ""), (3, "turned by 180 degrees"), (6, "turned by 90 degrees to the right")],
)
def test_a_picture_that_exif_wants_turned_stays_as_it_lies_and_it_is_said(
    bgr: np.ndarray, orientation: int, says: str, order: str
) -> None:
    data = with_exif(encoded(bgr, ".jpg"), orientation, order)
    frame = image_from_msg(compressed_msg(data, "jpeg"))
    near(frame.bgr, bgr)
    assert bool(frame.notes) is bool(says)
    assert says in " ".join(frame.notes)


@given(data=st.binary(max_size=64))
def test_whatever_stands_where_exif_would(data: bytes) -> None:
    picture = encoded(np.full((8, 8, 3), 90, np.uint8), ".jpg")
    segment = b"Exif\0\0" + data
    whole = picture[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + picture[2:]
    assert image_from_msg(compressed_msg(whole, "jpeg")).bgr.shape == (8, 8, 3)


def test_what_zstd_packs_is_named() -> None:
    with pytest.raises(InvalidFrameError, match="data packed by zstd"):
        image_from_msg(compressed_msg(b"\x28\xb5\x2f\xfd" + bytes(64), "zstd"))


@pytest.mark.parametrize(("written", "known"), [("BayerRG8", "bayer_rggb8"), ("MONO16", "mono16")])
def test_a_format_names_its_encoding_as_others_write_it(
    bgr: np.ndarray, written: str, known: str
) -> None:
    plane = bgr[..., 1].astype(np.uint16) * 257 if known == "mono16" else bgr[..., 1]
    data = encoded(plane, ".png")
    said = image_from_msg(compressed_msg(data, f"{known}; png compressed "))
    frame = image_from_msg(compressed_msg(data, f"{written}; png compressed "))
    np.testing.assert_array_equal(frame.bgr, said.bgr)
    assert f"encoding '{written}' is read as {known}" in frame.notes


@pytest.mark.parametrize("text", ["16uc1; png compressed", "16UC1; CompressedDepth png"])
def test_depth_is_told_however_it_is_written(bgr: np.ndarray, text: str) -> None:
    data = encoded(bgr[..., 1].astype(np.uint16) * 16, ".png")
    with pytest.raises(InvalidFrameError, match="expected a picture, got depth"):
        image_from_msg(compressed_msg(data, text))
