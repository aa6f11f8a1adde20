import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_perception.core.errors import InvalidFrameError
from edge_perception.recordings.stamps import read_stamp_ns, with_stamp_ns


@given(
    before=st.integers(0, (2**31 - 1) * 10**9),
    after=st.integers(0, (2**31 - 1) * 10**9),
    frame_id=st.text(max_size=9),
)
@settings(max_examples=30)
def test_a_restamped_message_decodes_to_the_same_but_for_its_stamp(ros, before, after, frame_id):
    from rclpy.serialization import deserialize_message, serialize_message
    from sensor_msgs.msg import CompressedImage

    message = CompressedImage(format="jpeg", data=[1, 2, 3])
    message.header.frame_id = frame_id.replace("\0", "")
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(before, 10**9)
    data = serialize_message(message)
    assert read_stamp_ns(data) == before

    decoded = deserialize_message(with_stamp_ns(data, after), CompressedImage)
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(after, 10**9)
    assert decoded == message


def test_big_endian_data_keeps_its_byte_order():
    data = b"\x00\x00\x00\x00" + struct.pack(">iI", 7, 8) + b"rest"
    assert read_stamp_ns(data) == 7_000_000_008
    assert with_stamp_ns(data, 9_000_000_001) == data[:4] + struct.pack(">iI", 9, 1) + b"rest"


def test_too_short_data_is_refused():
    with pytest.raises(InvalidFrameError, match="at least 12 bytes, got 5"):
        read_stamp_ns(b"\x00\x01\x00\x00\x00")


def test_a_stamp_beyond_int32_seconds_is_refused():
    with pytest.raises(InvalidFrameError, match="within int32"):
        with_stamp_ns(bytes(16), 2**31 * 10**9)
