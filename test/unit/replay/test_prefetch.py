"""Reading ahead keeps order and errors, and ends with its user."""

import threading

import pytest

from edge_perception.replay.prefetch import prefetched


def alive():
    return [t for t in threading.enumerate() if t.name == "prefetch"]


def test_items_come_in_order_and_the_thread_ends():
    assert list(prefetched(iter(range(1000)), depth=3)) == list(range(1000))
    assert not alive()


def test_an_error_is_raised_at_its_place():
    def broken():
        yield 1
        raise ValueError("here")

    found = prefetched(broken())
    assert next(found) == 1
    with pytest.raises(ValueError, match="here"):
        next(found)


def test_leaving_early_ends_the_thread():
    found = prefetched(iter(range(10**9)), depth=2)
    next(found)
    found.close()
    assert not alive()
