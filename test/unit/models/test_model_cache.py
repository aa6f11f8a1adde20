"""The cache of models: within its limit at every moment, never without what serves."""

from __future__ import annotations

import random

import pytest

from edge_perception.core.errors import ModelError
from edge_perception.models.model_cache import ModelCache

MB = 2**20


class Machine:
    """Loads models of a size and holds the sum against the limit at every moment."""

    def __init__(self, sizes_mb, limit_mb, beside_mb=0):
        self.sizes, self.limit, self.loaded, self.broken = sizes_mb, limit_mb, [], set()
        self.beside = beside_mb
        self.cache = ModelCache(
            limit_bytes=limit_mb * MB,
            size_bytes=lambda name: sizes_mb[name] * MB,
            load=self.load,
            release=self.loaded.remove,
            beside_bytes=lambda: self.beside * MB,
        )

    def load(self, name):
        if name in self.broken:
            raise ModelError(f"{name}: broken")
        self.loaded.append(name)
        assert sum(self.sizes[each] for each in self.loaded) + self.beside <= self.limit
        return name


def test_the_least_recently_used_leaves_and_what_serves_stays():
    machine = Machine({"a": 40, "b": 40, "c": 40}, 100)
    cache = machine.cache
    for name in ("a", "b"):
        assert cache.use(name) == name
        cache.done(name)
    cache.use("a")  # in use, and the newest
    cache.use("c")
    assert machine.loaded == ["a", "c"]
    with pytest.raises(ModelError, match=r"b needs 40 MB, the limit is 100 MB of which 80 MB"):
        cache.use("b")
    assert machine.loaded == ["a", "c"]
    figures = cache.figures()
    assert (figures.hits, figures.misses, figures.evictions) == (1, 4, 1)
    assert figures.hit_rate == pytest.approx(0.2)
    assert figures.used_bytes == 80 * MB


def test_what_is_loaded_beside_counts():
    machine = Machine({"a": 40, "b": 50}, 100, beside_mb=50)
    machine.cache.use("a")
    machine.cache.done("a")
    machine.beside = 60
    with pytest.raises(ModelError, match="60 MB serve"):
        machine.cache.use("b")
    machine.beside = 50
    machine.cache.use("b")
    assert machine.loaded == ["b"]


def test_a_model_that_does_not_load_takes_no_room():
    machine = Machine({"a": 90, "b": 90}, 100)
    machine.broken = {"a"}
    with pytest.raises(ModelError, match="broken"):
        machine.cache.use("a")
    assert machine.cache.figures().used_bytes == 0
    machine.cache.use("b")


def test_any_order_of_uses_holds_the_limit():
    chosen = random.Random(7)
    machine = Machine({name: 10 + 7 * index for index, name in enumerate("abcdefgh")}, 120, 15)
    using = []
    for _ in range(2000):
        if using and chosen.random() < 0.5:
            machine.cache.done(using.pop(chosen.randrange(len(using))))
            continue
        name = chosen.choice("abcdefgh")
        try:
            machine.cache.use(name)
        except ModelError:
            serving = sum(machine.sizes[each] for each in set(using))
            assert machine.sizes[name] + serving + 15 > 120  # it really does not fit
        else:
            using.append(name)
        assert set(using) <= set(machine.loaded)
        assert sorted(machine.loaded) == sorted(machine.cache.figures().loaded)
    machine.cache.drop()
    assert machine.loaded == []
    assert machine.cache.figures().evictions > 100


def test_make_room_leaves_what_serves():
    machine = Machine({"a": 40, "b": 40}, 100)
    machine.cache.use("a")
    machine.cache.use("b")
    machine.cache.done("b")
    machine.cache.make_room(100 * MB)
    assert machine.loaded == ["a"]
    with pytest.raises(ModelError, match="not in use"):
        machine.cache.done("a") or machine.cache.done("a")


def test_one_that_cannot_be_closed_costs_no_room_and_keeps_no_other():
    closed = []

    def release(name):
        closed.append(name)
        if name == "a":
            raise ModelError("a: cannot be closed")

    cache = ModelCache(
        limit_bytes=100, size_bytes={"a": 40, "b": 40, "c": 90}.get, load=str, release=release
    )
    for name in ("a", "b"):
        cache.use(name)
        cache.done(name)
    with pytest.raises(ModelError, match="a: cannot be closed"):
        cache.use("c")
    assert closed == ["a", "b"]
    assert cache.figures().used_bytes == 0
    assert cache.use("c") == "c"
    assert (cache.figures().hits, cache.figures().misses) == (0, 4)
