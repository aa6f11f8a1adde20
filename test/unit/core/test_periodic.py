"""A function called again and again, whatever it raises."""

import threading

from edge_perception.core.periodic import Periodic


def test_it_goes_on_after_an_error_and_ends_when_told():
    calls, errors, enough = [], [], threading.Event()

    def function():
        calls.append(len(calls))
        if len(calls) == 2:
            raise ValueError("second")
        if len(calls) >= 4:
            enough.set()

    periodic = Periodic(0.001, function, on_error=errors.append, name="test")
    periodic.start()
    assert enough.wait(60.0)
    periodic.stop()
    ended = len(calls)
    periodic.stop()  # twice is fine
    assert [str(error) for error in errors] == ["second"]
    assert len(calls) == ended
    assert "test" not in [thread.name for thread in threading.enumerate()]


def test_it_may_be_stopped_from_its_own_call_and_before_its_start():
    done = threading.Event()
    periodic = Periodic(0.001, lambda: (periodic.stop(), done.set()), on_error=print, name="test")
    periodic.start()
    assert done.wait(60.0)
    Periodic(1.0, lambda: None, on_error=print, name="never").stop()
