"""Load control of an encoder node: its models, memory, log and events."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from rclpy.node import Node

from edge_perception import msg
from edge_perception.core.bounds import clipped
from edge_perception.core.errors import ConfigurationError, ModelError
from edge_perception.core.periodic import Periodic
from edge_perception.encoders import EncoderSpec
from edge_perception.encoders.load import EncoderLoad, StandIns
from edge_perception.encoders.load_control import FROM_PLAN, LoadEvent, LoadOptions
from edge_perception.models.device_plan import planned_options, planned_variants
from edge_perception.models.loading import LoadedModel, ModelOptions
from edge_perception.models.manifest import Bundle
from edge_perception.models.memory import release_model
from edge_perception.models.model_cache import ModelCache
from edge_perception.monitoring.resources.heat import HeatWatch
from edge_perception.nodes.topics import qos
from edge_perception.releases.loading import find_verified
from edge_perception.releases.model_sizes import peak_memory_bytes

_MB = 2**20
_HEAT_S = 1.0  # between looks at sensors; heat is slow


class LoadEvents:
    """Tells each step of a source: in the log, and on the latched topic `load_events`."""

    def __init__(self, node: Node, source: str) -> None:
        self._node, self._source = node, source
        self._publisher = node.create_publisher(msg.LoadEvent, "load_events", qos.EVENTS)
        self._sequence = 0

    def tell(self, event: LoadEvent) -> None:
        """Tell of a step; from the inference thread."""
        self._publisher.publish(
            msg.LoadEvent(
                stamp=self._node.get_clock().now().to_msg(),
                source=self._source,
                sequence=self._sequence,
                step=event.number,
                last_step=event.last,
                back=event.back,
                given_up=str(event.step) if event.number else "",
                reason=clipped(event.reason),
            )
        )
        self._sequence += 1
        text = f"load control: step {event.number} of {event.last}: {event.step}: {event.reason}"
        if event.back:
            self._node.get_logger().info(text)
        else:  # rclpy refuses another severity from the same line
            self._node.get_logger().warning(text)


class MachineHeat:
    """Reads the heat of the machine once a second, for as long as a model is loaded."""

    def __init__(self, on_error: Callable[[Exception], None]) -> None:
        self._on_error = on_error
        self._watch: HeatWatch | None = None
        self._reading: Periodic | None = None

    def watch(self, options: LoadOptions) -> HeatWatch | None:
        """Return what is read; None: the options do not ask for it."""
        if options.asks_heat and self._watch is None:
            watch = HeatWatch(hottest_c=options.hottest_c, throttling=options.throttling)
            watch.look()
            reading = Periodic(_HEAT_S, watch.look, on_error=self._on_error, name="heat")
            reading.start()
            self._watch, self._reading = watch, reading
        return self._watch

    def close(self) -> None:
        """Stop reading."""
        if self._reading is not None:
            self._reading.stop()
        self._watch = self._reading = None


def encoder_load(
    events: LoadEvents,
    options: LoadOptions,
    spec: EncoderSpec,
    *,
    source: str,
    model: ModelOptions,
    load: Callable[[str], LoadedModel],
    beside: Callable[[], list[Bundle]],
    heat: MachineHeat,
) -> EncoderLoad:
    """Return the load control of a source; nothing is loaded before it is needed.

    Args:
        events: hear of each step.
        options: what may be given up.
        spec: the modality.
        source: its name.
        model: how models run.
        load: loads the bundle of a name beside what serves.
        beside: bundles that the node has loaded by itself.
        heat: of the machine; is read from now on where the options ask for it.

    Raises:
        ConfigurationError: the options contradict each other, or ask for nothing.
    """
    plan, left_out = _planned(options, model, source)
    sizes: dict[str, int] = {}  # by digest

    def measured_bytes(bundle: Bundle) -> int:
        if bundle.sha256 not in sizes:
            way = planned_options(model, source).options
            sizes[bundle.sha256] = peak_memory_bytes(bundle, way)
        return sizes[bundle.sha256]

    def size_bytes(name: str) -> int:
        # Measuring runs it, so it is verified first.
        bundle = find_verified(model, name)
        if plan.get(name, bundle.sha256) != bundle.sha256:
            raise ModelError(f"{name}: the device plan was measured with another bundle")
        for served in beside():  # what they take is known before anything is loaded beside them
            measured_bytes(served)
        return measured_bytes(bundle)

    def beside_bytes() -> int:
        return sum(
            sizes.get(bundle.sha256, bundle.manifest.resources.peak_memory_bytes)
            for bundle in beside()
        )

    models = ModelCache[LoadedModel](
        limit_bytes=options.models_mb * _MB,
        size_bytes=size_bytes,
        load=load,
        release=release_model,
        beside_bytes=beside_bytes,
    )
    names = [n for name in options.variants for n in (plan if name == FROM_PLAN else [name])]
    stand_ins = StandIns(spec, models)
    try:
        found = replace(options, variants=tuple(dict.fromkeys(names)))
        return EncoderLoad(
            found, spec, stand_ins, events.tell, left_out=left_out, heat=heat.watch(options)
        )
    except ConfigurationError as error:
        raise ConfigurationError("; ".join(filter(None, (str(error), left_out)))) from error


def _planned(options: LoadOptions, model: ModelOptions, source: str) -> tuple[dict[str, str], str]:
    """Return the bundles that measured cheaper, with their digests, and why there are none."""
    if FROM_PLAN not in options.variants:
        return {}, ""
    cheaper, why_none = planned_variants(model, source)
    return {item.model: item.sha256 for item in cheaper}, (
        f"load.variants: {FROM_PLAN}: {why_none}" if why_none else ""
    )
