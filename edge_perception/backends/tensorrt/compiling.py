"""Kernels are compiled when they are first needed, by NVRTC: no CUDA toolkit is asked for."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from edge_perception.backends.tensorrt.engine_cache import CachedFile
from edge_perception.backends.tensorrt.libraries import compiler
from edge_perception.core.errors import BackendError
from edge_perception.core.extras import DISTRIBUTION

# No contracted multiply-adds: the same bits as on the CPU.
_OPTIONS = (b"--fmad=false", b"--std=c++17", b"-default-device")
_MOST_CHARACTERS = 600


def compiled(source: str, capability: str, folder: Path | None) -> bytes:
    """Return what the driver loads, from the cache where it is there.

    Args:
        source: CUDA.
        capability: of the GPU, such as 8.7.
        folder: of the compile cache; None: nothing is kept.

    Raises:
        BackendError: NVRTC is not installed or cannot compile it; the text is NVRTC's.
    """
    version = ".".join(str(number) for number in _call("nvrtcVersion"))
    architecture = _architecture(capability)
    options = (f"--gpu-architecture={architecture}".encode(), *_OPTIONS)
    if folder is None:
        return _compile(source, options)
    cached = CachedFile(folder, source.encode(), "kernels", version, repr(options))
    if found := cached.read():
        return found
    made = _compile(source, options)
    with suppress(BackendError):  # the engine, which lies in the same folder, says so
        cached.write(made)
    return made


def _architecture(capability: str) -> str:
    """Return the GPU's own, or the newest before it, for whose code the driver makes its own."""
    wanted = int(capability.replace(".", ""))
    known = [int(number) for number in _call("nvrtcGetSupportedArchs")[0]]
    if wanted in known:
        return f"sm_{wanted}"
    older = [number for number in known if number < wanted]
    if not older:
        raise BackendError(
            f"NVRTC compiles for compute capability {min(known) / 10} and newer, got {capability}"
        )
    return f"compute_{max(older)}"


def _compile(source: str, options: tuple[bytes, ...]) -> bytes:
    (program,) = _call("nvrtcCreateProgram", source.encode(), b"kernels.cu", 0, [], [])
    try:
        (status,) = compiler.nvrtcCompileProgram(program, len(options), list(options))
        if int(status) != 0:
            raise BackendError(f"the kernels do not compile: {_log(program)}")
        form = "CUBIN" if b"=sm_" in options[0] else "PTX"
        (size,) = _call(f"nvrtcGet{form}Size", program)
        made = bytearray(size)
        _call(f"nvrtcGet{form}", program, made)
        return bytes(made)
    finally:
        _call("nvrtcDestroyProgram", program)


def _log(program: Any) -> str:
    (size,) = _call("nvrtcGetProgramLogSize", program)
    text = bytearray(size)
    _call("nvrtcGetProgramLog", program, text)
    return " ".join(bytes(text).rstrip(b"\0").decode(errors="replace").split())[:_MOST_CHARACTERS]


def _call(name: str, *arguments: Any) -> Any:
    """Call NVRTC.

    Raises:
        BackendError: it fails, or its library is not there.
    """
    try:
        status, *results = getattr(compiler, name)(*arguments)
    except Exception as error:  # cuda-pathfinder has errors of its own, by version
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BackendError(
            f"NVRTC cannot be used: {reason}; pip install '{DISTRIBUTION}[tensorrt]' brings it"
        ) from error
    if int(status) != 0:
        raise BackendError(f"{name} failed: {getattr(status, 'name', status)}")
    return results
