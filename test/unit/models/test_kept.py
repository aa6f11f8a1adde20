"""The model that served before stays loaded where there is room."""

import threading
from types import SimpleNamespace

from edge_perception.models.kept import KeptModel, has_room
from edge_perception.models.memory import release_model


def kept(room=True):
    released = []
    state = SimpleNamespace(room=room)
    holder = KeptModel(
        bundle=lambda name: SimpleNamespace(sha256=name),
        release=released.append,
        admits=lambda: state.room,
    )
    return holder, released, state


def test_holds_one_and_releases_the_one_before():
    holder, released, _ = kept()
    holder.keep("a")
    holder.keep("b")
    assert released == ["a"]
    assert holder.bundle.sha256 == "b"
    assert holder.take("a") is None
    assert holder.take("b") == "b"
    assert holder.bundle is None
    holder.drop()
    assert released == ["a"]  # what was taken is its taker's


def test_without_room_nothing_stays():
    holder, released, state = kept()
    holder.keep("a")
    state.room = False
    holder.make_room()
    assert released == ["a"]
    holder.keep("b")
    assert released == ["a", "b"]
    assert holder.bundle is None


def test_room_is_what_the_machine_has_free():
    assert has_room(keep=True, reserve_mb=0)
    assert not has_room(keep=False, reserve_mb=0)
    assert not has_room(keep=True, reserve_mb=2**40)


def test_a_session_that_cannot_be_closed_keeps_no_other_from_it(capfd):
    closed = threading.Event()

    def fail():
        raise RuntimeError("the device is gone")

    def loaded(name, close):
        bundle = SimpleNamespace(manifest=SimpleNamespace(name=name))
        return SimpleNamespace(bundle=bundle, backend=SimpleNamespace(close=close))

    release_model(loaded("first", fail))
    release_model(loaded("second", closed.set))
    assert closed.wait(60)
    said = capfd.readouterr().err
    assert "first: its session cannot be closed: RuntimeError('the device is gone')" in said
