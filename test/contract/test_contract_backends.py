"""Every runtime that is found keeps the contract of backends."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kserve_server import Server
from onnx_models import node, save

from edge_perception.backends import (
    BackendInfo,
    BackendOptions,
    BackendSpec,
    backends,
    offered_ways,
)
from edge_perception.core.errors import BackendError, EdgePerceptionError

BACKENDS = sorted(backends().specs)


def test_the_default_runtime_was_found() -> None:
    assert "onnxruntime" in BACKENDS


def test_a_runtime_that_is_not_here_says_why() -> None:
    assert all(backends().failures.values())
    for name in backends().failures:
        with pytest.raises(EdgePerceptionError, match=f"'{name}' cannot be used: "):
            backends()[name]


@pytest.fixture(params=BACKENDS)
def spec(request: pytest.FixtureRequest) -> BackendSpec:
    spec = backends()[request.param]
    ways, why = offered_ways(spec)
    if spec.ways is not None and not ways:
        pytest.skip(f"{spec.name}: {why}")  # its libraries are here, its device is not
    return spec


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """sum = a + b, product = a x b."""
    nodes = [node("Add", ["a", "b"], "sum"), node("Mul", ["a", "b"], "product")]
    shapes = {"a": (2, 3), "b": (2, 3)}
    return save(tmp_path / "two.onnx", nodes, shapes, {"sum": (2, 3), "product": (2, 3)})


def tensor(name: str) -> dict[str, Any]:
    return {"name": name, "datatype": "FP32", "shape": [2, 3]}


@pytest.fixture
def options(spec: BackendSpec) -> Iterator[BackendOptions]:
    """Options of a session; a runtime that asks a server gets one."""
    if spec.name != "kserve":
        yield BackendOptions(threads=1)
        return
    server = Server(
        metadata={
            "inputs": [tensor("a"), tensor("b")],
            "outputs": [tensor("sum"), tensor("product")],
        },
        compute=lambda got: {"sum": got["a"] + got["b"], "product": got["a"] * got["b"]},
    )
    # A busy machine must not make the local model answer.
    values = {"deadline_ms": "20000", "fallback": "none"}
    yield BackendOptions(provider=(server.url,), provider_options={"kserve": values})
    server.close()


@pytest.fixture
def backend(spec: BackendSpec, model: Path, options: BackendOptions) -> Iterator[Any]:
    session = spec.load(model, options)
    yield session
    session.close()


A = np.arange(6, dtype=np.float32).reshape(2, 3)
B = np.full((2, 3), 2.5, np.float32)


def test_name_is_that_of_its_folder(spec: BackendSpec) -> None:
    assert backends().specs[spec.name] is spec


def test_infer(backend: Any) -> None:
    outputs = backend.infer({"a": A, "b": B})
    assert set(outputs) == {"sum", "product"}
    np.testing.assert_allclose(outputs["sum"], A + B)
    np.testing.assert_allclose(outputs["product"], A * B)
    assert all(output.dtype == np.float32 for output in outputs.values())


def test_outputs_belong_to_the_caller(backend: Any) -> None:
    first = backend.infer({"a": A, "b": B})["sum"]
    copy = first.copy()
    backend.infer({"a": A + 1, "b": B})
    np.testing.assert_array_equal(first, copy)


def test_inputs_are_left_alone(backend: Any) -> None:
    a, b = A.copy(), B.copy()
    backend.infer({"a": a, "b": b})
    np.testing.assert_array_equal(a, A)
    np.testing.assert_array_equal(b, B)


def test_inputs_that_are_views(backend: Any) -> None:
    wide = np.arange(12, dtype=np.float32).reshape(2, 6)
    outputs = backend.infer({"a": wide[:, ::2], "b": B})
    np.testing.assert_allclose(outputs["sum"], wide[:, ::2] + B)


def test_describe(backend: Any, spec: BackendSpec) -> None:
    info = backend.describe()
    assert isinstance(info, BackendInfo)
    assert info.runtime == spec.name
    assert info.runtime_version
    assert info.provider
    assert info.notes == ()
    assert [(t.name, t.dtype, t.shape) for t in info.inputs] == [
        ("a", "float32", (2, 3)),
        ("b", "float32", (2, 3)),
    ]
    assert {t.name for t in info.outputs} == {"sum", "product"}


def test_warm_up(backend: Any) -> None:
    backend.warm_up(2)
    np.testing.assert_allclose(backend.infer({"a": A, "b": B})["sum"], A + B)


@pytest.mark.parametrize(
    ("inputs", "text"),
    [
        ({"a": A}, "input 'b' is missing"),
        ({"a": A, "b": B[:1]}, r"input 'b' expects \(2, 3\) float32, got \(1, 3\) float32"),
        ({"a": A.astype(np.float64), "b": B}, "input 'a' expects .* got .* float64"),
        ({"a": A[None], "b": B}, "input 'a'"),
    ],
)
def test_inputs_that_do_not_fit(backend: Any, inputs: dict[str, np.ndarray], text: str) -> None:
    with pytest.raises(BackendError, match=text):
        backend.infer(inputs)
    backend.infer({"a": A, "b": B})  # and goes on


@pytest.mark.parametrize("content", [None, b"", b"not a model", b"\x08\x07" * 100])
def test_files_that_are_no_model(spec: BackendSpec, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "bad.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BackendError, match=r"bad\.onnx"):
        spec.load(path, BackendOptions())


def test_provider_that_does_not_exist(spec: BackendSpec, model: Path) -> None:
    with pytest.raises(BackendError, match="NoSuchProvider"):
        spec.load(model, BackendOptions(provider=("NoSuchProvider",)))
