"""Real PyCUDA and cuda.bindings over a libcuda of the tests' own, for the runtime `tensorrt`.

Whoever loads a libcuda has it for the rest of the process: tests with the fixture `world` run in
one of their own, all of a file together, and are reported here one by one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import cuda_recorder
import pytest
from cuda_recorder import Recorder, compilers
from onnx_models import node, save
from tensorrt_recorder import World, module

OURS = "edge_perception.backends.tensorrt"
TELL = "EDGE_PERCEPTION_TESTS_TELL"  # in the process of their own: the file of the outcomes
LIMIT_S = 280  # less than a test may take


@pytest.fixture
def world(monkeypatch) -> Iterator[World | None]:
    """The libcuda, a TensorRT of the tests' own, and our modules imported anew over them."""
    if reason := cuda_recorder.why_not():
        pytest.skip(reason)
    if TELL not in os.environ:
        yield None  # the test runs elsewhere
        return
    import cuda.bindings
    import pycuda.driver

    assert Path(pycuda.driver.__file__).is_relative_to(cuda_recorder.WHEELS)
    world = World(Recorder())
    fakes = {"tensorrt": module(world), "cuda.bindings.nvrtc": compilers(world.recorder)}
    for name in [name for name in sys.modules if name.startswith(OURS)]:
        monkeypatch.delitem(sys.modules, name)
    for name, fake in fakes.items():
        monkeypatch.setitem(sys.modules, name, fake)
    monkeypatch.setattr(cuda.bindings, "nvrtc", fakes["cuda.bindings.nvrtc"], raising=False)
    yield world
    if ours := sys.modules.get(f"{OURS}.gpu"):
        ours.close_gpus()
    for name in [name for name in sys.modules if name.startswith(OURS)]:
        del sys.modules[name]
    assert world.recorder.faults == []
    assert world.recorder.retained == 0


@pytest.fixture
def model(tmp_path):
    nodes = [node("Add", ["a", "b"], "sum"), node("Mul", ["a", "b"], "product")]
    shapes = {"a": (2, 3), "b": (2, 3)}
    return save(tmp_path / "two.onnx", nodes, shapes, {"sum": (2, 3), "product": (2, 3)})


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    if not _runs_elsewhere(pyfuncitem):
        return None
    path = pyfuncitem.path
    items = pyfuncitem.session.items
    wanted = tuple(item.nodeid for item in items if item.path == path and _runs_elsewhere(item))
    told, output = _run(pyfuncitem.config.rootpath, wanted)
    outcome, text = told.get(pyfuncitem.nodeid, ("failed", f"no outcome:\n{output}"))
    if outcome == "skipped":
        pytest.skip(text)
    if outcome == "failed":
        pytest.fail(text, pytrace=False)
    return True


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if TELL in os.environ:
        with open(os.environ[TELL], "a") as file:
            print(json.dumps([report.nodeid, report.outcome, report.longreprtext]), file=file)


def _runs_elsewhere(item: pytest.Item) -> bool:
    here = item.path.parent == Path(__file__).parent
    return here and "world" in getattr(item, "fixturenames", ()) and TELL not in os.environ


@cache
def _run(root: Path, nodeids: tuple[str, ...]) -> tuple[dict[str, tuple[str, str]], str]:
    """Run these tests over the libcuda; return the outcome of each, and what was printed."""
    with tempfile.TemporaryDirectory() as folder:
        outcomes = Path(folder) / "outcomes"
        outcomes.touch()
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
        for name, first in (
            ("LD_LIBRARY_PATH", [str(cuda_recorder.folder())]),
            ("PYTHONPATH", cuda_recorder.paths()),
        ):
            before = environment.get(name, "")
            environment[name] = ":".join([*first, *([before] if before else [])])
        environment[TELL] = str(outcomes)
        command = [sys.executable, "-m", "pytest", "-q", *nodeids]
        try:
            done = subprocess.run(
                command,
                cwd=root,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=LIMIT_S,
                check=False,
            )
            output = done.stdout[-5000:]
        except subprocess.TimeoutExpired:
            output = f"not done within {LIMIT_S} s"
        told: dict[str, tuple[str, str]] = {}
        for line in outcomes.read_text().splitlines():
            nodeid, outcome, text = json.loads(line)
            if outcome != "passed" or nodeid not in told:  # set-up, call and end of each
                told[nodeid] = (outcome, text)
    return told, output
