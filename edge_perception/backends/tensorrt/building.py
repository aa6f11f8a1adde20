"""From an ONNX graph to an engine. Names that differ between TensorRT 10 and 11 are not used."""

from __future__ import annotations

from typing import Any

from edge_perception.backends.tensorrt.libraries import trt
from edge_perception.backends.tensorrt.log import ErrorLog, start
from edge_perception.backends.tensorrt.options import TensorRtOptions
from edge_perception.core.errors import BackendError

_MOST_ERRORS = 3


def build(
    name: str,
    model: bytes,
    options: TensorRtOptions,
    log: ErrorLog,
    *,
    tf32: bool = False,
    timing: bytes = b"",
) -> tuple[bytes, bytes]:
    """Build an engine; minutes for a large model.

    Args:
        name: of the model, for messages.
        model: an ONNX graph with its weights, in the precision that it shall run in.
        options: shapes and limits.
        log: told by TensorRT what is wrong.
        tf32: whether float32 may be computed in TF32, which has ten bits of mantissa.
        timing: what `build` returned before on this GPU, as second; empty: nothing.

    Returns:
        The engine, and the timings of its kernels.

    Raises:
        BackendError: TensorRT cannot read, run or build it; the text is TensorRT's.
    """
    try:
        return _build(name, model, options, log, tf32, timing)
    except BackendError as error:
        reason = str(error)
    # Raised anew: the first one's frames would keep the builder and its memory on the GPU.
    raise BackendError(reason)


def _build(
    name: str, model: bytes, options: TensorRtOptions, log: ErrorLog, tf32: bool, timing: bytes
) -> tuple[bytes, bytes]:
    builder = start(trt.Builder, name, log, log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    _parse(name, model, network, log)
    config = builder.create_builder_config()
    if not tf32:
        config.clear_flag(trt.BuilderFlag.TF32)
    if options.workspace_mb is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mb * 2**20)
    if options.optimization_level is not None:
        config.builder_optimization_level = options.optimization_level
    _add_profile(name, builder, network, config, options)
    cache = config.create_timing_cache(timing)
    if cache is None or not config.set_timing_cache(cache, False):  # damaged, or not of this GPU
        cache = config.create_timing_cache(b"")
        config.set_timing_cache(cache, False)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise BackendError(f"{name}: TensorRT cannot build an engine: {log.take()}")
    return bytes(engine), bytes(cache.serialize())


def _parse(name: str, model: bytes, network: Any, log: ErrorLog) -> None:
    parser = start(trt.OnnxParser, name, log, network, log)
    if parser.parse(model):
        return
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    told = [_told(error) for error in errors[:_MOST_ERRORS]]
    if len(errors) > _MOST_ERRORS:
        told.append(f"and {len(errors) - _MOST_ERRORS} more")
    reasons = "; ".join(told) or log.take()
    raise BackendError(f"{name}: TensorRT cannot run the graph: {reasons}")


def _told(error: Any) -> str:
    text = " ".join(error.desc().split())
    where = " ".join(filter(None, (error.node_operator(), error.node_name())))
    return f"{where}: {text}" if where else text


def _add_profile(
    name: str, builder: Any, network: Any, config: Any, options: TensorRtOptions
) -> None:
    """Say the limits of free dimensions; without them TensorRT builds nothing."""
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    unknown = set(options.profile) - {tensor.name for tensor in inputs}
    if unknown:
        known = ", ".join(tensor.name for tensor in inputs)
        raise BackendError(
            f"{name}: tensorrt.profile: no input {', '.join(sorted(unknown))}; known: {known}"
        )
    profile = None
    for tensor in inputs:
        shape = tuple(tensor.shape)
        limits = options.profile.get(tensor.name)
        if limits is None and -1 not in shape:
            continue
        if limits is None or any(not _fits(shape, given) for given in limits):
            got = "none" if limits is None else ":".join("x".join(map(str, s)) for s in limits)
            raise BackendError(
                f"{name}: tensorrt.profile: input '{tensor.name}' has the shape {shape}, where -1 "
                f"is free; expected {tensor.name}=smallest:usual:largest, got {got}"
            )
        profile = profile or builder.create_optimization_profile()
        profile.set_shape(tensor.name, *limits)
    if profile is not None and config.add_optimization_profile(profile) < 0:
        raise BackendError(f"{name}: tensorrt.profile: TensorRT refuses it")


def _fits(shape: tuple[int, ...], given: tuple[int, ...]) -> bool:
    return len(shape) == len(given) and all(
        size in (-1, got) for size, got in zip(shape, given, strict=True)
    )
