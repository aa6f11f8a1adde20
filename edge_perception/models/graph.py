"""Reading and extending ONNX graphs at import time. Needs the package onnx, which running does not.

A model at run time goes through a backend; nothing here is imported there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from edge_perception.core.errors import ModelError
from edge_perception.models.manifest import Bundle
from edge_perception.models.not_onnx import what_it_is, why_unread
from edge_perception.models.operators import unknown_operators, what_to_do

Shapes = dict[str, tuple[int, ...]]
_TOLD = 8  # names in a message


def load_graph(path: Path, prepare: Callable[[Any], None] | None = None) -> Any:
    """Read an ONNX file, with the shapes of all tensors inferred.

    Args:
        path: the file.
        prepare: changes the graph before it is checked.

    Raises:
        ModelError: onnx is not installed, the file is no valid model, or it has operators that no
            runtime here knows.
    """
    try:
        import onnx
    except ImportError as error:
        raise ModelError(
            f"{path.name}: reading an ONNX graph needs the Python package onnx: {error}"
        ) from error
    try:
        _check_kind(path)
        whole = _with_weights_beside(path, onnx.load(str(path), load_external_data=False))
        model = _sorted(_inlined(whole))
        if prepare is not None:
            prepare(model)
        if unknown := unknown_operators(model):
            raise ModelError(
                f"{path.name}: has operators that are neither of ONNX nor of ONNX Runtime: "
                f"{', '.join(unknown[:_TOLD])}: {what_to_do(unknown)}"
            )
        return _inferred(model)
    except ModelError:
        raise
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error}") from error
    except Exception as error:  # protobuf and onnx raise many types on a damaged file
        why = why_unread(path) or error
        raise ModelError(f"{path.name}: expected an ONNX model: {why}") from error


def _check_kind(path: Path) -> None:
    """Refuse by name what people take for a model: what a download left, another format."""
    what = what_it_is(path)
    if what:
        raise ModelError(f"{path.name}: expected an ONNX model, got {what}")


def _with_weights_beside(path: Path, model: Any) -> Any:
    """Take in the weights that lie in files beside a model."""
    import onnx

    found: dict[str, int] = {}
    for graph in (model.graph, *model.functions):
        _external(graph, found)
    missing = sorted(name for name in found if not (path.parent / name).is_file())
    if missing:
        raise ModelError(
            f"{path.name}: its weights are in {', '.join(missing[:_TOLD])}, which "
            f"{'is' if len(missing) == 1 else 'are'} not beside it: put it there, or save the "
            "model in one file"
        )
    for name, needed in sorted(found.items()):
        size = (path.parent / name).stat().st_size
        if size < needed:
            raise ModelError(
                f"{path.name}: its weights are in {name}, which is cut off or of another model: "
                f"it has {size} bytes, and {needed} are expected"
            )
    onnx.load_external_data_for_model(model, str(path.parent))
    return model


def read_graph(bundle: Bundle) -> Any:
    """Return the graph of a bundle, with the shapes of all tensors inferred.

    Raises:
        ModelError: as `load_graph`, or a file is not what the manifest says.
    """
    name = bundle.manifest.model
    model = graph_of(name, with_weights(name, bundle.read(name), bundle.read))
    try:
        return _inferred(model)
    except Exception as error:  # protobuf and onnx raise many types on a damaged file
        raise ModelError(f"{name}: expected an ONNX model: {error}") from error


def _inlined(model: Any) -> Any:
    """Put functions that are in a file in their places: what is in them is looked at too."""
    if not model.functions:
        return model
    import onnx.inliner

    return onnx.inliner.inline_local_functions(model)


def _sorted(model: Any) -> Any:
    """Bring nodes into the order of computation, which converters to half precision break.

    The standard asks for that order, runtimes do not mind. What cannot be sorted stays as it is.
    """
    graph = model.graph
    known = {"", *(v.name for v in graph.input), *(t.name for t in graph.initializer)}
    known |= {tensor.values.name for tensor in graph.sparse_initializer}
    made = {name for node in graph.node for name in node.output}
    waiting, ordered = list(graph.node), []
    in_order = True
    while waiting:
        ready, rest = [], []
        for node in waiting:
            if all(name in known or name not in made for name in _read_by(node)):
                known.update(node.output)
                ready.append(node)
            else:
                rest.append(node)
        if not ready:
            return model  # a circle: the check that follows says so
        in_order = in_order and not rest
        ordered += ready
        waiting = rest
    if not in_order:
        copies = [type(node).FromString(node.SerializeToString()) for node in ordered]
        del graph.node[:]
        graph.node.extend(copies)
    return model


def _read_by(node: Any) -> Iterator[str]:
    """Yield the tensors that a node reads, also those that its inner graphs take from outside."""
    yield from node.input
    for attribute in node.attribute:
        for inner in (attribute.g, *attribute.graphs):
            for step in inner.node:
                yield from _read_by(step)


def _inferred(model: Any) -> Any:
    import onnx

    onnx.checker.check_model(model)
    return onnx.shape_inference.infer_shapes(model)


def tensor_shapes(model: Any) -> Shapes:
    """Return the shape of every tensor by name; -1 marks a dimension that is not fixed."""
    graph = model.graph
    return {
        value.name: tuple(
            size.dim_value if size.HasField("dim_value") else -1
            for size in value.type.tensor_type.shape.dim
        )
        for value in (*graph.input, *graph.value_info, *graph.output)
    }


def input_names(model: Any) -> list[str]:
    """Return the inputs of a graph; files of before IR version 4 list the weights among them."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return [value.name for value in model.graph.input if value.name not in weights]


def shapes_text(names: Iterable[str], shapes: Shapes) -> str:
    """Return names with shapes for people: a few of them, and never what is inside."""
    told = [f"'{name}' {shapes.get(name, 'of unknown shape')}" for name in names]
    rest = f" and {len(told) - _TOLD} more" if len(told) > _TOLD else ""
    return ", ".join(told[:_TOLD]) + rest if told else "none"


def opset_of(model: Any) -> int:
    """Return the version of the default operator set.

    Raises:
        ModelError: the model names none.
    """
    for entry in model.opset_import:
        if entry.domain in ("", "ai.onnx"):
            return int(entry.version)
    raise ModelError("expected a model of the default operator set, got none")


def with_outputs(model: Any, names: list[str]) -> Any:
    """Return a copy of the model in which the tensors `names` are graph outputs too.

    Raises:
        ModelError: a tensor does not exist, or its shape or type is not known.
    """
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    present = {value.name for value in copy.graph.output}
    known = {value.name: value for value in copy.graph.value_info}
    for name in names:
        if name in present:
            continue
        if name not in known:
            close = sorted(n for n in known if name in n)[:8] or sorted(known)[-8:]
            raise ModelError(
                f"tensor '{name}' is not computed in the graph, or its shape cannot be inferred; "
                f"{len(known)} are, for example {', '.join(close)}"
            )
        copy.graph.output.append(known[name])
    return copy


def dominators(model: Any) -> dict[str, str]:
    """Return for each tensor the nearest tensor before it that everything it holds came through.

    The dominator tree of the data flow, without weights: a tensor that comes straight from the
    inputs, or from several of them, has the dominator "". ONNX lists nodes in order of
    computation, so one pass does (Cooper, Harvey and Kennedy, 2001).
    """
    weights = {tensor.name for tensor in model.graph.initializer}
    parent: dict[str, str] = {
        value.name: "" for value in model.graph.input if value.name not in weights
    }
    depth = dict.fromkeys(parent, 1) | {"": 0}
    for node in model.graph.node:
        sources = [name for name in node.input if name in parent]
        if not sources:
            continue  # a constant
        common = sources[0]
        for other in sources[1:]:
            while common != other:
                if depth[common] >= depth[other]:
                    common = parent[common]
                else:
                    other = parent[other]
        for output in node.output:
            parent[output] = common
            depth[output] = depth[common] + 1
    return parent


def external_files(name: str, data: bytes) -> list[str]:
    """Return the files outside of an ONNX file that its tensors name as their data.

    Raises:
        ModelError: onnx is not installed, or it is no valid model.
    """
    model = graph_of(name, data)
    found: dict[str, int] = {}
    _external(model.graph, found)
    for function in model.functions:
        _external(function, found)
    return sorted(found)


def graph_of(name: str, data: bytes) -> Any:
    """Return the model of an ONNX file that was read.

    Raises:
        ModelError: onnx is not installed, or it is no valid model.
    """
    try:
        import onnx

        return onnx.load_model_from_string(data)
    except Exception as error:  # protobuf raises many types on a damaged file
        raise ModelError(f"{name}: expected an ONNX model: {error}") from error


def with_weights(name: str, data: bytes, read: Callable[[str], bytes]) -> bytes:
    """Return a model whose tensors that lie in other files are in it.

    Args:
        name: of the model, for messages.
        data: the ONNX file.
        read: returns another file of the bundle, verified.

    Raises:
        ModelError: no valid model, a tensor is not within its file, or a part was compiled into a
            file beside it.
    """
    model = graph_of(name, data)
    for node in (node for graph in (model.graph, *model.functions) for node in _nodes(graph)):
        embedded = [item.i for item in node.attribute if item.name == "embed_mode"]
        if node.op_type == "EPContext" and embedded == [0]:
            raise ModelError(
                f"{name}: node '{node.name}' is a part that was compiled into a file of its own; "
                "expected it embedded (embed_mode 1)"
            )
    tensors = [
        tensor
        for graph in (model.graph, *model.functions)
        for tensor in _tensors(graph)
        if tensor.external_data
    ]
    if not tensors:
        return data
    files: dict[str, bytes] = {}
    for tensor in tensors:
        fields = {entry.key: entry.value for entry in tensor.external_data}
        where = fields.get("location", "")
        content = files[where] if where in files else files.setdefault(where, read(where))
        begin = int(fields.get("offset", 0))
        end = begin + int(fields["length"]) if "length" in fields else len(content)
        if not 0 <= begin <= end <= len(content):
            raise ModelError(
                f"{name}: tensor '{tensor.name}': bytes {begin} to {end} of '{where}', which has "
                f"{len(content)}"
            )
        tensor.raw_data = content[begin:end]
        tensor.ClearField("external_data")
        tensor.ClearField("data_location")
    return bytes(model.SerializeToString())


def _external(graph: Any, found: dict[str, int]) -> None:
    """Add the files that weights are in, and how many bytes of them are read at least."""
    for tensor in _tensors(graph):
        told = {entry.key: entry.value for entry in tensor.external_data}
        if "location" in told:
            numbers = [told.get(key, "") for key in ("offset", "length")]
            end = sum(int(number) for number in numbers if number.isdecimal())
            found[told["location"]] = max(found.get(told["location"], 0), end)


def _tensors(graph: Any) -> Iterator[Any]:
    """Yield the weights of a graph and of the graphs inside it."""
    yield from getattr(graph, "initializer", ())
    for sparse in getattr(graph, "sparse_initializer", ()):
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)
            for inner in (attribute.g, *attribute.graphs):
                yield from _tensors(inner)


def _nodes(graph: Any) -> Iterator[Any]:
    """Yield the nodes of a graph and of the graphs inside it."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _nodes(inner)
