"""The libraries of the extra `optimize`, imported where they are used and nowhere else."""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path
from typing import Any

from edge_perception.core.extras import extra


def torch_library() -> Any:
    """Return PyTorch.

    Raises:
        MissingExtraError: it is not installed.
    """
    with extra("optimize"):
        import torch
    return torch


def operation_counter() -> Any:
    """Return PyTorch's counter of operations; use it as a context.

    Raises:
        MissingExtraError: PyTorch is not installed.
    """
    with extra("optimize"):
        from torch.utils.flop_counter import FlopCounterMode
    return FlopCounterMode(display=False)


def exporter() -> Any:
    """Return PyTorch, with what its ONNX exporter needs.

    Raises:
        MissingExtraError: one of them is not installed.
    """
    with extra("optimize"):
        import onnxscript  # noqa: F401 - torch.onnx.export imports it late, with another error
    return torch_library()


def four_bit_quantizer() -> Any:
    """Return ONNX Runtime's quantiser of weights in a few bits.

    Raises:
        MissingExtraError: what it needs is not installed.
    """
    with extra("optimize"):
        import onnx_ir  # noqa: F401 - the quantiser needs it, and is part of every ONNX Runtime
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    return MatMulNBitsQuantizer


def pruning_library() -> Any:
    """Return torch-pruning.

    Raises:
        MissingExtraError: it is not installed.
    """
    with extra("optimize"):
        import torch_pruning
    return torch_pruning


def slimmer() -> Any:
    """Return onnxslim.

    Raises:
        MissingExtraError: it is not installed.
    """
    with extra("optimize"):
        import onnxslim
    return onnxslim


def nncf_library() -> Any:
    """Return NNCF.

    Raises:
        MissingExtraError: it is not installed.
    """
    # It would compile an extension at its first use, and wait for another process that does.
    os.environ.setdefault("NNCF_EXTENSION_LOAD_TIMEOUT", "0")
    with extra("optimize"), contextlib.redirect_stderr(io.StringIO()):
        import nncf
        import torchao  # noqa: F401 - NNCF needs it where a trained module is stripped
    return nncf


def quantiser_hooks() -> Any:
    """Return what gives the storage of a module's quantisers.

    Raises:
        MissingExtraError: NNCF is not installed.
    """
    nncf_library()
    with extra("optimize"):
        from nncf.torch.function_hook import get_hook_storage
    return get_hook_storage


def free_abandoned_builds(folder: Path) -> list[Path]:
    """Remove the locks of extensions whose compiler was killed; else PyTorch waits for ever.

    Args:
        folder: of PyTorch's extensions.

    Returns:
        The locks that were removed: those that no process holds open.
    """
    locks = {str(path.resolve()): path for path in folder.glob("**/lock") if path.is_file()}
    for held in Path("/proc").glob("[0-9]*/fd/*") if locks else ():
        with contextlib.suppress(OSError):  # it ended meanwhile, or is somebody else's
            locks.pop(os.readlink(held), None)
    for path in locks.values():
        path.unlink(missing_ok=True)
    return list(locks.values())


def extensions_folder() -> Path:
    """Return where PyTorch compiles its extensions."""
    with extra("optimize"):
        from torch.utils import cpp_extension
    return Path(os.environ.get("TORCH_EXTENSIONS_DIR") or cpp_extension.get_default_build_root())
