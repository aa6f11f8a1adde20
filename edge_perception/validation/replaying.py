"""One segment of one recording, replayed into files; runs in whatever process it is sent to."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from edge_perception.core.errors import ConfigurationError
from edge_perception.core.types import PublishedView
from edge_perception.recordings.decoding import MessageDecoder
from edge_perception.recordings.prefetch import Behind, prefetched
from edge_perception.recordings.reader import Recording, open_recording
from edge_perception.recordings.storage import RecordedMessage
from edge_perception.replay.binding import Binding, bind
from edge_perception.replay.changes import alter, changed_stream
from edge_perception.replay.latched import told_at_first, told_before
from edge_perception.replay.lockstep import LockStep
from edge_perception.replay.model_changes import Swap
from edge_perception.replay.remaps import parse_remaps
from edge_perception.replay.vehicle import Models, build_vehicle
from edge_perception.replay.virtual import NS, StageClock, parse_latency
from edge_perception.running.vehicle_plan import VehiclePlan, read_plan, swapped
from edge_perception.validation.accounts import account_of
from edge_perception.validation.canonical import FusedWriter, record_of
from edge_perception.validation.digest import RecordingDigest
from edge_perception.validation.same_tracks import Overlap
from edge_perception.validation.segments import Segment
from edge_perception.validation.settings import ReplaySettings, parse_swap

FUSED = "fused.jsonl"


Progress = Callable[[int, int], None]  # messages, node time of the recording


def replay_segment(
    settings: ReplaySettings,
    segment: Segment,
    folder: Path,
    *,
    models: Models | None = None,
    scratch: Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Replay a segment; writes its outputs and returns its account.

    Args:
        settings: what decides the result.
        segment: what is replayed.
        folder: for the outputs.
        models: that are loaded already, and are kept; None: loaded here and released.
        scratch: folder for what must be unpacked; None: one of this process.
        progress: is told messages and node time now and then.

    Raises:
        EdgePerceptionError: the recording, the parameters or a model cannot be used.
    """
    damage: list[str] = []
    bag = open_recording(Path(settings.bag), on_damage=damage.append, scratch=scratch)
    decoder = MessageDecoder(bag.definitions())
    plan = read_plan(
        settings.all_params_files(),
        overrides=settings.overrides,
        subset=settings.subset,
        namespace=settings.namespace,
    )
    binding = bind(bag, plan, decoder, parse_remaps(settings.remaps))
    changes, latency = settings.changes(), parse_latency(settings.latency)
    changes.check_topics(bag.topics)
    modality = {source.name: source.spec.modality for source in plan.sources}
    vehicle = build_vehicle(plan, StageClock(), models)
    swaps = _swaps(settings, plan, bag, models)
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
        counted_from_ns=segment.start_ns,
    )
    digest = RecordingDigest(segment)
    recorded = _messages(bag, binding, _topics(settings, bag, decoder), segment, start_ns, digest)
    changed = changed_stream(recorded, changes, start_ns=bag.start_ns)
    stream = prefetched(replay.read(changed))
    folder.mkdir(parents=True, exist_ok=True)
    decoder.prepare(bag.topics[name].type for name in binding.topics)
    writer = FusedWriter(folder / FUSED)
    before: PublishedView | None = None
    overlap = Overlap()
    told = _telling(progress, replay)
    writing: Behind[PublishedView] = Behind(lambda output: writer.write(record_of(output)))
    with writing as behind:
        for output in replay.run(stream, told):
            if output.at_ns < segment.start_ns:
                before = output
                overlap.add(record_of(output))
            elif segment.end_ns is None or output.at_ns < segment.end_ns:
                behind.put(output)
    writer.close()
    account = account_of(replay.stats, plan, vehicle, swaps, bag, binding, digest, decoder)
    account |= {"segment": dataclasses.asdict(segment), "outputs": writer.count, "damage": damage}
    account["before"] = None if before is None else record_of(before)
    account["tracks_before"] = overlap.tracks
    account["sha256"] = writer.sha256
    vehicle.close()
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
    """Yield the messages of a segment, after what was told before it and holds for it too."""
    if start_ns > bag.start_ns:
        yield from told_before(bag, binding, start_ns)
    else:
        yield from told_at_first(bag, binding)
    wanted = set(binding.topics)
    everything = bag.messages(
        sorted(wanted.union(topics)), start_ns=start_ns, end_ns=segment.end_ns
    )
    for message in digest.over(everything):
        if message.topic in wanted:
            yield message


def _swaps(
    settings: ReplaySettings, plan: VehiclePlan, bag: Recording, models: Models | None
) -> list[Swap]:
    swaps = []
    for text in settings.swap:
        release, seconds = parse_swap(text)
        plan = swapped(plan, release)
        vehicle = build_vehicle(plan, StageClock(), models)
        at_ns = bag.start_ns + round(seconds * NS)
        swaps.append(Swap(at_ns=at_ns, name=release, vehicle=vehicle))
    return swaps
