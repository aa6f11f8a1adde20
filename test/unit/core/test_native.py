"""The compiled library, and when it is not called."""

from edge_perception.core import native


def test_the_build_has_the_library():
    assert native.library() is not None, "not on the library path: build with `make build`"


def test_a_library_of_another_build_is_not_called(monkeypatch):
    monkeypatch.setattr(native, "INTERFACE", native.INTERFACE + 1)
    native.library.cache_clear()
    try:
        assert native.library() is None
    finally:
        native.library.cache_clear()
