"""Raw images: every encoding against expectations computed here, and what is refused."""

from __future__ import annotations

import array
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from camera_messages import image_msg
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_perception.core.errors import InvalidFrameError
from edge_perception.encoders.camera.conversion import image_from_msg
from edge_perception.encoders.camera.cv_bridge_fallback import CvBridge
from edge_perception.encoders.camera.encodings import ENCODINGS

HEIGHT, WIDTH = 12, 16


@pytest.fixture
def bgr() -> np.ndarray:
    return np.random.default_rng(7).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def blocks() -> np.ndarray:
    """Four 8 x 8 patches of one colour each, BGR: what subsampling and mosaics keep."""
    colours = np.array([[[30, 60, 200], [180, 90, 40]], [[100, 140, 120], [60, 160, 150]]])
    return np.kron(colours, np.ones((8, 8, 1), int)).astype(np.uint8)


def yuv601(bgr: np.ndarray) -> np.ndarray:
    """BT.601, limited range, by the standard's coefficients."""
    b, g, r = (bgr[..., c].astype(float) for c in range(3))
    y = 16 + (65.481 * r + 128.553 * g + 24.966 * b) / 255
    u = 128 + (-37.797 * r - 74.203 * g + 112.0 * b) / 255
    v = 128 + (112.0 * r - 93.786 * g - 18.214 * b) / 255
    return np.rint(np.stack([y, u, v], axis=-1)).astype(np.uint8)


COLOUR = {
    "bgr8": lambda p: p,
    "8UC3": lambda p: p,
    "rgb8": lambda p: p[..., ::-1],
    "bgra8": lambda p: np.dstack([p, np.full(p.shape[:2], 9, p.dtype)]),
    "8UC4": lambda p: np.dstack([p, np.full(p.shape[:2], 9, p.dtype)]),
    "rgba8": lambda p: np.dstack([p[..., ::-1], np.full(p.shape[:2], 9, p.dtype)]),
}
COLOUR_16 = {
    "bgr16": COLOUR["bgr8"],
    "rgb16": COLOUR["rgb8"],
    "bgra16": COLOUR["bgra8"],
    "rgba16": COLOUR["rgba8"],
}


@pytest.mark.parametrize("encoding", COLOUR)
def test_colour_of_8_bits(bgr: np.ndarray, encoding: str) -> None:
    frame = image_from_msg(image_msg(COLOUR[encoding](bgr), encoding))
    np.testing.assert_array_equal(frame.bgr, bgr)
    assert frame.bgr.dtype == np.uint8
    assert (frame.stamp_ns, frame.frame_id) == (1_500_000_001, "camera_optical")


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("encoding", COLOUR_16)
def test_colour_of_16_bits(encoding: str, big_endian: bool) -> None:
    wide = np.random.default_rng(3).integers(0, 65536, (HEIGHT, WIDTH, 3), dtype=np.uint16)
    message = image_msg(COLOUR_16[encoding](wide), encoding, big_endian=big_endian)
    np.testing.assert_array_equal(image_from_msg(message).bgr, np.rint(wide / 257))


@pytest.mark.parametrize("encoding", ["mono8", "8UC1"])
def test_grey(bgr: np.ndarray, encoding: str) -> None:
    grey = bgr[..., 0]
    np.testing.assert_array_equal(
        image_from_msg(image_msg(grey, encoding)).bgr, np.dstack([grey] * 3)
    )


@pytest.mark.parametrize("big_endian", [False, True])
def test_grey_of_16_bits(big_endian: bool) -> None:
    grey = np.arange(HEIGHT * WIDTH, dtype=np.uint16).reshape(HEIGHT, WIDTH) * 300
    got = image_from_msg(image_msg(grey, "mono16", big_endian=big_endian)).bgr
    np.testing.assert_array_equal(got, np.dstack([np.rint(grey / 257)] * 3))


@pytest.mark.parametrize(
    ("encoding", "order"),
    [("uyvy", "uy"), ("yuv422", "uy"), ("yuyv", "yu"), ("yuv422_yuy2", "yu")],
)
def test_yuv_422(encoding: str, order: str) -> None:
    yuv = yuv601(blocks())
    chroma = np.where(np.arange(16) % 2 == 0, yuv[..., 1], yuv[..., 2])
    pair = [chroma, yuv[..., 0]] if order == "uy" else [yuv[..., 0], chroma]
    got = image_from_msg(image_msg(np.stack(pair, axis=-1), encoding)).bgr
    np.testing.assert_allclose(got.astype(int), blocks().astype(int), atol=3)


def scene(kind: str) -> np.ndarray:
    """A picture of smooth light with things in it, BGR, and what cameras make of it."""
    y, x = np.mgrid[0:120, 0:160]
    bgr = np.stack([40 + x, 200 - y, 90 + 0 * x], axis=-1).astype(np.uint8)
    for at, colour in ((10, (30, 40, 200)), (60, (220, 210, 200)), (110, (20, 90, 30))):
        cv2.rectangle(bgr, (at, 30), (at + 30, 100), colour, -1)
    if kind == "grey":
        bgr = np.repeat(cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY)[..., None], 3, axis=2)
    if kind == "dark":
        bgr = bgr // 8
    if kind == "noisy":
        noise = np.random.default_rng(0).normal(0.0, 10.0, bgr.shape)
        bgr = np.clip(bgr + noise, 0, 255).astype(np.uint8)
    return bgr


@pytest.mark.parametrize(
    ("name", "code"), [("i420", cv2.COLOR_BGR2YUV_I420), ("yv12", cv2.COLOR_BGR2YUV_YV12)]
)
def test_planes_of_half_the_width(name: str, code: int) -> None:
    rows = cv2.cvtColor(scene("plain"), code)
    message = image_msg(rows, name, size=(160, 120))
    got = image_from_msg(message).bgr.astype(int)
    assert np.abs(got - scene("plain")).mean() < 4
    with pytest.raises(InvalidFrameError, match="rows without padding, 160 bytes, got 176"):
        image_from_msg(image_msg(rows, name, size=(160, 120), padding=16))
    message.data += bytes(range(1, 161)) * 12  # 128 rows of Y: where the colours are nobody says
    with pytest.raises(InvalidFrameError, match="in planes of 120 rows"):
        image_from_msg(message)


def test_yuv_422_with_the_colours_in_the_other_order() -> None:
    yuv = yuv601(blocks())
    chroma = np.where(np.arange(16) % 2 == 0, yuv[..., 2], yuv[..., 1])
    rows = np.stack([yuv[..., 0], chroma], axis=-1)
    got = image_from_msg(image_msg(rows, "yvyu")).bgr
    np.testing.assert_allclose(got.astype(int), blocks().astype(int), atol=3)


@pytest.mark.parametrize(
    ("alias", "name", "shape", "dtype"),
    [
        ("YUY2", "yuyv", (12, 16, 2), np.uint8),
        ("YUV422_8_UYVY", "uyvy", (12, 16, 2), np.uint8),
        ("YU12", "i420", (18, 16), np.uint8),
        ("rgb24", "rgb8", (12, 16, 3), np.uint8),
        ("GRAY8", "mono8", (12, 16), np.uint8),
        ("Mono12", "mono16", (12, 16), np.uint16),
        ("BayerRG12", "bayer_rggb16", (12, 16), np.uint16),
    ],
)
def test_names_of_other_libraries(alias: str, name: str, shape: tuple, dtype: type) -> None:
    rows = np.random.default_rng(4).integers(0, 256, shape, dtype)
    size = (16, 12)
    want = image_from_msg(image_msg(rows, name, size=size))
    got = image_from_msg(image_msg(rows, alias, size=size))
    np.testing.assert_array_equal(got.bgr, want.bgr)
    assert got.notes == (f"encoding '{alias}' is read as {name}", *want.notes)


def test_a_name_of_unpacked_bits_with_packed_ones_is_refused() -> None:
    packed = np.zeros((12, 16 * 3 // 2), np.uint8)  # two values in three bytes
    with pytest.raises(InvalidFrameError, match="BayerRG12 image: data: expected at least 384"):
        image_from_msg(image_msg(packed, "BayerRG12", size=(16, 12)))


@pytest.mark.parametrize("kind", ["plain", "grey", "dark", "noisy"])
@pytest.mark.parametrize(("encoding", "other"), [("yuv422", "yuyv"), ("yuv422_yuy2", "uyvy")])
def test_brightness_where_the_encoding_says_colours(encoding: str, other: str, kind: str) -> None:
    """ros-drivers/usb_cam#263: the encoding is what was asked for, the data what came."""
    yuv = cv2.cvtColor(scene(kind), cv2.COLOR_BGR2YUV)
    chroma = np.where(np.arange(160) % 2 == 0, yuv[..., 1], yuv[..., 2])
    pair = [chroma, yuv[..., 0]] if other == "uyvy" else [yuv[..., 0], chroma]
    rows = np.stack(pair, axis=-1)
    right, wrong = image_from_msg(image_msg(rows, other)), image_from_msg(image_msg(rows, encoding))
    assert right.notes == ()
    np.testing.assert_array_equal(wrong.bgr, right.bgr)
    assert wrong.notes == (
        f"the encoding is wrong: brightness lies where it says colours, read as {other}",
    )


@pytest.mark.parametrize("encoding", ["yuyv", "uyvy"])
@pytest.mark.parametrize("fill", ["noise", "flat", "black"])
def test_pairs_that_tell_nothing_are_as_told(encoding: str, fill: str) -> None:
    rows = np.full((32, 64), {"noise": 0, "flat": 128, "black": 16}[fill], np.uint8)
    if fill == "noise":
        rows = np.random.default_rng(2).integers(0, 256, (32, 64), dtype=np.uint8)
    assert image_from_msg(image_msg(rows, encoding, size=(32, 32))).notes == ()


def planar(encoding: str) -> np.ndarray:
    yuv = yuv601(blocks())
    order = [2, 1] if encoding == "nv21" else [1, 2]
    if encoding == "nv24":
        return np.concatenate([yuv[..., 0], yuv[..., order].reshape(32, 16)])
    return np.concatenate([yuv[..., 0], yuv[::2, ::2, order].reshape(8, 16)])


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize("encoding", ["nv12", "nv21", "nv24"])
def test_yuv_in_planes(encoding: str, padding: int) -> None:
    rows = planar(encoding)
    message = image_msg(rows, encoding, size=(16, 16), padding=padding)
    if encoding == "nv24" and padding:  # rows of chroma are two steps long
        step, data = 16 + padding, np.full((48, 16 + padding), 0xA5, np.uint8)
        data[:16, :16] = rows[:16]
        data[16:].reshape(16, 2 * step)[:, :32] = rows[16:].reshape(16, 32)
        message.data = data.tobytes()
    got = image_from_msg(message).bgr
    np.testing.assert_allclose(got.astype(int), blocks().astype(int), atol=3)


def higher_planes(encoding: str, height: int, rows: int) -> SimpleNamespace:
    """An image of `height` rows in planes made higher by `rows`, as codecs do."""
    image = cv2.resize(blocks(), (16, height), interpolation=cv2.INTER_NEAREST)
    yuv = yuv601(image)
    order = [2, 1] if encoding == "nv21" else [1, 2]
    chroma = yuv[::2, ::2, order].reshape(height // 2, 16)
    rubbish = np.full((rows, 16), 0x55, np.uint8)
    planes = np.concatenate([yuv[..., 0], rubbish, chroma, rubbish[: rows // 2]])
    message = image_msg(planes, encoding, size=(16, height))
    message.image = image
    return message


@pytest.mark.parametrize(("height", "rows"), [(20, 4), (24, 8), (40, 24), (12, 20)])
@pytest.mark.parametrize("encoding", ["nv12", "nv21"])
def test_colours_behind_a_plane_that_a_codec_made_higher(
    encoding: str, height: int, rows: int
) -> None:
    message = higher_planes(encoding, height, rows)
    frame = image_from_msg(message)
    np.testing.assert_allclose(frame.bgr.astype(int), message.image.astype(int), atol=3)
    assert f"planes of {height + rows} rows for images of {height}" in frame.notes[0]


def test_planes_of_which_nobody_knows_where_the_second_begins_are_refused() -> None:
    with pytest.raises(InvalidFrameError, match=r"expected 30 rows .* in planes of 20 .* got 33"):
        image_from_msg(higher_planes("nv12", 20, 2))


@pytest.mark.parametrize("encoding", ["bgr8", "nv12"])
def test_data_behind_the_last_row_is_told(bgr: np.ndarray, encoding: str) -> None:
    rows = planar("nv12") if encoding == "nv12" else bgr
    message = image_msg(rows, encoding, size=(16, 16) if encoding == "nv12" else None)
    before = image_from_msg(message)
    message.data += b"\x33" * (message.step + 1)
    frame = image_from_msg(message)
    np.testing.assert_array_equal(frame.bgr, before.bgr)
    assert frame.notes == (
        "the data behind the last row is left out: the height or the data is stale",
    )


@pytest.mark.parametrize(
    ("written", "told", "held"),
    [("bgr8", 3, 4), ("rgb8", 3, 4), ("mono8", 1, 2), ("mono8", 1, 3), ("mono8", 1, 4)],
)
def test_larger_pixels_than_the_encoding_has_are_no_stale_height(
    written: str, told: int, held: int
) -> None:
    """BGRA called bgr8 fills the rows of an image that is higher by a third."""
    picture = smooth_picture(96, 120)
    pixels = np.full((96, 120, held), 255, np.uint8)
    pixels[..., : min(held, 3)] = picture[..., : min(held, 3)] // 2
    message = image_msg(pixels.reshape(-1, told * 120), written, size=(120, 96))
    reason = f"expected {told} bytes a pixel, got {held} a pixel"
    with pytest.raises(InvalidFrameError, match=reason):
        image_from_msg(message)


@pytest.mark.parametrize(("encoding", "height"), [("bgr8", 72), ("mono8", 48), ("mono8", 32)])
def test_rows_of_a_higher_image_are_no_larger_pixels(encoding: str, height: int) -> None:
    picture = smooth_picture(96, 120)
    rows = picture if encoding == "bgr8" else picture[..., 0]
    frame = image_from_msg(image_msg(rows, encoding, size=(120, height)))
    assert np.array_equal(frame.bgr[..., 0], picture[:height, :, 0])
    assert "the height or the data is stale" in frame.notes[0]


def smooth_picture(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width]
    channels = [np.sin(x / 15 + c) * np.cos(y / 11 - c) for c in range(3)]
    noise = np.random.default_rng(5).normal(0, 0.02, (height, width, 3))
    return np.rint(127 + 100 * (np.stack(channels, axis=-1) + noise)).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("written", "known"),
    [("RGB8", "rgb8"), ("Mono16", "mono16"), ("YUYV", "yuyv"), ("BayerRG8", "bayer_rggb8"),
     ("BayerGB16", "bayer_gbrg16"), ("BayerGR8", "bayer_grbg8"), ("BayerBG8", "bayer_bggr8")],
)  # fmt: skip
def test_names_of_encodings_as_others_write_them(written: str, known: str) -> None:
    shape = (HEIGHT, WIDTH, 3) if known == "rgb8" else (HEIGHT, WIDTH, 2)
    kind = np.uint16 if known.endswith("16") else np.uint8
    rows = np.random.default_rng(3).integers(0, 256, shape).astype(kind)
    if known not in ("rgb8", "yuyv"):
        rows = rows[..., :1]
    frame = image_from_msg(image_msg(rows, written))
    np.testing.assert_array_equal(frame.bgr, image_from_msg(image_msg(rows, known)).bgr)
    assert frame.notes[0] == f"encoding '{written}' is read as {known}"


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
@pytest.mark.parametrize("smooth", [True, False], ids=["smooth", "with noise"])
def test_an_order_of_bytes_that_is_not_the_one_told(bits: int, smooth: bool) -> None:
    """A smooth picture read in the wrong order is rough, but no noise."""
    y, x = np.mgrid[0:96, 0:128]
    picture = 0.5 + 0.4 * np.sin(x / 17) * np.cos(y / 13)
    picture += 0.0 if smooth else np.random.default_rng(1).normal(0, 0.02, picture.shape)
    rows = np.rint(picture.clip(0, 1) * (2**bits - 1)).astype(np.uint16)
    right = image_msg(rows, "mono16", big_endian=True)
    wrong = image_msg(rows, "mono16", big_endian=True)
    wrong.is_bigendian = 0
    expected, found = image_from_msg(right), image_from_msg(wrong)
    assert not [note for note in expected.notes if "is_bigendian" in note]
    np.testing.assert_array_equal(found.bgr, expected.bgr)
    assert "is_bigendian is wrong" in found.notes[0]


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("order", ["rggb", "bggr", "gbrg", "grbg"])
def test_bayer(order: str, bits: int, big_endian: bool) -> None:
    """Inside a patch of one colour every demosaicing gives that colour."""
    image = blocks().astype(np.uint16) * (1 if bits == 8 else 257)
    channel = np.tile(np.array(["bgr".index(c) for c in order]).reshape(2, 2), (8, 8))
    mosaic = np.take_along_axis(image, channel[..., None], axis=2)[..., 0]
    mosaic = mosaic.astype(np.uint8 if bits == 8 else np.uint16)
    got = image_from_msg(image_msg(mosaic, f"bayer_{order}{bits}", big_endian=big_endian)).bgr
    for row in (slice(2, 6), slice(10, 14)):
        for column in (slice(2, 6), slice(10, 14)):
            np.testing.assert_array_equal(got[row, column], blocks()[row, column])


@pytest.mark.parametrize("padding", [1, 7, 64])
@pytest.mark.parametrize("encoding", sorted(set(ENCODINGS) - {"nv24", "i420", "yv12"}))
def test_padded_rows_change_nothing(encoding: str, padding: int) -> None:
    spec = ENCODINGS[encoding]
    rows = HEIGHT * spec.rows[0] // spec.rows[1]
    items = np.random.default_rng(1).integers(
        0, 256**spec.item_bytes, (rows, WIDTH * spec.channels), dtype=f"u{spec.item_bytes}"
    )
    plain = image_from_msg(image_msg(items, encoding, size=(WIDTH, HEIGHT)))
    padded = image_from_msg(image_msg(items, encoding, size=(WIDTH, HEIGHT), padding=padding))
    assert plain.bgr.shape == (HEIGHT, WIDTH, 3)
    np.testing.assert_array_equal(padded.bgr, plain.bgr)


@pytest.mark.parametrize(
    "container", [bytes, bytearray, memoryview, lambda d: array.array("B", d), np.array]
)
def test_data_of_any_buffer(bgr: np.ndarray, container: type) -> None:
    message = image_msg(bgr, "bgr8")
    message.data = container(
        np.frombuffer(message.data, np.uint8) if container is np.array else message.data
    )
    np.testing.assert_array_equal(image_from_msg(message).bgr, bgr)


def test_bgr_is_not_copied(bgr: np.ndarray) -> None:
    message = image_msg(bgr, "bgr8", padding=4)
    data = message.data = np.frombuffer(message.data, np.uint8)
    assert np.shares_memory(image_from_msg(message).bgr, data)


@pytest.mark.parametrize(
    ("said", "held"), [("bgr8", "bgra8"), ("mono8", "mono16"), ("mono8", "rgb8")]
)
def test_a_step_of_other_pixels_is_no_padding(said: str, held: str) -> None:
    """Read by the encoding alone it is a picture of stripes."""
    channels, kind = {"bgra8": (4, "u1"), "mono16": (1, "u2"), "rgb8": (3, "u1")}[held]
    rows = np.random.default_rng(2).integers(0, 200, (24, 640, channels)).astype(kind)
    message = image_msg(rows, held)
    message.encoding = said
    with pytest.raises(InvalidFrameError, match=r"a pixel, which the data has: another encoding"):
        image_from_msg(message)


def test_last_row_may_lack_its_padding(bgr: np.ndarray) -> None:
    message = image_msg(bgr, "bgr8", padding=4)
    message.data = message.data[:-4]
    np.testing.assert_array_equal(image_from_msg(message).bgr, bgr)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"encoding": "bgr9"}, r"unknown encoding 'bgr9'; known: .*bayer_bggr16.*yuv422"),
        ({"encoding": "16UC1"}, "expected a picture, got depth"),
        ({"encoding": "32FC1"}, "expected a picture, got depth"),
        ({"encoding": ""}, "unknown encoding ''"),
        ({"width": 0}, "got 0 x 12"),
        ({"height": 0}, "got 16 x 0"),
        ({"width": 20000}, "got 20000 x 12"),
        ({"width": 2**31, "height": 2**31}, "image size"),
        ({"step": 36}, "bgr8 image: step: .* got 36: width and height swapped"),
        ({"step": 16}, "bgr8 image: step: expected at least 48 bytes a row, and 12 .*, got 16"),
        ({"step": 47, "data": b"\1" * 580}, "step: expected at least 48 bytes a row, .* got 47"),
        ({"step": 0, "data": b"\1" * 700}, "got 0"),
        ({"data": b"\0" * (48 * 12 - 1)}, "expected at least 576 bytes for 16 x 12, got 575"),
        ({"data": b""}, "got 0"),
        ({"data": [1, 2, 3]}, "buffer of bytes, got list"),
        ({"encoding": "uyvy", "width": 15}, "width: expected a multiple of 2, got 15"),
        ({"encoding": "nv12", "height": 11}, "height: expected a multiple of 2, got 11"),
    ],
)
def test_refused(bgr: np.ndarray, changes: dict, text: str) -> None:
    message = image_msg(bgr, "bgr8")
    vars(message).update(changes)
    if changes.get("encoding", "bgr8") not in ENCODINGS and CvBridge is not None:
        text = "cv_bridge|unknown"
    with pytest.raises(InvalidFrameError, match=text):
        image_from_msg(message)


@pytest.mark.parametrize("step", [32, 47, 1, 1000])
def test_a_step_that_is_no_length_of_a_row_tells_nothing(bgr: np.ndarray, step: int) -> None:
    """A driver that converts keeps the step of what it converted: 2 bytes a pixel of uyvy."""
    message = image_msg(bgr, "bgr8")
    message.step = step
    frame = image_from_msg(message)
    np.testing.assert_array_equal(frame.bgr, bgr)
    assert frame.notes == ("step is no length of a row: the rows fill the data without a gap",)


@settings(max_examples=150)
@given(
    encoding=st.sampled_from(sorted(ENCODINGS)),
    width=st.integers(1, 9),
    height=st.integers(1, 9),
    step=st.integers(0, 80),
    data=st.binary(max_size=900),
)
def test_whatever_comes_is_an_image_or_refused(
    encoding: str, width: int, height: int, step: int, data: bytes
) -> None:
    message = image_msg(np.zeros((1, 1, 3), np.uint8), encoding)
    vars(message).update(width=width, height=height, step=step, data=data)
    try:
        frame = image_from_msg(message)
    except InvalidFrameError:
        return
    assert frame.bgr.shape == (height, width, 3)
    assert frame.bgr.dtype == np.uint8


@pytest.mark.parametrize("encoding", ["rgb8", "bgra8", "mono8", "mono16", "bayer_rggb8", "yuv422"])
def test_agrees_with_cv_bridge(encoding: str) -> None:
    cv_bridge = pytest.importorskip("cv_bridge", reason="cv_bridge is not installed")
    image = pytest.importorskip("sensor_msgs.msg", reason="sensor_msgs is not installed").Image()
    spec = ENCODINGS[encoding]
    items = np.random.default_rng(5).integers(
        0, 256**spec.item_bytes, (HEIGHT, WIDTH * spec.channels), dtype=f"<u{spec.item_bytes}"
    )
    image.encoding, image.width, image.height = encoding, WIDTH, HEIGHT
    image.step, image.data = items.strides[0], items.tobytes()
    theirs = cv_bridge.CvBridge().imgmsg_to_cv2(image, desired_encoding="bgr8")
    np.testing.assert_allclose(image_from_msg(image).bgr.astype(int), theirs.astype(int), atol=1)


@pytest.mark.parametrize("size", [(48, 64), (64, 48)])
def test_width_and_height_swapped_are_no_picture(size) -> None:
    """The step is that of the other side: rows of the other length would be taken for rows."""
    rows = np.zeros((size[0], size[1], 3), np.uint8)
    with pytest.raises(InvalidFrameError, match="width and height swapped"):
        image_from_msg(image_msg(rows, "rgb8", size=size))
