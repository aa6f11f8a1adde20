"""What a user names as a model: a factory, a TorchScript file, an ONNX file, a bundle."""

from __future__ import annotations

import importlib
import inspect
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.errors import ConfigurationError, ModelError
from edge_perception.models.folders import find_bundle, installed_model_folders
from edge_perception.models.golden import generated_inputs, read_golden
from edge_perception.models.graph import graph_of, input_names, tensor_shapes
from edge_perception.models.loading import whole_model
from edge_perception.models.manifest import MANIFEST_NAME, Bundle, TensorSpec, load_bundle
from edge_perception.optimize.libraries import torch_library

ONNX_DTYPES = {
    1: "float32", 2: "uint8", 3: "int8", 6: "int32", 7: "int64", 9: "bool", 10: "float16",
    11: "float64",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class OnnxSource:
    """A graph, from a file or a bundle."""

    name: str
    data: bytes
    bundle: Bundle | None = None

    def inputs(self, given: Mapping[str, NDArray] | None = None) -> dict[str, NDArray]:
        """Return inputs to try it with: those given, the golden ones, or smooth noise."""
        if given:
            return dict(given)
        if self.bundle is not None and self.bundle.manifest.golden is not None:
            return read_golden(self.bundle)[0]
        return generated_inputs(input_specs(self.name, self.data))


@dataclass(frozen=True, kw_only=True)
class TorchSource:
    """A PyTorch module with inputs to try it with."""

    name: str
    module: Any  # torch.nn.Module, in eval mode
    inputs: Mapping[str, NDArray]  # in the order of `forward`
    is_script: bool = False

    def tensors(self) -> tuple[Any, ...]:
        """Return the inputs as tensors."""
        torch = torch_library()
        return tuple(torch.from_numpy(np.ascontiguousarray(a)) for a in self.inputs.values())


Source = OnnxSource | TorchSource


def input_specs(name: str, data: bytes) -> tuple[TensorSpec, ...]:
    """Return the inputs of a graph; a free dimension is taken as 1.

    Raises:
        ModelError: it is no graph, or an input is no tensor that we know.
    """
    model = graph_of(name, data)
    shapes, kinds = tensor_shapes(model), {v.name: v for v in model.graph.input}
    specs = []
    for entry in input_names(model):
        kind = kinds[entry].type.tensor_type.elem_type
        if kind not in ONNX_DTYPES:
            raise ModelError(f"{name}: input '{entry}': expected a tensor of numbers")
        shape = tuple(max(size, 1) for size in shapes[entry])
        specs.append(TensorSpec(name=entry, dtype=ONNX_DTYPES[kind], shape=shape))
    return tuple(specs)


def open_source(
    text: str,
    *,
    shapes: Sequence[str] = (),
    inputs_file: Path | None = None,
    weights: Path | None = None,
    folders: Sequence[Path] = (),
) -> Source:
    """Open what a user names.

    Args:
        text: `module:factory`, a .pt file (TorchScript), an .onnx file, a bundle's folder or name.
        shapes: `NAME=1x3x64x64[:dtype]`, inputs to try a PyTorch module with.
        inputs_file: .npz with them.
        weights: state dict for what the factory returns.
        folders: of bundles, before the installed ones.

    Raises:
        ConfigurationError: it cannot be used; the text says what to change.
        ModelError: a bundle or graph is damaged.
    """
    path = Path(text)
    given = example_inputs(shapes, inputs_file)
    if (path / MANIFEST_NAME).is_file():
        return _of_bundle(load_bundle(path))
    if path.suffix == ".onnx":
        if not path.is_file():
            raise ConfigurationError(f"{text}: expected an ONNX file, got none")
        return OnnxSource(name=path.name, data=_whole_file(path))
    if path.suffix in (".pt", ".pth", ".ts"):
        return _script(path, given)
    if ":" in text:
        return _factory(text, given, weights)
    return _of_bundle(find_bundle(text, [*folders, *installed_model_folders()]))


def _of_bundle(bundle: Bundle) -> OnnxSource:
    return OnnxSource(name=bundle.manifest.name, data=whole_model(bundle), bundle=bundle)


def _whole_file(path: Path) -> bytes:
    """Read a graph with the weights that lie beside it."""
    from edge_perception.models.graph import with_weights

    def beside(name: str) -> bytes:
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise ModelError(f"{path.name}: weights outside of its folder: '{name}'")
        return (path.parent / name).read_bytes()

    return with_weights(path.name, path.read_bytes(), beside)


def example_inputs(shapes: Sequence[str], file: Path | None) -> dict[str, NDArray]:
    """Return the arrays that options name.

    Raises:
        ConfigurationError: an option has another form, or the file cannot be read.
    """
    specs = tuple(_spec(text) for text in shapes)
    arrays = generated_inputs(specs)
    if file is not None:
        try:
            with np.load(file, allow_pickle=False) as archive:
                arrays |= {name: archive[name] for name in archive.files}
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"{file}: expected a NumPy .npz of inputs: {error}") from error
    return arrays


def _spec(text: str) -> TensorSpec:
    name, equals, rest = text.partition("=")
    sizes, _, dtype = rest.partition(":")
    try:
        shape = tuple(int(size) for size in sizes.split("x"))
        kind = np.dtype(dtype or "float32").name
    except (ValueError, TypeError):
        shape, kind = (), ""
    if not (name and equals and shape and min(shape) > 0):
        raise ConfigurationError(
            f"--input: expected NAME=1x3x64x64[:dtype], sizes above 0, got '{text}'"
        )
    return TensorSpec(name=name, dtype=kind, shape=shape)


def _script(path: Path, given: Mapping[str, NDArray]) -> TorchSource:
    torch = torch_library()
    if not path.is_file():
        raise ConfigurationError(f"{path}: expected a TorchScript file, got none")
    try:
        module = torch.jit.load(str(path), map_location="cpu").eval()
    except Exception as error:
        raise ConfigurationError(
            f"{path}: expected TorchScript, got something else ({_first_line(error)}); weights "
            f"alone need the code of the model: MODULE:FACTORY --weights {path}"
        ) from error
    if not given:
        raise ConfigurationError(f"{path}: expected its inputs: --input NAME=1x3x64x64, each")
    return TorchSource(name=path.name, module=module, inputs=given, is_script=True)


def _factory(text: str, given: Mapping[str, NDArray], weights: Path | None) -> TorchSource:
    made = call_factory(text)
    torch = torch_library()
    example: Any = None
    if isinstance(made, tuple) and len(made) == 2:
        made, example = made
    if not isinstance(made, torch.nn.Module):
        raise ConfigurationError(
            f"{text}: expected a torch.nn.Module, or one with its example inputs, got "
            f"{type(made).__name__}"
        )
    if weights is not None:
        _load_weights(made, weights, text)
    inputs = dict(given) or _named(made, example, text)
    return TorchSource(name=text, module=made.eval(), inputs=inputs)


def call_factory(text: str, *arguments: Any) -> Any:
    """Import `module:function` from the working folder or the path, and call it.

    Raises:
        ConfigurationError: there is none, it needs other arguments, or it raises.
    """
    module_name, _, name = text.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise ConfigurationError(
            f"{text}: module '{module_name}' cannot be imported: {where_raised(error)}"
        ) from error
    function = getattr(module, name, None)
    if not callable(function):
        raise ConfigurationError(f"{text}: expected a function '{name}' in {module.__file__}")
    _check_arguments(text, function, len(arguments))
    try:
        return function(*arguments)
    except Exception as error:
        raise ConfigurationError(f"{text}: raised {where_raised(error)}") from error


def _check_arguments(text: str, function: Any, given: int) -> None:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return  # a built-in: it says so itself
    needed = [
        p.name
        for p in parameters
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    if len(needed) > given:
        raise ConfigurationError(
            f"{text}: needs the arguments {', '.join(needed)}, and is called with {given}: give "
            f"them defaults, or name a function that passes them, such as "
            f"`def made(): return {text.partition(':')[2]}({', '.join(f'{n}=…' for n in needed)})`"
        )


def _load_weights(module: Any, weights: Path, text: str) -> None:
    torch = torch_library()
    try:
        state = torch.load(weights, map_location="cpu", weights_only=True)
        missing, unknown = module.load_state_dict(state, strict=False)
    except Exception as error:
        raise ConfigurationError(
            f"{weights}: expected a state dict for {text}: {_first_line(error)}"
        ) from error
    if missing or unknown:
        raise ConfigurationError(
            f"{weights}: does not fit {text}: it lacks {list(missing)[:4] or 'nothing'}, and has "
            f"{list(unknown)[:4] or 'nothing'} that the model does not"
        )


def _named(module: Any, example: Any, text: str) -> dict[str, NDArray]:
    """Return example inputs of a factory by name; their order is that of `forward`."""
    if example is None:
        raise ConfigurationError(
            f"{text}: expected example inputs: --input NAME=1x3x64x64, or let the factory return "
            "(model, {name: tensor})"
        )
    if isinstance(example, Mapping):
        items = {str(name): value for name, value in example.items()}
    else:
        values = example if isinstance(example, (tuple, list)) else (example,)
        names = list(inspect.signature(module.forward).parameters)
        items = dict(zip(names, values, strict=False))
    arrays = {
        name: value.numpy() if hasattr(value, "numpy") else np.asarray(value)
        for name, value in items.items()
    }
    bad = [name for name, array in arrays.items() if array.dtype == object]
    if bad or not arrays:
        raise ConfigurationError(f"{text}: example inputs: expected tensors, got other for {bad}")
    return arrays


def where_raised(error: BaseException) -> str:
    """Say what was raised and the line of the user's own code it came from."""
    frames = traceback.extract_tb(error.__traceback__)
    foreign = ("site-packages", "importlib", "<frozen")
    own = [f for f in frames if not any(part in f.filename for part in foreign)]
    own = [f for f in own if "edge_perception" not in f.filename]
    at = f" at {own[-1].filename}:{own[-1].lineno}" if own else ""
    return f"{type(error).__name__}: {_first_line(error)}{at}"


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
