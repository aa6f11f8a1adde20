"""Reading in place against rosidl's own deserialiser, on good, damaged and hostile buffers."""

from __future__ import annotations

import contextlib
import importlib
import struct
import tracemalloc
from array import array
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edge_perception.cdr import CdrError, CdrReader, CdrWriter, UnsupportedCdrError, skipping
from edge_perception.cdr.layout import Array, Element, Primitive, String, Structure, layout_of

serialization = pytest.importorskip("rclpy.serialization")

SETTINGS = settings(max_examples=40, derandomize=True)
TYPES = (
    "sensor_msgs/msg/Image",
    "sensor_msgs/msg/CompressedImage",
    "sensor_msgs/msg/PointCloud2",
    "sensor_msgs/msg/CameraInfo",
    "sensor_msgs/msg/Imu",
    "edge_perception/msg/AudioChunk",
    "edge_perception/msg/Feature",
    "edge_perception/msg/FusedPerception",
    "diagnostic_msgs/msg/DiagnosticArray",
)
RANGES = {
    "B": (0, 2**8 - 1),
    "b": (-(2**7), 2**7 - 1),
    "H": (0, 2**16 - 1),
    "h": (-(2**15), 2**15 - 1),
    "I": (0, 2**32 - 1),
    "i": (-(2**31), 2**31 - 1),
    "Q": (0, 2**64 - 1),
    "q": (-(2**63), 2**63 - 1),
}


def lookup(name: str) -> Any:
    package, kind, type_name = name.split("/")
    return getattr(importlib.import_module(f"{package}.{kind}"), type_name)


READERS = {name: CdrReader(name, lookup) for name in TYPES}


def values(element: Element) -> st.SearchStrategy:
    """Any value of an element, as the typed message takes it."""
    if isinstance(element, Primitive):
        if element.name == "boolean":
            return st.booleans()
        if element.name == "octet":
            return st.binary(min_size=1, max_size=1)
        if element.format in "fd":
            return st.floats(width=32 if element.format == "f" else 64)
        return st.integers(*RANGES[element.format])
    if isinstance(element, String):
        letters = st.characters(blacklist_characters="\0", blacklist_categories=("Cs",))
        return st.text(letters, max_size=element.bound or 9)
    if isinstance(element, Structure):
        return messages(element)
    size = {"max_size": 5}
    if element.length is not None:
        size = {"min_size": element.length, "max_size": element.length}
    items = st.lists(values(element.element), **size)
    if isinstance(element.element, Primitive) and element.element.name != "boolean":
        code = element.element.format
        if element.length is None:
            return items.map(lambda found: array(code, found))
        return items.map(lambda found: np.array(found, np.dtype(code)))
    return items


def messages(layout: Structure) -> st.SearchStrategy:
    cls = lookup(layout.name)
    return st.builds(cls, **{name: values(element) for name, element in layout.fields})


def assert_same(view: Any, message: Any, element: Element) -> None:
    if isinstance(element, Structure):
        for name, part in element.fields:
            assert_same(getattr(view, name), getattr(message, name), part)
    elif isinstance(element, Array) and not isinstance(element.element, Primitive):
        assert len(view) == len(message)
        for one, other in zip(view, message, strict=True):
            assert_same(one, other, element.element)
    elif isinstance(element, Array):
        np.testing.assert_array_equal(np.asarray(view), np.asarray(message))
        assert len(view) == len(message)
    else:
        assert type(view) is type(message)
        assert view == message or (view != view and message != message)


@pytest.mark.parametrize("name", TYPES)
def test_reads_what_rosidl_writes(name: str) -> None:
    layout = layout_of(name, lookup)

    @SETTINGS
    @given(messages(layout))
    def check(message: Any) -> None:
        assert_same(READERS[name](serialization.serialize_message(message)), message, layout)

    check()


@pytest.mark.parametrize("name", [n for n in TYPES if "diagnostic" not in n])
def test_writes_what_rosidl_writes(name: str) -> None:
    """From a message and from a view of it; padding is left out, rosidl does not clear it."""
    layout = layout_of(name, lookup)
    writer = CdrWriter(name, lookup)

    @SETTINGS
    @given(messages(layout))
    def check(message: Any) -> None:
        expected = serialization.serialize_message(message)
        for written in (writer(message), writer(READERS[name](expected))):
            # Fast CDR fills its last word, and makes room for the padding of empty sequences.
            assert len(written) <= len(expected)
            typed = serialization.deserialize_message(written, lookup(name))
            assert_same(READERS[name](written), typed, layout)
            assert_same(READERS[name](written), message, layout)

    check()


@pytest.mark.parametrize("name", TYPES)
def test_damaged_buffers_are_refused_or_read_as_rosidl_reads_them(name: str) -> None:
    layout = layout_of(name, lookup)
    cls = lookup(name)

    @SETTINGS
    @given(messages(layout), st.data())
    def check(message: Any, data: st.DataObject) -> None:
        buffer = bytearray(serialization.serialize_message(message))
        at = data.draw(st.integers(4, len(buffer) - 1))
        change = data.draw(st.sampled_from(("cut", "flip", "length")))
        if change == "cut":
            del buffer[at:]
        elif change == "flip":
            buffer[at] ^= data.draw(st.integers(1, 255))
        else:  # small enough for rosidl to allocate, should it believe the number
            start = min(at & ~3, len(buffer) - 4) & ~3
            buffer[start : start + 4] = struct.pack("<I", data.draw(st.integers(0, 5000)))
        try:
            view = READERS[name](bytes(buffer))
        except CdrError:
            return
        try:
            typed = serialization.deserialize_message(bytes(buffer), cls)
        except Exception:
            return  # stricter than ours about what we do not look at
        assert_same(view, typed, layout)

    check()


@pytest.mark.parametrize("name", TYPES)
def test_random_bytes_never_crash(name: str) -> None:
    @settings(SETTINGS, max_examples=150)
    @given(st.binary(max_size=300), st.sampled_from((b"\0\1\0\0", b"\0\0\0\0", b"")))
    @example(b"", b"")
    @example(b"\0\1", b"")
    @example(b"\0\3\0\0" + bytes(40), b"")
    @example(b"\xff" * 64, b"\0\1\0\0")
    def check(body: bytes, head: bytes) -> None:
        with contextlib.suppress(CdrError, UnsupportedCdrError):
            READERS[name](head + body)

    check()


@pytest.mark.parametrize("name", TYPES)
def test_a_claimed_length_is_never_allocated(name: str) -> None:
    """Every aligned word of a good message in turn claims four billion."""
    message = serialization.serialize_message(lookup(name)())
    tracemalloc.start()
    try:
        for at in range(4, len(message) - 3, 4):
            hostile = message[:at] + b"\xff\xff\xff\xff" + message[at + 4 :]
            with contextlib.suppress(CdrError):
                READERS[name](hostile)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_truncated_at_every_byte_says_so() -> None:
    image = lookup("sensor_msgs/msg/Image")(encoding="rgb8", data=array("B", range(30)))
    buffer = serialization.serialize_message(image)
    for size in range(len(buffer) - 3):  # up to three bytes of padding may lack
        with pytest.raises(CdrError, match="Image"):
            READERS["sensor_msgs/msg/Image"](buffer[:size])


def test_big_endian_is_read() -> None:
    body = struct.pack(">iII", 5, 6, 4) + b"cam\0" + struct.pack(">II", 2, 1)
    body += struct.pack(">I", 6) + b"mono8\0" + bytes([1]) + bytes(1)
    body += struct.pack(">II", 1, 2) + b"\x07\x08"
    image = READERS["sensor_msgs/msg/Image"](b"\0\0\0\0" + body)
    assert (image.header.stamp.sec, image.header.stamp.nanosec) == (5, 6)
    assert (image.header.frame_id, image.encoding) == ("cam", "mono8")
    assert (image.height, image.width, image.step, image.is_bigendian) == (2, 1, 1, 1)
    assert bytes(image.data) == b"\x07\x08"


@pytest.mark.parametrize(
    "encapsulation", [b"\0\2", b"\0\3", b"\0\6", b"\0\7", b"\0\x0b", b"\xff\0"]
)
def test_other_encapsulations_are_left_to_the_typed_message(encapsulation: bytes) -> None:
    with pytest.raises(UnsupportedCdrError, match=f"0x{encapsulation.hex()}"):
        READERS["sensor_msgs/msg/Image"](encapsulation + bytes(64))


def test_wide_strings_are_left_to_the_typed_message() -> None:
    class Wide:
        @classmethod
        def get_fields_and_field_types(cls) -> dict[str, str]:
            return {"text": "wstring"}

    with pytest.raises(UnsupportedCdrError, match="wstring"):
        CdrReader("any/msg/Wide", lambda _: Wide)


def test_bounds_are_kept() -> None:
    class Bounded:
        @classmethod
        def get_fields_and_field_types(cls) -> dict[str, str]:
            return {"text": "string<3>", "numbers": "sequence<uint16, 2>"}

    read = CdrReader("any/msg/Bounded", lambda _: Bounded)

    def buffer(text: bytes, count: int) -> bytes:
        body = struct.pack("<I", len(text)) + text
        body += bytes(-len(body) % 4) + struct.pack("<I", count) + bytes(2 * count)
        return b"\0\1\0\0" + body

    view = read(buffer(b"abc\0", 2))
    assert (view.text, list(view.numbers)) == ("abc", [0, 0])
    with pytest.raises(CdrError, match="at most 3"):
        read(buffer(b"abcd\0", 2))
    with pytest.raises(CdrError, match="at most 2"):
        read(buffer(b"abc\0", 3))


def test_the_data_is_a_view_not_a_copy() -> None:
    image = lookup("sensor_msgs/msg/Image")(data=array("B", bytes(1_000_000)))
    buffer = serialization.serialize_message(image)
    tracemalloc.start()
    try:
        view = READERS["sensor_msgs/msg/Image"](buffer)
        assert len(view.data) == 1_000_000
        assert view.data.obj is buffer
        assert tracemalloc.get_traced_memory()[1] < 20_000
    finally:
        tracemalloc.stop()


def refuses(read: CdrReader, buffer: bytes) -> bool:
    try:
        read(buffer)
    except CdrError:
        return True
    return False


@pytest.mark.parametrize("way", ["compiled", "python"])
@pytest.mark.parametrize("name", TYPES)
def test_arrays_that_are_only_counted_are_stepped_over(
    name: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way == "python":
        monkeypatch.setattr(skipping, "library", lambda: None)
    elif skipping.library() is None:
        pytest.skip("the compiled loops were not built: make build")
    layout = layout_of(name, lookup)
    counted = {field for field, element in layout.fields if isinstance(element, Array)}
    read = CdrReader(name, lookup, counted=counted)

    @SETTINGS
    @given(messages(layout), st.data())
    def check(message: Any, data: Any) -> None:
        buffer = serialization.serialize_message(message)
        view = read(buffer)
        for field, element in layout.fields:
            if field in counted:
                assert getattr(view, field) == range(len(getattr(message, field)))
            else:
                assert_same(getattr(view, field), getattr(message, field), element)
        cut = buffer[: data.draw(st.integers(0, len(buffer) - 1))]
        assert refuses(read, cut) == refuses(READERS[name], cut), "as who reads all of it"

    check()
