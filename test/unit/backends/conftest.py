"""The recorders of a GPU in the place of the libraries of the runtime `tensorrt`."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
from cuda_recorder import Recorder, bindings, compilers, pycuda
from onnx_models import node, save
from tensorrt_recorder import World, module

OURS = "edge_perception.backends.tensorrt"


@pytest.fixture
def world(monkeypatch) -> World:
    """The recorders in place of the libraries, and our modules imported anew over them."""
    world = World(Recorder())
    driver, graphs = pycuda(world.recorder), bindings(world.recorder)
    made = {
        "tensorrt": module(world),
        "pycuda": ModuleType("pycuda"),
        "pycuda.driver": driver,
        "cuda": ModuleType("cuda"),
        "cuda.bindings": ModuleType("cuda.bindings"),
        "cuda.bindings.driver": graphs,
        "cuda.bindings.nvrtc": compilers(world.recorder),
    }
    made["pycuda"].driver = driver
    made["cuda"].bindings = made["cuda.bindings"]
    made["cuda.bindings"].driver = graphs
    made["cuda.bindings"].nvrtc = made["cuda.bindings.nvrtc"]
    for name in [name for name in sys.modules if name.startswith(OURS)]:
        monkeypatch.delitem(sys.modules, name)
    for name, fake in made.items():
        monkeypatch.setitem(sys.modules, name, fake)
    yield world
    for name in [name for name in sys.modules if name.startswith(OURS)]:
        del sys.modules[name]


@pytest.fixture
def model(tmp_path):
    nodes = [node("Add", ["a", "b"], "sum"), node("Mul", ["a", "b"], "product")]
    shapes = {"a": (2, 3), "b": (2, 3)}
    return save(tmp_path / "two.onnx", nodes, shapes, {"sum": (2, 3), "product": (2, 3)})
