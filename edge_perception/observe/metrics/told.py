"""What nodes tell of resources, load and sessions on /diagnostics, as values of the metrics."""

from __future__ import annotations

from collections.abc import Mapping

from edge_perception.monitoring.resources.watch import NOT_AVAILABLE, THROTTLING
from edge_perception.observe.metrics.board import Board
from edge_perception.observe.metrics.catalogue import BY_NAME, NODE_STALE_S

# Kinds of `monitoring.resources` and the metrics that they become; the name is the label.
RESOURCES: Mapping[str, str] = {
    "cpu_share": "machine_cpu_ratio",
    "memory_bytes": "machine_memory_bytes",
    "memory_available_bytes": "machine_memory_available_bytes",
    "disk_bytes": "machine_disk_bytes",
    "disk_free_bytes": "machine_disk_free_bytes",
    "disk_traffic_bytes": "machine_disk_traffic_bytes",
    "network_bytes": "machine_network_bytes",
    "frequency_share": "machine_frequency_ratio",
    "node_cpu_cores": "node_cpu_cores",
    "node_pss_bytes": "node_memory_bytes",
    "temperature_c": "temperature_celsius",
    "watts": "power_watts",
    "watts_total": "power_total_watts",
    "gpu_share": "gpu_use_ratio",
    "gpu_memory_used_bytes": "gpu_memory_used_bytes",
    "battery_charge_share": "battery_charge_ratio",
    "battery_left_s": "battery_left_seconds",
    "battery_watts": "battery_draw_watts",
    "joules_per_inference": "inference_energy_joules",
}
_THROTTLED = "throttled"
_LOAD_STEP, _LOAD_FRAMES, _HITS = "load_step", "load_frames", "model_cache_hit_ratio"
# Of encoders whose session others use too, or whose frames run together; metrics of the same names.
SHARING = ("session_users", "batch_frames_mean")
NAMES = (*RESOURCES.values(), _THROTTLED, _LOAD_STEP, _LOAD_FRAMES, _HITS, *SHARING)
_GAUGES = tuple(
    name
    for name in NAMES
    if name not in ("machine_disk_traffic_bytes", "machine_network_bytes", _LOAD_FRAMES)
)
_MOST_SOURCES = 64
_LOAD_NUMBERS = ("load_skipped", "load_reused", "model_cache_hit_rate")
# Of the some sixty values that an encoder says; what it says of drift begins with `drift`.
_OF_ENCODERS = frozenset(key.encode() for key in (_LOAD_STEP, *_LOAD_NUMBERS, *SHARING))


def told_by_encoders(key: bytes) -> bool:
    """Whether a value of an encoder's status becomes a metric."""
    return key in _OF_ENCODERS or key.startswith(b"drift")


class Told:
    """Keeps what was told last; under the lock of the board."""

    def __init__(self) -> None:
        self._resources: tuple[Mapping[str, str], int] | None = None
        self._encoders: dict[str, tuple[Mapping[str, str], int]] = {}

    def on_resources(self, values: Mapping[str, str], steady_ns: int) -> None:
        """Take the values of the resources node.

        Raises:
            ValueError: some cannot be shown, by name; all others are taken.
        """
        faults = {key: fault for key, text in values.items() if (fault := _fault(key, text))}
        self._resources = (
            {key: text for key, text in values.items() if key not in faults},
            steady_ns,
        )
        if faults:
            raise ValueError("; ".join(f"{key}: {fault}" for key, fault in faults.items()))

    def on_encoder(self, source: str, values: Mapping[str, str], steady_ns: int) -> None:
        """Take the values of an encoder; one without load control, or alone, tells none of it.

        Raises:
            ValueError: a number is none; nothing of it is taken.
        """
        for key in (_LOAD_STEP, *_LOAD_NUMBERS) if _LOAD_STEP in values else ():
            _number(key, values.get(key, "").partition(" ")[0])
        for name in SHARING:
            _number(name, values.get(name, "nan"))
        self._encoders[source] = (values, steady_ns)
        while len(self._encoders) > _MOST_SOURCES:
            self._encoders.pop(next(iter(self._encoders)))

    def show(self, board: Board, steady_ns: int) -> None:
        """Put what is still so on the board."""
        board.forget(*_GAUGES)
        if self._resources is not None and _is_of_now(self._resources[1], steady_ns):
            _show_resources(board, self._resources[0])
        for source, (values, at_ns) in self._encoders.items():
            if not _is_of_now(at_ns, steady_ns):
                continue
            if _LOAD_STEP in values:
                _show_load(board, source, values)
            for name in SHARING:
                if name in values:
                    board.put(name, source, value=float(values[name]))


def _is_of_now(at_ns: int, steady_ns: int) -> bool:
    return (steady_ns - at_ns) / 1e9 <= NODE_STALE_S


def _fault(key: str, text: str) -> str:
    """Return why a value of the resources node cannot be shown; empty: it can, or need not be."""
    kind, _, name = key.partition(" ")
    if kind not in RESOURCES or text.startswith(NOT_AVAILABLE):
        return ""
    labels = BY_NAME[RESOURCES[kind]].labels
    if bool(name) != bool(labels):
        return "expected a name behind it" if labels else f"expected no name, got '{name}'"
    if labels and labels[0].values and name not in labels[0].values:
        return f"expected one of {', '.join(labels[0].values)}"
    try:
        _number(kind, text)
    except ValueError as error:
        return str(error).partition(": ")[2]
    return ""


def _number(key: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{key}: expected a number, got '{text[:40]}'") from None


def _show_resources(board: Board, values: Mapping[str, str]) -> None:
    for key, text in values.items():
        if text.startswith(NOT_AVAILABLE):
            continue
        kind, _, name = key.partition(" ")
        if kind == THROTTLING and not name:
            board.put(_THROTTLED, value=text != "none")
        elif kind in RESOURCES:
            board.put(RESOURCES[kind], *([name] if name else []), value=float(text))


def _show_load(board: Board, source: str, values: Mapping[str, str]) -> None:
    board.put(_LOAD_STEP, source, value=float(values[_LOAD_STEP].partition(" ")[0]))
    for way in ("skipped", "reused"):
        board.put(_LOAD_FRAMES, source, way, value=float(values[f"load_{way}"]))
    board.put(_HITS, source, value=float(values["model_cache_hit_rate"]))
