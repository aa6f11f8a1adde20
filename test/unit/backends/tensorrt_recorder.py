"""TensorRT of the tests' own: the names and arguments of the real bindings of both generations.

`test_contract_tensorrt.py` holds every class, method and argument here against the real ones. It
"builds" sum = a + b and product = a x b of any graph; the tests' own libcuda computes them.
"""

from __future__ import annotations

import enum
import gc
import json
import weakref
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
from cuda_recorder import Recorder

from edge_perception.backends import BackendOptions

SHAPES = {"a": (2, 3), "b": (2, 3), "sum": (2, 3), "product": (2, 3)}
INPUTS = ("a", "b")


class Severity(enum.Enum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2


class ILogger:
    Severity = Severity

    def log(self, severity: Severity, msg: str) -> None: ...


class NetworkDefinitionCreationFlag(enum.IntEnum):
    STRONGLY_TYPED = 1


class BuilderFlag(enum.Enum):
    TF32 = 0


class MemoryPoolType(enum.Enum):
    WORKSPACE = 0


class TensorIOMode(enum.Enum):
    INPUT = 1
    OUTPUT = 2


class TensorLocation(enum.Enum):
    DEVICE = 0
    HOST = 1


class World:
    """What the fakes share: the recorder, and what is asked to go wrong."""

    def __init__(self, recorder: Recorder | None) -> None:  # None: only names are asked for
        self.recorder = recorder
        self.shapes = dict(SHAPES)
        self.parse_errors: list[tuple[str, str, str]] = []
        self.wrong = ""  # build, load, context, execute
        self.builds: list[dict[str, Any]] = []


def module(world: World) -> ModuleType:
    """Return a module as tensorrt, as far as the runtime uses it."""
    made = ModuleType("tensorrt")
    public = [
        BuilderFlag,
        ILogger,
        MemoryPoolType,
        NetworkDefinitionCreationFlag,
        TensorIOMode,
        TensorLocation,
        *_classes(world),
    ]
    vars(made).update({kind.__name__: kind for kind in public})
    made.nptype = lambda trt_type: trt_type
    made.__version__ = "11.4.0"
    made.classes = {kind.__name__: kind for kind in public}
    return made


def _classes(world: World) -> list[type]:
    recorder = world.recorder

    class ITensor:
        def __init__(self, name: str) -> None:
            self._name = name

        name = property(lambda self: self._name)
        shape = property(lambda self: world.shapes[self._name])

    class INetworkDefinition:
        num_inputs = property(lambda self: len(INPUTS))

        def get_input(self, index: int) -> ITensor:
            return ITensor(INPUTS[index])

    class IOptimizationProfile:
        def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:
            world.builds[-1].setdefault("profile", {})[input] = (min, opt, max)

    class ITimingCache:
        def serialize(self) -> bytes:
            return b"timings"

    class IBuilderConfig:
        builder_optimization_level = property(
            lambda self: 3, lambda self, value: world.builds[-1].update(level=value)
        )

        def clear_flag(self, flag: BuilderFlag) -> None:
            world.builds[-1]["cleared"] = flag.name

        def set_memory_pool_limit(self, pool: MemoryPoolType, pool_size: int) -> None:
            world.builds[-1]["workspace"] = pool_size

        def create_timing_cache(self, serialized_timing_cache: bytes) -> ITimingCache:
            world.builds[-1]["timings"] = serialized_timing_cache
            return ITimingCache()

        def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
            assert not ignore_mismatch
            return world.builds[-1]["timings"] != b"of another GPU"

        def add_optimization_profile(self, profile: IOptimizationProfile) -> int:
            return 0

    class Builder:
        def __init__(self, logger: ILogger) -> None:
            self._logger, self._number = logger, recorder.born("builder")

        def __del__(self) -> None:
            recorder.gone("builder", self._number)

        def create_network(self, flags: int = 0) -> INetworkDefinition:
            assert flags == 1 << NetworkDefinitionCreationFlag.STRONGLY_TYPED
            world.builds.append({})
            return INetworkDefinition()

        def create_builder_config(self) -> IBuilderConfig:
            return IBuilderConfig()

        def create_optimization_profile(self) -> IOptimizationProfile:
            return IOptimizationProfile()

        def build_serialized_network(
            self, network: INetworkDefinition, config: IBuilderConfig
        ) -> bytes | None:
            if world.wrong == "build":
                self._logger.log(Severity.ERROR, "no kernel\nfor node 7")
                return None
            return json.dumps(world.builds[-1].get("profile", {})).encode()

    class ParserError:
        def __init__(self, told: tuple[str, str, str]) -> None:
            self._told = told

        def desc(self) -> str:
            return self._told[0]

        def node_operator(self) -> str:
            return self._told[1]

        def node_name(self) -> str:
            return self._told[2]

    class OnnxParser:
        def __init__(self, network: INetworkDefinition, logger: ILogger) -> None: ...

        num_errors = property(lambda self: len(world.parse_errors))

        def parse(self, model: bytes) -> bool:
            return not world.parse_errors

        def get_error(self, index: int) -> ParserError:
            return ParserError(world.parse_errors[index])

    class IExecutionContext:
        def __init__(self) -> None:
            self._number = recorder.born("context")
            self._shapes, self._addresses = dict(world.shapes), {}

        def __del__(self) -> None:
            # It has their addresses: TensorRT may touch them until it is gone.
            assert all(map(recorder.has, self._addresses.values()))
            recorder.gone("context", self._number)

        def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
            for tensor in ("sum", "product", name):
                self._shapes[tensor] = tuple(shape)
            return max(shape) <= 8

        def get_tensor_shape(self, name: str) -> tuple[int, ...]:
            return self._shapes[name]

        def get_max_output_size(self, name: str) -> int:
            return int(np.prod(self._shapes[name])) * 4

        def set_tensor_address(self, name: str, memory: int) -> bool:
            self._addresses[name] = memory
            return recorder.has(memory)

        def execute_async_v3(self, stream_handle: int) -> bool:
            if world.wrong == "execute" or (world.wrong == "record" and recorder.recording):
                IExecutionContext.logger.log(Severity.ERROR, "an illegal memory access")
                return False
            assert set(self._addresses) == set(world.shapes)
            size_bytes = int(np.prod(self._shapes["a"])) * 4
            at = [self._addresses[name] for name in ("a", "b", "sum", "product")]
            recorder.execute(stream_handle, at, size_bytes)
            return True

    class ICudaEngine:
        def __init__(self, profile: dict) -> None:
            self._number, self._profile = recorder.born("engine"), profile
            self._context: Callable[[], IExecutionContext | None] = lambda: None

        def __del__(self) -> None:
            assert self._context() is None, "an engine before its context"
            recorder.gone("engine", self._number)

        num_io_tensors = property(lambda self: len(world.shapes))
        num_layers = property(lambda self: 2)

        def get_tensor_name(self, index: int) -> str:
            return list(world.shapes)[index]

        def get_tensor_location(self, name: str) -> TensorLocation:
            return TensorLocation.DEVICE

        def get_tensor_dtype(self, name: str) -> Any:
            return np.float32

        def get_tensor_shape(self, name: str) -> tuple[int, ...]:
            return world.shapes[name]

        def get_tensor_mode(self, name: str) -> TensorIOMode:
            return TensorIOMode.INPUT if name in INPUTS else TensorIOMode.OUTPUT

        def get_tensor_profile_shape(self, name: str, profile_index: int) -> list:
            return self._profile[name]

        def create_execution_context(self) -> IExecutionContext | None:
            if world.wrong == "context":
                return None
            context = IExecutionContext()
            self._context = weakref.ref(context)
            return context

    class Runtime:
        def __init__(self, logger: ILogger) -> None:
            self._number, IExecutionContext.logger = recorder.born("runtime"), logger
            self._engine: Callable[[], ICudaEngine | None] = lambda: None

        def __del__(self) -> None:
            assert self._engine() is None, "a runtime before its engine"
            recorder.gone("runtime", self._number)

        def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None:
            if world.wrong == "load":
                return None
            engine = ICudaEngine(json.loads(serialized_engine))
            self._engine = weakref.ref(engine)
            return engine

    return [
        Builder,
        IBuilderConfig,
        ICudaEngine,
        IExecutionContext,
        INetworkDefinition,
        IOptimizationProfile,
        ITensor,
        ITimingCache,
        OnnxParser,
        ParserError,
        Runtime,
    ]


def spec():
    import edge_perception.backends.tensorrt as ours

    return ours.SPEC


def options(**values) -> BackendOptions:
    given = {name: str(value) for name, value in values.pop("tensorrt", {}).items()}
    return BackendOptions(provider_options={"tensorrt": given} if given else {}, **values)


def left(world: World) -> dict[str, int]:
    gc.collect()
    return world.recorder.left
