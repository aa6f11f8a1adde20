"""One segment of one recording, replayed into files; runs in whatever process it is sent to."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import resource
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_perception.core.errors import ConfigurationError
from edge_perception.core.types import PublishedView
from edge_perception.recordings.decoding import MessageDecoder
from edge_perception.recordings.prefetch import Behind, prefetched
from edge_perception.recordings.reader import Recording, open_recording
from edge_perception.recordings.stamps import read_stamp_ns
from edge_perception.recordings.storage import RecordedMessage
from edge_perception.replay.binding import Binding, bind, parse_remaps
from edge_perception.replay.changes import alter, changed_stream
from edge_perception.replay.lockstep import LockStep, ReplayStats, Swap
from edge_perception.replay.vehicle import Vehicle, build_vehicle
from edge_perception.replay.virtual import NS, StageClock, parse_latency
from edge_perception.running.vehicle_plan import VehiclePlan, read_plan, swapped
from edge_perception.validation.canonical import FusedWriter, record_of
from edge_perception.validation.settings import ReplaySettings, parse_swap

FUSED, ACCOUNT = "fused.jsonl", "account.json"
_MODULUS = 1 << 256
_SEGMENTS, _MIN_SEGMENT_S, _MAX_SEGMENT_S = 8, 10.0, 60.0


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A part of a recording; its outputs are those published in [start, end)."""

    index: int
    start_ns: int
    end_ns: int | None  # None: to the end
    warm_up_ns: int  # replayed before it, its outputs thrown away


Progress = Callable[[int, int], None]  # messages, node time of the recording


def replay_segment(
    settings: ReplaySettings,
    segment: Segment,
    folder: Path,
    *,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Replay a segment; writes its outputs and returns its account, which is also a file.

    Raises:
        EdgePerceptionError: the recording, the parameters or a model cannot be used.
    """
    bag = open_recording(Path(settings.bag))
    decoder = MessageDecoder(bag.definitions())
    plan = read_plan(
        settings.all_params_files(),
        overrides=settings.overrides,
        subset=settings.subset,
        namespace=settings.namespace,
    )
    binding = bind(bag, plan, decoder, parse_remaps(settings.remaps))
    changes, latency = settings.changes(), parse_latency(settings.latency)
    modality = {source.name: source.spec.modality for source in plan.sources}
    vehicle = build_vehicle(plan, StageClock())
    swaps = _swaps(settings, plan, bag)
    start_ns = max(segment.start_ns - segment.warm_up_ns, bag.start_ns)
    content = bool(changes.fog or changes.noise)
    replay = LockStep(
        vehicle,
        binding,
        decoder,
        latency=latency,
        start_ns=start_ns,
        swaps=swaps,
        alter=(lambda name, m: alter(m, modality[name], changes)) if content else None,
        measure_bare=True,
    )
    digest = RecordingDigest(segment)
    recorded = _messages(bag, binding, _topics(settings, bag, decoder), segment, start_ns, digest)
    changed = changed_stream(recorded, changes, start_ns=bag.start_ns)
    stream = prefetched(replay.read(changed))
    folder.mkdir(parents=True, exist_ok=True)
    decoder.prepare(bag.topics[name].type for name in binding.topics)
    writer = FusedWriter(folder / FUSED)
    before: PublishedView | None = None
    told = _telling(progress, replay)
    with Behind(lambda output: writer.write(record_of(output))) as behind:
        for output in replay.run(stream, told):
            if output.at_ns < segment.start_ns:
                before = output
            elif segment.end_ns is None or output.at_ns < segment.end_ns:
                behind.put(output)
    writer.close()
    account = _account(replay.stats, plan, vehicle, swaps, bag, binding, digest)
    account |= {"segment": dataclasses.asdict(segment), "outputs": writer.count}
    account["before"] = None if before is None else record_of(before)
    account["sha256"] = writer.sha256
    vehicle.close()
    (folder / ACCOUNT).write_text(json.dumps(account), encoding="utf-8")
    return account


def _telling(progress: Progress | None, replay: LockStep) -> Callable[[RecordedMessage], None]:
    last = [0.0]

    def tell(message: RecordedMessage) -> None:
        if progress is not None and time.monotonic() - last[0] > 0.5:
            last[0] = time.monotonic()
            progress(replay.stats.messages, message.log_time_ns)

    return tell


def _topics(settings: ReplaySettings, bag: Recording, decoder: MessageDecoder) -> tuple[str, ...]:
    """Return the topics of all sources: with only some of them it is the same recording."""
    plan = read_plan(
        settings.all_params_files(), overrides=settings.overrides, namespace=settings.namespace
    )
    try:
        return bind(bag, plan, decoder, parse_remaps(settings.remaps)).topics
    except ConfigurationError:  # of a source that is left out
        return ()


def _messages(
    bag: Recording,
    binding: Binding,
    topics: tuple[str, ...],
    segment: Segment,
    start_ns: int,
    digest: RecordingDigest,
) -> Iterator[RecordedMessage]:
    """Yield the messages of a segment; what was told once at the start holds for it too."""
    if start_ns > bag.start_ns:
        for topic in binding.calibrations:
            first = next(bag.messages([topic], end_ns=start_ns), None)
            if first is not None:
                yield dataclasses.replace(first, log_time_ns=start_ns)
        told_once = sorted(topic for topic, static in binding.transforms.items() if static)
        for message in bag.messages(told_once, end_ns=start_ns) if told_once else ():
            yield dataclasses.replace(message, log_time_ns=start_ns)
    wanted = set(binding.topics)
    everything = bag.messages(
        sorted(wanted.union(topics)), start_ns=start_ns, end_ns=segment.end_ns
    )
    for message in digest.over(everything):
        if message.topic in wanted:
            yield message


def _swaps(settings: ReplaySettings, plan: VehiclePlan, bag: Recording) -> list[Swap]:
    swaps = []
    for text in settings.swap:
        release, seconds = parse_swap(text)
        plan = swapped(plan, release)
        vehicle = build_vehicle(plan, StageClock())
        at_ns = bag.start_ns + round(seconds * NS)
        swaps.append(Swap(at_ns=at_ns, name=release, vehicle=vehicle))
    return swaps


class RecordingDigest:
    """Identifies a recording by what it holds, not by how its file is packed.

    Sums of hashes of messages: segments can be added up in any order. `content` covers every byte
    that is replayed, `timing` only topics, arrivals and stamps: a recording rendered on another
    machine has the same timing and may differ in the last bit of a picture.
    """

    def __init__(self, segment: Segment) -> None:
        self._segment = segment
        self.content = self.timing = self.count = 0

    def over(self, messages: Iterator[RecordedMessage]) -> Iterator[RecordedMessage]:
        """Pass messages on and note those of the segment."""
        for message in messages:
            self._note(message)
            yield message

    def _note(self, message: RecordedMessage) -> None:
        if message.log_time_ns < self._segment.start_ns:
            return
        head = f"{message.topic}|{message.type}|{message.log_time_ns}|"
        stamp = read_stamp_ns(message.data) if len(message.data) >= 12 else 0
        self.timing += _number(hashlib.sha256(f"{head}{stamp}".encode()))
        checksum = zlib.crc32(message.data)  # as MCAP's own; SHA-256 takes as long as reading
        self.content += _number(hashlib.sha256(f"{head}{len(message.data)}|{checksum}".encode()))
        self.count += 1


def _number(digest: Any) -> int:
    return int.from_bytes(digest.digest(), "big")


def as_hex(number: int) -> str:
    """Return a sum of hashes as 64 hexadecimal digits."""
    return f"{number % _MODULUS:064x}"


def _account(
    stats: ReplayStats,
    plan: VehiclePlan,
    vehicle: Vehicle,
    swaps: list[Swap],
    bag: Recording,
    binding: Binding,
    digest: RecordingDigest,
) -> dict[str, Any]:
    models = {name: _model(loaded) for name, loaded in sorted(vehicle.loaded.items())}
    for swap in swaps:
        for name, loaded in sorted(swap.vehicle.loaded.items()):
            if loaded.bundle.sha256 != vehicle.loaded[name].bundle.sha256:
                models[f"{name} from {swap.name}"] = _model(loaded)
    return {
        "parameters": parameters_of(plan),
        "models": models,
        "notes": [*bag.notes, *binding.notes, *_remarks(stats)],
        "digest": {
            "content": as_hex(digest.content),
            "timing": as_hex(digest.timing),
            "messages": digest.count,
        },
        "start_ns": bag.start_ns,
        "end_ns": bag.end_ns,
        "wall_s": stats.wall_s,
        "bare_s": stats.bare_s,
        "work_s": stats.work_s,
        "messages": stats.messages,
        "dropped": stats.dropped,
        "stages": stages_of(stats),
        "peak_mb": peak_mb(),
    }


def _model(loaded: Any) -> dict[str, str]:
    manifest = loaded.bundle.manifest
    return {
        "name": manifest.name,
        "version": manifest.version,
        "sha256": loaded.bundle.sha256,
        "runtime": f"{loaded.info.runtime} {loaded.info.runtime_version}",
        "provider": loaded.info.provider,
    }


def parameters_of(plan: VehiclePlan) -> dict[str, Any]:
    """Return all parameters that were used, flat, by node."""
    flat: dict[str, Any] = {}
    for source in plan.sources:
        node = f"{source.name}_encoder"
        for name, value in dataclasses.asdict(source.options).items():
            if name not in ("source", "cores"):  # neither changes a result
                flat[f"{node}.{name}"] = list(value) if isinstance(value, tuple) else value
        for name in ("model", "backend", "provider"):
            flat[f"{node}.{name}"] = getattr(source.model, name)
        if source.content is not None:
            limits = dataclasses.asdict(source.content)
            flat |= {f"{node}.content.{name}": value for name, value in limits.items()}
    flat["fusion.model"] = plan.fusion_model.model
    for config in (plan.fusion.cycle, plan.fusion.decision):
        prefix = "decision." if config is plan.fusion.decision else ""
        flat |= {f"fusion.{prefix}{k}": v for k, v in dataclasses.asdict(config).items()}
    for item in plan.fusion.sources:
        flat |= {f"fusion.{item.source}.{k}": v for k, v in dataclasses.asdict(item).items()}
    return flat


def stages_of(stats: ReplayStats) -> dict[str, list[list[float]]]:
    """Return the measured times, s: preprocess, inference, postprocess by source; fusion."""
    stages = {
        name: [[x.preprocess_s, x.inference_s, x.postprocess_s] for x in items[:1024]]
        for name, items in stats.measured.items()
    }
    stages["fusion"] = [[0.0, seconds, 0.0] for seconds in stats.fusion_measured_s[:1024]]
    return stages


def _remarks(stats: ReplayStats) -> list[str]:
    remarks = [*stats.clock_jumps, *stats.notes]
    remarks += [f"{what} in {n} messages" for what, n in sorted(stats.stamp_faults.items())]
    for where, n in sorted(stats.errors.items()):
        first = stats.first_error[where]
        remarks.append(f"{where}: {n} messages cannot be used, the first: {first}")
    return remarks


def peak_mb() -> float:
    """Return the highest resident size of this process so far, 10^6 bytes."""
    try:  # getrusage() counts what the process was before it became this program
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        kib = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
        return round(int(kib) * 1024e-6, 1)
    except (OSError, StopIteration):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return round(peak * (1e-6 if sys.platform == "darwin" else 1024e-6), 1)


def segment_length_s(settings: ReplaySettings, duration_s: float) -> float:
    """Return how long segments are; a share of a short recording, so that two cores help it.

    0: it is not cut.
    """
    if settings.segment_s is not None:
        return settings.segment_s
    return min(max(duration_s / _SEGMENTS, _MIN_SEGMENT_S), _MAX_SEGMENT_S)


def plan_segments(settings: ReplaySettings) -> list[Segment]:
    """Cut a recording; depends on the settings and the recording only, not on the jobs.

    Raises:
        ConfigurationError: the recording cannot be read.
    """
    bag = open_recording(Path(settings.bag))
    duration_ns = bag.end_ns - bag.start_ns
    length_s = segment_length_s(settings, duration_ns / NS)
    if 0.0 < length_s < 1.0:
        raise ConfigurationError(f"segment: expected at least 1 s, got {length_s:g} s")
    length_ns = round(length_s * NS)
    # A rest of less than half a segment stays with the one before it.
    count = max(1, round(duration_ns / length_ns)) if length_ns else 1
    if settings.segment_s is None and count > bag.message_count:
        count = 1  # hardly a message a segment: the recorder's clock jumped within
    warm_up_ns = round(settings.warm_up_s * NS)
    return [
        Segment(
            index=index,
            start_ns=bag.start_ns + index * length_ns,
            end_ns=None if index == count - 1 else bag.start_ns + (index + 1) * length_ns,
            warm_up_ns=warm_up_ns if index else 0,
        )
        for index in range(count)
    ]
