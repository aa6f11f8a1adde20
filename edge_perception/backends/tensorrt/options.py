"""Options of this runtime, as `tensorrt.NAME=VALUE` in `provider_options`, and its providers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edge_perception.backends.contract import BackendOptions
from edge_perception.core.errors import BackendError, ConfigurationError

_KNOWN = ("cuda_graph", "profile", "workspace_mb", "optimization_level")
_BOOLS = {"true": True, "1": True, "false": False, "0": False}

Shape = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class TensorRtOptions:
    """How engines are built and run."""

    cuda_graph: bool | None = None  # where all shapes are static; None: where it can be had
    # Smallest, usual and largest shape of each input with free dimensions.
    profile: Mapping[str, tuple[Shape, Shape, Shape]] = field(default_factory=dict)
    workspace_mb: int | None = None  # most scratch memory; None: TensorRT's own limit
    optimization_level: int | None = None  # 0 to 5; None: TensorRT's own

    def key(self) -> str:
        """What of them an engine depends on."""
        return f"{sorted(self.profile.items())} {self.workspace_mb} {self.optimization_level}"


def parse_options(options: BackendOptions) -> TensorRtOptions:
    """Read the options.

    Raises:
        ConfigurationError: one is unknown, or its value means nothing.
    """
    for owner in options.provider_options:
        if owner != "tensorrt":
            raise ConfigurationError(f"provider_options: expected tensorrt.…, got '{owner}.…'")
    given = options.provider_options.get("tensorrt", {})
    for name in given:
        if name not in _KNOWN:
            known = ", ".join(_KNOWN)
            raise ConfigurationError(f"provider_options: no tensorrt.{name}; known: {known}")
    graph = given.get("cuda_graph", "").lower()
    if "cuda_graph" in given and graph not in _BOOLS:
        raise ConfigurationError(f"tensorrt.cuda_graph: expected true or false, got '{graph}'")
    return TensorRtOptions(
        cuda_graph=_BOOLS.get(graph),
        profile=_profile(given.get("profile", "")),
        workspace_mb=_number(given, "workspace_mb", 1, 2**20),
        optimization_level=_number(given, "optimization_level", 0, 5),
    )


def choose_gpu(options: BackendOptions, count: int) -> tuple[int, tuple[str, ...]]:
    """Return the first GPU of the chain that is here, and a note on each before it.

    Args:
        options: `provider` has names as `cuda` or `cuda:1`; empty: the first GPU.
        count: GPUs that are here.

    Raises:
        BackendError: none of them is here, or, where the options are strict, the first is not.
    """
    notes: list[str] = []
    for name in options.provider or ("cuda:0",):
        kind, _, number = name.lower().partition(":")
        known = kind in ("cuda", "gpu") and (number.isdecimal() or not number)
        if known and int(number or 0) < count:
            return int(number or 0), tuple(notes)
        notes.append(f"{name} is not here; TensorRT finds cuda:0 to cuda:{count - 1}")
        if options.strict:
            break
    raise BackendError("; ".join(notes))


def _number(given: Mapping[str, str], name: str, low: int, high: int) -> int | None:
    if name not in given:
        return None
    text = given[name]
    if not text.isdecimal() or not low <= int(text) <= high:
        raise ConfigurationError(f"tensorrt.{name}: expected {low} to {high}, got '{text}'")
    return int(text)


def _profile(text: str) -> dict[str, tuple[Shape, Shape, Shape]]:
    """Read ``points=1x4:1000x4:20000x4;other=…``: smallest, usual and largest."""
    found: dict[str, tuple[Shape, Shape, Shape]] = {}
    for part in filter(None, (part.strip() for part in text.split(";"))):
        name, _, values = part.rpartition("=")
        try:
            low, usual, high = (
                tuple(int(size) for size in shape.split("x")) for shape in values.split(":")
            )
        except ValueError:
            low = usual = high = ()
        ordered = all(0 < a <= b <= c for a, b, c in zip(low, usual, high, strict=False))
        if not name or not low or not len(low) == len(usual) == len(high) or not ordered:
            raise ConfigurationError(
                "tensorrt.profile: expected input=smallest:usual:largest such as "
                f"points=1x4:1000x4:20000x4, got '{part}'"
            )
        found[name] = (low, usual, high)
    return found
