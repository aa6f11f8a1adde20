"""Takes serialised messages together with who published them, within a bound on their size.

rclpy hands out a message's stamps but not the identity of its publisher, and makes a Python object
of it whatever its size: it copies megabytes while no other thread can run. The functions of rcl
below it tell size and publisher first, hold no lock of Python, and leave the bytes where they are.
They are called with the structures of Jazzy and later; where the graph's identities have another
length, as in older releases, rclpy's own way is taken, and publishers are not told apart.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from rclpy.subscription import Subscription

GID_BYTES = 16
_OK, _NOTHING_TO_TAKE = 0, 401


class _Allocator(ctypes.Structure):
    _fields_ = [(f"member_{index}", ctypes.c_void_p) for index in range(5)]


class _Array(ctypes.Structure):
    _fields_ = [
        ("buffer", ctypes.c_void_p),
        ("length", ctypes.c_size_t),
        ("capacity", ctypes.c_size_t),
        ("allocator", _Allocator),
    ]


class _Info(ctypes.Structure):
    _fields_ = [
        ("source_timestamp", ctypes.c_int64),
        ("received_timestamp", ctypes.c_int64),
        ("publication_sequence_number", ctypes.c_uint64),
        ("reception_sequence_number", ctypes.c_uint64),
        ("implementation_identifier", ctypes.c_char_p),
        ("publisher_gid", ctypes.c_uint8 * GID_BYTES),
        ("from_intra_process", ctypes.c_bool),
    ]


@dataclass(frozen=True, kw_only=True)
class Taken:
    """One serialised message."""

    data: Any  # buffer of bytes; None: larger than allowed
    size: int
    publisher: bytes  # identity of its publisher; empty: not known


class _Rcl:
    """The three functions that are needed, in the libraries that rclpy has loaded."""

    def __init__(self) -> None:
        rcl, utils = ctypes.CDLL("librcl.so"), ctypes.CDLL("librcutils.so")
        self.take = rcl.rcl_take_serialized_message
        self.take.argtypes = [ctypes.c_void_p] * 4
        self.reset_error = utils.rcutils_reset_error
        # Held: freeing takes less than getting back to Python beside busy threads.
        self.fini = ctypes.PyDLL("librcutils.so").rcutils_uint8_array_fini
        self.fini.argtypes = [ctypes.c_void_p]
        self.allocator = utils.rcutils_get_default_allocator
        self.allocator.restype = _Allocator
        self.libc = ctypes.CDLL(None)


class _Owned:
    """Bytes of a message where rcl put them, freed with the last array that shows them."""

    def __init__(self, rcl: _Rcl, message: _Array) -> None:
        self._free, self._message = rcl.fini, message
        self.__array_interface__ = {
            "version": 3,
            "typestr": "|u1",
            "shape": (int(message.length),),
            "data": (message.buffer, True),  # read only
        }

    def __del__(self) -> None:
        self._free(ctypes.byref(self._message))


@cache
def _rcl() -> _Rcl | None:
    try:
        return _Rcl()
    except (OSError, AttributeError):  # built as one library, or with other names
        return None


def tells_publishers(node: Any, topic: str) -> bool:
    """Whether publishers of a topic that is published here or elsewhere can be told apart."""
    found = node.get_publishers_info_by_topic(topic)
    return _rcl() is not None and all(len(info.endpoint_gid) == GID_BYTES for info in found)


def take(subscription: Subscription, most_bytes: int, *, identified: bool) -> Taken | None:
    """Take the next message of a raw subscription; None: there is none.

    Args:
        subscription: made with ``raw=True``; its handle is held by the caller.
        most_bytes: a larger message is taken out of the queue and thrown away.
        identified: ask rcl itself, see `tells_publishers`.
    """
    rcl = _rcl() if identified else None
    if rcl is None:
        taken = subscription.handle.take_message(subscription.msg_type, True)
        if taken is None:
            return None
        data = taken[0] if len(taken[0]) <= most_bytes else None
        return Taken(data=data, size=len(taken[0]), publisher=b"")
    message, info = _Array(allocator=rcl.allocator()), _Info()
    status = rcl.take(subscription.handle.pointer, ctypes.byref(message), ctypes.byref(info), None)
    size, data = int(message.length), None
    if status == _OK and 0 < size <= most_bytes:
        data = np.asarray(_Owned(rcl, message))
    else:
        if status == _OK and not size:
            data = np.empty(0, np.uint8)  # a message, though nobody can read it
        large = message.capacity > most_bytes
        rcl.fini(ctypes.byref(message))
        if large:
            give_back()
    if status == _NOTHING_TO_TAKE:
        rcl.reset_error()
        return None
    if status != _OK:
        rcl.reset_error()
        raise RuntimeError(f"{subscription.topic}: rcl could not take a message ({status})")
    return Taken(data=data, size=size, publisher=bytes(info.publisher_gid))


def give_back() -> None:
    """Give free memory back to the system: the allocator is told to keep blocks, not such ones."""
    rcl = _rcl()
    if rcl is not None and hasattr(rcl.libc, "malloc_trim"):
        rcl.libc.malloc_trim(0)
