"""Reading ahead and writing behind keep order and errors, and end with their user."""

import threading

import pytest

from edge_perception.recordings.prefetch import Behind, prefetched


def alive():
    return [t for t in threading.enumerate() if t.name in ("prefetch", "behind")]


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


def test_items_are_taken_behind_in_order_and_all_of_them():
    taken = []
    with Behind(taken.append, depth=2) as behind:
        for item in range(100):
            behind.put(item)
    assert taken == list(range(100))
    assert not alive()


def test_an_error_behind_is_raised_to_the_one_who_puts():
    def broken(item):
        if item == 3:
            raise OSError("disk full")

    def put_for_ever():
        with Behind(broken, depth=2) as behind:
            while True:
                behind.put(3)

    with pytest.raises(OSError, match="disk full"):
        put_for_ever()
    with pytest.raises(OSError, match="disk full"), Behind(broken) as behind:
        behind.put(3)
    assert not alive()
