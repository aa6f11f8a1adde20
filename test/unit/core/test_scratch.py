"""Buffers are used again, and are as large as asked for."""

import numpy as np

from edge_perception.core.scratch import Scratch


def test_the_same_memory_for_a_name_and_another_for_another():
    scratch = Scratch()
    first = scratch.empty("a", (10, 3), np.float32)
    assert np.shares_memory(first, scratch.empty("a", (4, 3), np.float32))
    assert not np.shares_memory(first, scratch.empty("b", (10, 3), np.float32))


def test_shape_and_dtype_are_those_asked_for():
    scratch = Scratch()
    for shape, dtype in (((5,), np.int64), ((7, 2), np.int64), ((3,), np.float32), ((0, 3), "f4")):
        array = scratch.empty("a", shape, dtype)
        assert (array.shape, array.dtype) == (shape, np.dtype(dtype))
        assert array.flags.c_contiguous


def test_a_buffer_that_grew_has_room_to_grow():
    scratch = Scratch()
    scratch.empty("a", (1000,), np.float32)
    grown = scratch.empty("a", (1001,), np.float32)
    assert np.shares_memory(grown, scratch.empty("a", (1100,), np.float32))
