"""all_finite() says what isfinite().all() says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from edge_perception.core import native
from edge_perception.core.finite import all_finite, all_finite_numpy

FLOATS = [np.float16, np.float32, np.float64, np.longdouble, np.dtype(">f4")]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("value", [np.nan, -np.nan, np.inf, -np.inf])
def test_one_bad_value_anywhere_is_found(dtype, value):
    for index in (0, 500, 999):
        values = np.linspace(-1.0, 1.0, 1000).astype(dtype)
        values[index] = value
        assert not all_finite(values)


@pytest.mark.parametrize("dtype", FLOATS)
def test_extremes_and_both_zeros_are_numbers(dtype):
    info = np.finfo(dtype)
    values = np.array([info.max, info.min, info.tiny, 0.0, -0.0], dtype)
    assert all_finite(values)
    assert all_finite(-np.abs(values))


def test_all_bits_of_half_precision():
    for bits in range(2**16):
        value = np.array([bits], np.uint16).view(np.float16)
        assert all_finite(value) == bool(np.isfinite(value).all())


@given(
    st.sampled_from([np.float16, np.float32, np.float64]).flatmap(
        lambda dtype: arrays(dtype, array_shapes(max_side=5))
    )
)
def test_random_bits_and_views(values):
    assert all_finite(values) == bool(np.isfinite(values).all())
    assert all_finite(values[::2].T) == bool(np.isfinite(values[::2].T).all())


def test_integers_and_nothing_are_finite():
    assert all_finite(np.arange(5))
    assert all_finite(np.zeros((0, 3), np.float32))


@pytest.mark.parametrize("size", [1, 4095, 4096, 4097, 1_000_001])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_numpy_says_what_the_compiled_loop_says(dtype, size):
    assert native.library() is not None
    values = np.zeros(size, dtype)
    assert all_finite(values)
    assert all_finite_numpy(values)
    for index in {0, size // 2, size - 1}:
        values[index] = -np.inf
        assert not all_finite(values)
        assert not all_finite_numpy(values)
        values[index] = 1.0
