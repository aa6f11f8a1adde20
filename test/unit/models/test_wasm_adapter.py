"""Adapters in WebAssembly: the shipped one gives what its twin gives; hostile ones are stopped."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx_models import constant_heads
from test_yolox import CELLS, LABELS, SIZE, manifest, random_head

from edge_perception.core.errors import (
    BundleError,
    ConfigurationError,
    InvalidOutputError,
    ManifestError,
    ModelError,
)
from edge_perception.models import adapters as room
from edge_perception.models.adapters import adapters
from edge_perception.models.adapters._wasm_host import Limits, WasmModule
from edge_perception.models.loading import ModelOptions, open_bundle
from edge_perception.models.manifest import Manifest
from edge_perception.releases.importing import import_model

YOLOX = Path(room.__file__).parent / "_wasm" / "yolox.wasm"
SOURCES = Path(__file__).parents[3] / "src" / "wasm"
STRIDES = {"decoded": 0.0, "stride0": 8.0, "stride1": 16.0, "stride2": 32.0}


@pytest.fixture
def wasmtime() -> Any:
    return pytest.importorskip("wasmtime", reason="the extra wasm is not installed")


def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wasmtime", None)
    with pytest.raises(ConfigurationError, match=r"edge_perception\[wasm\]"):
        module(b"")


def module(code: bytes, **limits: Any) -> WasmModule:
    wanted = {"fuel": 10_000_000, "memory_bytes": 4 << 20, "time_s": 2.0, **limits}
    return WasmModule(
        "bad.wasm", code, limits=Limits(**wanted), shapes=[(1, 4)], header=(8, 8, 2), options=[],
        rows=16, columns=6,
    )  # fmt: skip


def of_wasm(options: dict[str, float], **more: Any) -> Manifest:
    fields = manifest(output="output")
    data = {"module": "yolox.wasm", "outputs": ["output"], "options": options, **more}
    object.__setattr__(fields, "adapter", "wasm")
    object.__setattr__(fields, "postprocessing", data)
    return fields.with_reader(lambda name: YOLOX.read_bytes())


@pytest.mark.parametrize("decoded", [False, True])
def test_the_shipped_adapter_gives_what_its_twin_gives(wasmtime: Any, decoded: bool) -> None:
    twin = adapters()["yolox"].make_decoder(manifest(decoded=decoded))
    ours = adapters()["wasm"].make_decoder(of_wasm({**STRIDES, "decoded": float(decoded)}))
    for seed in range(5):
        outputs = {"output": random_head(seed)}
        wanted, got = twin.candidates(outputs, 0.2), ours.candidates(outputs, 0.2)
        assert len(wanted.scores) > 10
        assert got.labels.tolist() == wanted.labels.tolist()
        np.testing.assert_allclose(got.scores, wanted.scores, rtol=2e-7)
        np.testing.assert_allclose(got.boxes, wanted.boxes, rtol=1e-6, atol=1e-5)


def test_its_exponential_is_right_from_end_to_end(wasmtime: Any) -> None:
    ours = adapters()["wasm"].make_decoder(of_wasm(STRIDES))
    twin = adapters()["yolox"].make_decoder(manifest())
    head = np.zeros((1, CELLS, 5 + len(LABELS)), np.float32)
    head[..., 2] = np.linspace(-60.0, 12.0, CELLS)
    head[..., 3] = np.linspace(8.0, -3.0, CELLS)
    head[..., 4:6] = 1.0
    wanted, got = twin.candidates({"output": head}, 0.5), ours.candidates({"output": head}, 0.5)
    np.testing.assert_allclose(got.boxes, wanted.boxes, rtol=1e-6, atol=1e-4)


def test_a_bundle_brings_its_adapter(wasmtime: Any, tmp_path: Path) -> None:
    head = random_head(3)
    source = constant_heads(
        tmp_path / "x.onnx", {"images": (1, 3, SIZE[1], SIZE[0])}, {"output": head}
    )
    fields = {
        "role": "camera",
        "labels": list(LABELS),
        "preprocessing": {"size": list(SIZE)},
        "postprocessing": {"module": "yolox.wasm", "outputs": ["output"], "options": STRIDES},
        "provenance": {"licence": "Apache-2.0"},
    }
    with pytest.raises(ModelError, match="give it with --module"):
        import_model(source, adapter="wasm", into=tmp_path / "models", manifest=fields)
    bundle = import_model(
        source, adapter="wasm", into=tmp_path / "models", manifest=fields,
        files={"yolox.wasm": YOLOX.read_bytes()},
    )  # fmt: skip
    assert "yolox.wasm" in bundle.manifest.files
    loaded = open_bundle(bundle, ModelOptions(model="x"))
    decoder = adapters()["wasm"].make_decoder(loaded.bundle.manifest)
    wanted = adapters()["yolox"].make_decoder(manifest()).candidates({"output": head}, 0.2)
    assert len(decoder.candidates({"output": head}, 0.2).scores) == len(wanted.scores)
    (bundle.path / "yolox.wasm").write_bytes(b"\0asm\1\0\0\0")
    with pytest.raises(BundleError, match=r"yolox\.wasm: expected"):
        adapters()["wasm"].make_decoder(bundle.manifest)


GOOD = """
  (func (export "ep_abi") (result i32) i32.const 1)
  (func (export "ep_alloc") (param i32) (result i32) (local i32)
    global.get $next local.set 1
    global.get $next local.get 0 i32.add i32.const 15 i32.add i32.const -16 i32.and
    global.set $next local.get 1)
  (global $next (mut i32) (i32.const 1024))
"""


def wat(decode: str, *, before: str = "", memory: str = '(memory (export "memory") 2)') -> str:
    body = f'(func (export "ep_decode") (param i32) (result i32) {decode})'
    return f"(module {before} {memory} {GOOD} {body})"


TENSORS = [np.zeros((1, 4), np.float32)]
# A module that is hostile once it runs, limits, and what it is stopped with.
HOSTILE: dict[str, tuple[str, dict[str, Any], str]] = {
    "endless loop": ("(loop (br 0)) i32.const 0", {}, "used up its fuel of 10000000"),
    "endless loop, much fuel": (
        "(loop (br 0)) i32.const 0",
        {"fuel": 10**12, "time_s": 0.05},
        "took more than 50 ms",
    ),
    "memory bomb": (
        "(loop (if (i32.ne (memory.grow (i32.const 16)) (i32.const -1)) (then (br 1))))"
        " (i32.store (i32.const 0x7ffffff0) (i32.const 1)) i32.const 0",
        {},
        "outside of its memory (at most 4096 KiB)",
    ),
    "out of bounds": (
        "(i32.load (i32.const -4))",
        {},
        "outside of its memory",
    ),
    "recursion": ("(call 2 (local.get 0))", {"fuel": 10**9}, "its stack overflowed"),
    "gives up": ("unreachable", {}, "gave up"),
    "divides": ("(i32.div_s (i32.const 1) (i32.const 0))", {}, "divided by zero"),
    "too many rows": ("i32.const 17", {}, "expected 0 to 16 rows, got 17"),
    "refuses": ("i32.const -2", {}, "got -2"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_modules_are_stopped_by_name(wasmtime: Any, name: str) -> None:
    decode, limits, text = HOSTILE[name]
    bad = module(wasmtime.wat2wasm(wat(decode)), **limits)
    for _ in range(2):  # the second frame gets a new instance, and the same end
        began = time.monotonic()
        with pytest.raises(InvalidOutputError) as caught:
            bad(TENSORS, 0.1)
        assert text in str(caught.value)
        assert time.monotonic() - began < 30.0  # it ends at all


@pytest.mark.parametrize("kind", ["func", "extern"])
def test_tables_do_not_grow_past_the_memory_limit(wasmtime: Any, kind: str) -> None:
    """Tables of references lie outside of the module's memory, and growing one takes no fuel."""
    decode = f"(table.grow (ref.null {kind}) (i32.const 1000000))"
    bomb = module(wasmtime.wat2wasm(wat(decode, before=f"(table 1 {kind}ref)")))
    with pytest.raises(InvalidOutputError, match="got -1"):  # as where there is no memory left
        bomb(TENSORS, 0.1)


# A module that cannot even be taken, and why.
REFUSED: dict[str, tuple[Callable[[Any], bytes], str]] = {
    "no module": (lambda _: b"not wasm", "expected a WebAssembly module"),
    "bad import": (
        lambda w: w.wat2wasm(wat("i32.const 0", before='(import "env" "system" (func))')),
        "imports env.system: an adapter gets nothing from outside",
    ),
    "wants wasi": (
        lambda w: w.wat2wasm(
            wat("i32.const 0", before='(import "wasi_snapshot_preview1" "fd_write" (func))')
        ),
        "imports wasi_snapshot_preview1.fd_write",
    ),
    "no memory": (
        lambda w: w.wat2wasm(wat("i32.const 0", memory="(memory 1)")),
        "lacks the exports memory",
    ),
    "large from the start": (
        lambda w: w.wat2wasm(wat("i32.const 0", memory='(memory (export "memory") 1000)')),
        "stopped: memory minimum size",
    ),
    "large table": (
        lambda w: w.wat2wasm(wat("i32.const 0", before="(table 1000000 funcref)")),
        "stopped: table minimum size",
    ),
    "many tables": (
        lambda w: w.wat2wasm(wat("i32.const 0", before="(table 9 funcref)" * 100)),
        "table count too high",
    ),
    "endless start": (
        lambda w: w.wat2wasm(wat("i32.const 0", before="(func $s (loop (br 0))) (start $s)")),
        "used up its fuel",
    ),
    "another interface": (
        lambda w: w.wat2wasm(wat("i32.const 0").replace("i32.const 1)", "i32.const 9)", 1)),
        "expected interface 1, got 9",
    ),
    "buffers elsewhere": (
        lambda w: w.wat2wasm(wat("i32.const 0").replace("(i32.const 1024)", "(i32.const -64)", 1)),
        "no room for",
    ),
    "two memories": (
        lambda w: w.wat2wasm(wat("i32.const 0", before="(memory 1)")),
        "bad.wasm:",
    ),
    "huge": (lambda _: bytes(5 << 20), "expected at most 4194304 bytes"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_modules_that_are_refused(wasmtime: Any, name: str) -> None:
    code, text = REFUSED[name]
    with pytest.raises(ManifestError) as caught:
        module(code(wasmtime))
    assert text in str(caught.value)


def test_a_stopped_module_serves_the_next_frame(wasmtime: Any) -> None:
    """It traps where the first value of the tensor is above 1."""
    decode = """
      (if (f32.gt (f32.load (i32.load (i32.load (i32.add (local.get 0) (i32.const 28)))))
                  (f32.const 1)) (then unreachable))
      i32.const 0"""
    sometimes = module(wasmtime.wat2wasm(wat(decode)))
    assert len(sometimes(TENSORS, 0.1)) == 0
    with pytest.raises(InvalidOutputError, match="gave up"):
        sometimes([np.full((1, 4), 2.0, np.float32)], 0.1)
    assert len(sometimes(TENSORS, 0.1)) == 0
    with pytest.raises(InvalidOutputError, match="expected"):
        sometimes([np.zeros((1, 5), np.float32)], 0.1)


def test_every_source_has_its_module() -> None:
    assert {p.stem for p in SOURCES.glob("*.c")} == {p.stem for p in YOLOX.parent.glob("*.wasm")}
