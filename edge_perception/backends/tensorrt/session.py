"""A TensorRT session: an engine, its context, one stream, and buffers that are allocated once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from numpy.typing import NDArray

from edge_perception.backends.contract import BackendInfo, BackendOptions
from edge_perception.backends.device_program import DeviceProgram
from edge_perception.backends.tensorrt.building import build
from edge_perception.backends.tensorrt.compiling import compiled
from edge_perception.backends.tensorrt.engine_cache import CachedFile
from edge_perception.backends.tensorrt.gpu import Gpu, driver_version, gpus, open_gpu
from edge_perception.backends.tensorrt.libraries import trt
from edge_perception.backends.tensorrt.log import ErrorLog
from edge_perception.backends.tensorrt.options import TensorRtOptions, choose_gpu, parse_options
from edge_perception.backends.tensorrt.precision import OFFERED, in_precision
from edge_perception.backends.tensorrt.running import Execution
from edge_perception.backends.tensors import check_inputs, warm_up
from edge_perception.core.errors import BackendError


def load(path: Path, options: BackendOptions) -> TensorRtBackend:
    """Build the engine of a model, or take it from the cache.

    Raises:
        BackendError: the file is no model that TensorRT can run, the GPU is not here, or, where the
            options are strict, something else runs than was asked for.
    """
    return TensorRtBackend(path, _read(path), options)


def load_bytes(data: bytes, path: Path, options: BackendOptions) -> TensorRtBackend:
    """As `load`, of a model that was read already; `path` is its name in messages.

    Raises:
        BackendError: as `load`.
    """
    return TensorRtBackend(path, data, options)


def ways() -> list[tuple[str, str]]:
    """Return GPUs with the precisions that graphs are converted to.

    Raises:
        BackendError: there is no GPU, or no driver that can be used.
    """
    return [(f"cuda:{index}", name) for index in range(gpus()) for name in OFFERED]


class TensorRtBackend:
    """One engine with one execution context, which one thread uses at a time."""

    def __init__(self, path: Path, data: bytes, options: BackendOptions) -> None:
        self._name = path.name
        settings = parse_options(options)
        self._profile = settings.profile
        index, notes = choose_gpu(options, gpus())
        model, precision, changed = in_precision(path.name, data, options.precision)
        notes = (*notes, *changed)
        if options.strict and notes:
            raise BackendError(f"{path.name}: strict_provider: {'; '.join(notes)}")
        self._gpu = open_gpu(index)
        log = ErrorLog()
        with self._gpu.active():
            wanted = _Wanted(self._name, data, model, precision, settings)
            self._execution, hit, kept = _execution(wanted, self._gpu, options.cache, log)
        self._closed, self._cache = False, options.cache
        self._code: dict[str, bytes] = {}  # compiled, by its source
        self._info = BackendInfo(
            runtime="tensorrt",
            runtime_version=str(trt.__version__),
            provider=self._gpu.provider,
            assignment={self._gpu.provider: self._execution.layers},
            precision=precision,
            cache_hit=hit,
            notes=(*notes, *self._execution.notes, *kept),
            inputs=self._execution.inputs,
            outputs=self._execution.outputs,
        )

    def describe(self) -> BackendInfo:
        """Return what is really running."""
        return self._info

    def warm_up(self, runs: int) -> None:
        """Run on zero tensors; free dimensions become the usual ones of the profile."""
        usual = {name: shapes[1] for name, shapes in self._profile.items()}
        inputs = [replace(i, shape=usual.get(i.name, i.shape)) for i in self._info.inputs]
        warm_up(self.infer, inputs, runs)

    def infer(self, inputs: Mapping[str, NDArray]) -> dict[str, NDArray]:
        """Run the model: named arrays in, named arrays out.

        Raises:
            BackendError: an input is missing, of the wrong shape or dtype, the session is closed,
                or the run failed.
        """
        if self._closed:
            raise BackendError(f"{self._name}: the session is closed")
        expected, program = self._info.inputs, self._execution.program
        if program is not None and program.input not in inputs:
            others = (info for info in expected if info.name != program.input)
            expected = (*others, *program.arrays)
        check_inputs(self._name, expected, inputs)
        with self._gpu.active():
            return self._execution.run(inputs)

    def run_program(self, program: DeviceProgram) -> None:
        """Let kernels on the GPU make an input; `RunsPrograms` says how.

        Raises:
            BackendError: they do not compile, do not load, or what they make is no input of the
                engine with a fixed shape.
        """
        if self._closed:
            raise BackendError(f"{self._name}: the session is closed")
        if program is self._execution.program:
            return
        shapes = {info.name: info.shape for info in self._info.inputs}
        if -1 in shapes.get(program.input, (-1,)):
            raise BackendError(f"{self._name}: no input '{program.input}' of a fixed shape")
        code = self._code.get(program.source)
        if code is None:  # another size of the same program needs no other code
            code = compiled(program.source, self._gpu.capability, self._cache)
            self._code = {program.source: code}
        with self._gpu.active():
            self._execution.prepare_by(program, code)

    def close(self) -> None:
        """Release the session; twice is as good as once."""
        if self._closed:
            return
        self._closed = True
        with self._gpu.active():
            self._execution.close()


class _Wanted(NamedTuple):
    name: str
    data: bytes  # as it was given
    model: bytes  # in the precision that it runs in
    precision: str
    settings: TensorRtOptions


def _execution(
    wanted: _Wanted, gpu: Gpu, folder: Path | None, log: ErrorLog
) -> tuple[Execution, bool | None, tuple[str, ...]]:
    """Return a loaded engine, whether it was in the cache, and what is wrong with that.

    A cache that cannot be written is no reason to drive without the model.
    """
    if folder is None:
        return Execution(wanted.name, _built(wanted, log)[0], wanted.settings, log), None, ()
    card = f"{gpu.name} {gpu.capability} {gpu.memory_bytes}"
    machine = (str(trt.__version__), card, driver_version())
    made_for = (*machine, wanted.precision, wanted.settings.key())
    cached = CachedFile(folder, wanted.data, "engine", *made_for)
    timings = CachedFile(folder, wanted.data, "timings", *machine)
    if found := cached.read():
        try:
            return Execution(wanted.name, found, wanted.settings, log), True, ()
        except BackendError:
            log.take()  # whatever is wrong with it, a new one tells whether the model is
    engine, timing = _built(wanted, log, timings.read())
    execution = Execution(wanted.name, engine, wanted.settings, log)
    try:
        cached.write(engine)
        timings.write(timing)
    except BackendError as error:
        return execution, False, (str(error),)
    return execution, False, ()


def _built(wanted: _Wanted, log: ErrorLog, timing: bytes = b"") -> tuple[bytes, bytes]:
    return build(
        wanted.name,
        wanted.model,
        wanted.settings,
        log,
        tf32=wanted.precision == "auto",
        timing=timing,
    )


def _read(path: Path) -> bytes:
    """Read a model; weights in files beside it are put into it, so that the cache knows them."""
    try:
        data = path.read_bytes()
        if b"location" not in data:  # the key that each such weight has
            return data
        import onnx  # slow, and rarely needed

        return bytes(onnx.load(str(path)).SerializeToString())
    except Exception as error:  # of files and of protocol buffers
        raise BackendError(f"{path.name}: cannot be read: {error}") from error
