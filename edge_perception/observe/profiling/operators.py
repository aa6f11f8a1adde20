"""The operators of the models in use, as the nodes run them and on what the nodes get."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from edge_perception.backends import Backend, Profiled
from edge_perception.core.errors import ConfigurationError
from edge_perception.models.device_plan import planned_options
from edge_perception.models.loading import LoadedModel, ModelOptions
from edge_perception.recordings.decoding import MessageDecoder
from edge_perception.recordings.own_parameters import with_own_parameters
from edge_perception.recordings.reader import open_recording
from edge_perception.releases.loading import load_model
from edge_perception.replay.binding import bind
from edge_perception.replay.lockstep import LockStep
from edge_perception.replay.metering import metered
from edge_perception.replay.vehicle import build_vehicle
from edge_perception.replay.virtual import LatencyModel, StageClock
from edge_perception.running.vehicle_plan import FUSION, VehiclePlan, read_plan


def operator_tables(
    *,
    recording: Path | None,
    params_files: Sequence[Path],
    asked: Mapping[str, object],
    namespace: str = "",
    runs: int,
) -> Iterator[str]:
    """Yield a table for each model of a vehicle: its operators by the time they take a run.

    Each model is loaded as its node loads it: bundle or current release, device plan, backend,
    provider, precision, threads. It runs on what a recording gives its node, or on zeros.

    Args:
        recording: that the vehicle gets; None: zeros.
        params_files: of the vehicle.
        asked: parameters that running nodes have, as `node.parameter`.
        namespace: of the nodes; empty: the one that the files speak of.
        runs: of each model.

    Raises:
        EdgePerceptionError: a parameter, the recording or a model cannot be used.
    """
    files = with_own_parameters(recording, params_files) if recording else tuple(params_files)
    plan = read_plan(files, overrides=asked, namespace=namespace or None)
    models = _Models(plan)
    if recording is not None:
        _drive(plan, recording, models, runs)
    else:
        for name in models.names:
            models.load(name)
    try:
        for name in models.names:
            yield _table(name, models, recording, runs)
    finally:
        models.close()


class _Models:
    """Loads the models of a vehicle for profiling; they outlive the vehicle that drives them."""

    def __init__(self, plan: VehiclePlan) -> None:
        self._wanted = {
            source.name: (source.model, source.spec.modality) for source in plan.sources
        }
        if plan.fusion_model.model:
            self._wanted[FUSION] = (plan.fusion_model, FUSION)
        self.names = list(self._wanted)
        self.loaded: dict[str, LoadedModel] = {}
        self.metered: dict[str, LoadedModel] = {}
        self.run_s: dict[str, list[float]] = {}  # of each model, the time of every run

    def options(self, name: str) -> ModelOptions:
        """Return how a model runs, the device plan followed."""
        return planned_options(self._wanted[name][0], name).options

    def of(self, _options: ModelOptions, role: str, _modality: str = "") -> LoadedModel:
        """Return the model of a source, or of fusion."""
        return self.load(role)

    def load(self, name: str) -> LoadedModel:
        """Load a model as its node does; what is returned is metered."""
        options, modality = self._wanted[name]
        loaded = load_model(options, role=name, modality=modality, profiling=True)
        self.loaded[name] = loaded
        self.run_s[name] = []
        self.metered[name] = metered(loaded, is_shared=True, on_run=self.run_s[name].append)
        return self.metered[name]

    def close(self) -> None:
        """Release them."""
        for loaded in self.loaded.values():
            loaded.backend.close()


def _drive(plan: VehiclePlan, recording: Path, models: _Models, runs: int) -> None:
    """Let a recording pass the vehicle until each model that gets something has run so often."""
    bag = open_recording(recording)
    decoder = MessageDecoder(bag.definitions())
    binding = bind(bag, plan, decoder, {})
    present = {source.name for source in plan.sources} & set(binding.inputs.values())
    if not present:
        raise ConfigurationError(f"{recording}: expected a topic of one of the sources, got none")
    vehicle = build_vehicle(plan, StageClock(), models)
    try:
        replay = LockStep(vehicle, binding, decoder, latency=LatencyModel(), start_ns=bag.start_ns)
        waited = [name for name in models.names if name in present or name == FUSION]
        for _ in replay.run(replay.read(bag.messages(list(binding.topics)))):
            if all(len(models.run_s[name]) >= runs for name in waited):
                break
    finally:
        vehicle.close()


def _on_zeros(backend: Backend, runs: int) -> None:
    inputs = {
        info.name: np.zeros([max(size, 1) for size in info.shape], info.dtype)
        for info in backend.describe().inputs
    }
    for _ in range(runs):
        backend.infer(inputs)


def _table(name: str, models: _Models, recording: Path | None, runs: int) -> str:
    run_s, loaded = models.run_s[name], models.loaded[name]
    frames, inputs = len(run_s), f"frames of {recording.name}" if recording else ""
    if not frames:
        _on_zeros(models.metered[name].backend, runs)
        frames = runs
        why = f"{recording.name} has none for it" if recording else "no --recording"
        inputs = f"runs on zeros: {why}"
    lines = [*_head(name, loaded, models.options(name)), f"  inputs: {frames} {inputs}"]
    p50_s, most_s = np.percentile(run_s, [50, 100])
    lines.append(f"  a run: p50 {p50_s * 1e3:.2f}, most {most_s * 1e3:.2f} ms")
    if not isinstance(loaded.backend, Profiled):
        runtime = loaded.backend.describe().runtime
        return "\n".join([*lines, f"  {runtime} does not tell the times of operators", ""])
    times = sorted(loaded.backend.operator_times(frames), key=lambda item: -item.seconds)
    total_s = sum(item.seconds for item in times) or 1.0
    lines.append(f"  operators: {total_s * 1e3:.2f} ms a run")
    lines += [
        f"  {item.kind:24} {item.count:5.0f} x {item.seconds * 1e3:9.3f} ms "
        f"{item.seconds / total_s:6.1%}  {item.where}"
        for item in times
    ]
    return "\n".join([*lines, ""])


def _head(name: str, loaded: LoadedModel, options: ModelOptions) -> list[str]:
    manifest, info = loaded.bundle.manifest, loaded.backend.describe()
    threads = f"{options.threads} thread" + ("s" if options.threads > 1 else "")
    precision = f", {info.precision}" if info.precision else ""
    lines = [
        f"{name}: {manifest.name} {manifest.version}",
        f"  {info.runtime} {info.runtime_version}, {info.where}{precision}, {threads}",
    ]
    return [*lines, *(f"  note: {note}" for note in (*loaded.notes, *info.notes))]
