"""The fault matrix: every fault with what is expected of the output."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from edge_perception.core.bounds import MOST_COUNT
from edge_perception.core.types import Feature, Mode, SourceState
from edge_perception.faults.injector import Injection
from edge_perception.faults.judge import Expectation, Observed, Result, judge
from edge_perception.faults.virtual import PHASE_S, SOURCES, VirtualRun
from edge_perception.fusion.config import FusionConfig
from edge_perception.fusion.publishers import Route

LATE, STALE, MISSING, INVALID = (
    SourceState.LATE,
    SourceState.STALE,
    SourceState.MISSING,
    SourceState.INVALID,
)
SILENT = (LATE, STALE, MISSING)
ALL_MODES = tuple(Mode)
START_S, LENGTH_S, AFTER_S = 3.0, 3.0, 2.5
MARGIN_S = 0.005  # the most that jitter moves a message of this moment
LATENCY_S = 0.04  # the longest way through an encoder, with jitter
# An interrupted sound stream must fill its window of 0.96 s again before its three good windows.
AUDIO_RECOVERY_S = 1.6


@dataclass(frozen=True, kw_only=True)
class Row:
    """One fault of the matrix."""

    name: str
    expectation: Expectation
    streams: tuple[tuple[str, tuple[str, ...]], ...] = ()  # fault and sources
    script: Callable[[VirtualRun, float, float], None] | None = None  # more than streams
    stamps_follow_clock: bool = True
    length_s: float = LENGTH_S
    real: bool = False  # also through the real nodes

    def injections(self, start_s: float, end_s: float) -> list[Injection]:
        """Return the stream faults at a time."""
        return [Injection.of(name, sources, start_s, end_s) for name, sources in self.streams]


def run_virtual(
    row: Row,
    *,
    seed: int = 0,
    phase_s: Mapping[str, float] = PHASE_S,
    config: FusionConfig | None = None,
) -> Result:
    """Run a row in virtual time."""
    end_s = START_S + row.length_s
    begin_s, finish_s = START_S - MARGIN_S, end_s - MARGIN_S
    run = VirtualRun(
        injections=row.injections(begin_s, finish_s),
        seed=seed,
        stamps_follow_clock=row.stamps_follow_clock,
        phase_s=phase_s,
        fusion_config=config,
    )
    if row.script is not None:
        row.script(run, begin_s, finish_s)
    observed = run.run(end_s + AFTER_S)
    return judge(
        row.name,
        "virtual",
        row.expectation,
        observed,
        START_S,
        end_s,
        bad_from_s={name: run.bad_from_s(name, START_S) for name in row.expectation.affected},
        latency_s=LATENCY_S,
    )


CLEAN_LOST = (("lose_one", ("camera", "lidar")),)


def clean_run(minutes: float, *, seed: int = 0) -> tuple[int, float, float]:
    """Run without a fault: 5 % jitter, and one frame of ten of camera and LiDAR lost.

    Returns:
        False alarms (messages in which a source that lives is not OK, or the mode not FULL), the
        minutes watched, and the longest gap in seconds. The first 3 s are left out.
    """
    alarms, last_s, gap_s = 0, START_S, 0.0

    def watch(item: Observed) -> None:
        nonlocal alarms, last_s, gap_s
        if item.at_s < START_S:
            return
        gap_s, last_s = max(gap_s, item.at_s - last_s), item.at_s
        alarms += item.mode is not Mode.FULL or not all(s.fine for s in item.sources.values())

    end_s = START_S + minutes * 60.0
    injections = [Injection.of(name, sources, 0.0, end_s) for name, sources in CLEAN_LOST]
    run = VirtualRun(injections=injections, jitter=0.03, seed=seed, keep=False, on_view=watch)
    run.run(end_s)
    return alarms, minutes, gap_s


def rows() -> list[Row]:
    """Return all rows, in the order of the table."""
    return [
        *_dead_subsets(),
        *_delivery(),
        *_stamps(),
        *_content(),
        *_clocks(),
        *_processes(),
        *_foreign(),
    ]


def _mode_without(dead: tuple[str, ...]) -> Mode:
    left = set(SOURCES) - set(dead)
    if not left:
        return Mode.NONE
    return Mode.DEGRADED if left & {"camera", "lidar"} else Mode.MINIMAL


def _dead_subsets() -> Iterator[Row]:
    for size in (1, 2, 3):
        for dead in itertools.combinations(SOURCES, size):
            yield Row(
                name=f"dead {'+'.join(dead)}",
                streams=(("dead", dead),),
                expectation=Expectation(
                    affected=dead,
                    modes=(_mode_without(dead),),
                    states=SILENT,
                    worthless=True,
                    recovery_s=AUDIO_RECOVERY_S if "audio" in dead else 0.5,
                ),
                real=size == 1,
            )


def _delivery() -> Iterator[Row]:
    for source in SOURCES:
        audio = source == "audio"
        # A lost block interrupts the sound: the stream says so, and its window fills again.
        fine = Expectation(affected=(source,), modes=(Mode.FULL,))
        any_way = Expectation(
            affected=(source,),
            modes=(Mode.FULL, Mode.DEGRADED),
            states=(*SILENT, INVALID),
            optional=True,
            recovery_s=AUDIO_RECOVERY_S if audio else 0.8,
        )
        lost = any_way if audio else fine
        yield Row(
            name=f"one frame of ten lost, {source}",
            streams=(("lose_one", (source,)),),
            expectation=lost,
        )
        yield Row(
            name=f"half lost at random, {source}",
            streams=(("lose_half", (source,)),),
            expectation=any_way,
            real=source == "lidar",
        )
        yield Row(
            name=f"bursts of five, {source}", streams=(("bursts", (source,)),), expectation=any_way
        )
        yield Row(
            name=f"reordered, {source}", streams=(("reorder", (source,)),), expectation=any_way
        )
        if not audio:
            yield Row(
                name=f"rate halved, {source}", streams=(("half_rate", (source,)),), expectation=fine
            )
            yield Row(
                name=f"rate doubled, {source}",
                streams=(("double_rate", (source,)),),
                expectation=fine,
            )


def _stamps() -> Iterator[Row]:
    texts = {
        "duplicate_stamp": "duplicated stamps",
        "zero_stamp": "zero stamps",
        "future_stamp": "stamps 5 s ahead",
        "backward_stamp": "stamps running backwards",
        "old_stamp": "stamps 5 s old",
    }
    for name, text in texts.items():
        for source in SOURCES:
            expectation = Expectation(
                affected=(source,),
                modes=(Mode.DEGRADED,),
                states=(INVALID,),
                worthless=True,
                recovery_s=AUDIO_RECOVERY_S if source == "audio" else 0.6,
            )
            if name in ("backward_stamp", "old_stamp"):  # the first looks like a step back
                expectation = replace(expectation, states=(INVALID, *SILENT))
            yield Row(
                name=f"{text}, {source}",
                streams=((name, (source,)),),
                expectation=expectation,
                real=(name, source) in {("zero_stamp", "camera"), ("future_stamp", "lidar")},
            )


def _content() -> Iterator[Row]:
    def row(name: str, source: str, text: str, *, real: bool = False, **more: Any) -> Row:
        expected: dict[str, Any] = {
            "modes": (Mode.DEGRADED,),
            "states": (INVALID,),
            "worthless": True,
            **more,
        }
        return Row(
            name=text,
            streams=((name, (source,)),),
            expectation=Expectation(affected=(source,), **expected),
            real=real,
        )

    doubtful: dict[str, Any] = {"modes": (Mode.FULL,), "states": (), "warns": True}
    nothing: dict[str, Any] = {"modes": (Mode.FULL,), "states": (), "worthless": False}
    yield row("frozen", "camera", "frozen image", real=True)
    yield row("black", "camera", "black image", real=True)
    yield row("white", "camera", "white image")
    yield row("saturated", "camera", "saturated image", **doubtful)
    yield row("noise", "camera", "noise image", real=True)
    yield row("blocked", "camera", "covered lens")
    yield row("wrong_encoding", "camera", "unknown encoding", real=True)
    yield row("wrong_step", "camera", "step shorter than a row")
    yield row("truncated", "camera", "truncated image", real=True)
    yield row("other_size", "camera", "image size changes", real=True, **nothing)
    yield row("frozen", "lidar", "frozen sweep")
    yield row("no_intensity", "lidar", "cloud without intensity", real=True, **nothing)
    yield row("some_nan", "lidar", "some points NaN and Inf", real=True, **nothing)
    yield row("all_nan", "lidar", "all points NaN")
    yield row("empty_cloud", "lidar", "empty cloud", real=True)
    yield row("near", "lidar", "covered LiDAR, all within 0.2 m", real=True)
    yield row("endless", "lidar", "LiDAR points at 1e31 m")
    yield row("sky", "lidar", "LiDAR points 500 m up", real=True)
    yield row("overlapping", "lidar", "LiDAR fields that overlap")
    yield row("endless_fields", "lidar", "LiDAR fields of 2^31 values")
    yield row("ten_times_points", "lidar", "ten times the points", **nothing)
    yield row("sector_lost", "lidar", "LiDAR sector lost", real=True, **doubtful)
    interrupted: dict[str, Any] = {
        "modes": (Mode.FULL, Mode.DEGRADED),
        "states": (INVALID, *SILENT),
        "recovery_s": AUDIO_RECOVERY_S,
    }
    yield row("audio_gap", "audio", "gaps in the sound", **interrupted)
    yield row("audio_rate_change", "audio", "sample rate changes", **interrupted)
    yield row("clipping", "audio", "clipped sound", modes=(Mode.FULL, Mode.DEGRADED), warns=True)
    yield row("silence", "audio", "digital silence", real=True)
    yield row("dead_channel", "audio", "dead channel", **doubtful)


def _foreign() -> Iterator[Row]:
    """Features that no encoder of this robot gives, limits that nobody keeps, and modes for it."""
    for source in ("camera", "lidar"):
        yield Row(
            name=f"every second one bad, {source}",
            streams=(("every_second_bad", (source,)),),
            expectation=Expectation(
                affected=(source,), states=(INVALID,), worthless=True, recovery_s=0.6
            ),
            real=source == "lidar",
        )
    yield Row(
        name="camera and LiDAR that never meet",
        streams=(("too_late", ("lidar",)),),
        length_s=5.0,
        expectation=Expectation(
            affected=("lidar",),
            warns=True,
            states=(SourceState.OK,),
            detection_s=1.5,  # the gap at first, recovery, and 5 periods without a meeting
            recovery_s=0.9,
        ),
    )

    def threefold(run: VirtualRun, start_s: float, end_s: float) -> None:
        usual = run.fusion.config
        sources = tuple(
            replace(item, rate_hz=30.0) if item.source == "lidar" else item
            for item in usual.sources
        )
        run.at(start_s, lambda: run.fusion.configure(replace(usual, sources=sources)))
        run.at(end_s, lambda: run.fusion.configure(usual))

    yield Row(
        name="rate_hz set to three times the truth, lidar",
        script=threefold,
        expectation=Expectation(
            affected=("lidar",), states=(LATE,), worthless=True, recovery_s=0.6
        ),
    )

    def counter(run: VirtualRun, start_s: float, end_s: float) -> None:
        def alter(feature: Feature) -> Feature:
            return replace(feature, refused=MOST_COUNT) if feature.source == "lidar" else feature

        run.at(start_s, lambda: run.fusion.refuse("lidar", "one before", run.clock.now()))
        run.at(start_s + 0.5, lambda: setattr(run, "alter", alter))
        run.at(end_s, lambda: setattr(run, "alter", lambda feature: feature))

    yield Row(
        name="counter of 2^64-1, lidar",
        script=counter,
        expectation=Expectation(
            affected=("lidar",),
            modes=(Mode.FULL, Mode.DEGRADED),
            states=(INVALID,),
            optional=True,  # the refusal before it
        ),
    )

    def wrong_source(run: VirtualRun, start_s: float, end_s: float) -> None:
        def alter(feature: Feature) -> Feature:
            if feature.source == "lidar":
                route = Route(source="camera", name="features/camera")
                run.fusion.offer(feature, run.clock.now(), route)
            return feature

        run.at(start_s, lambda: setattr(run, "alter", alter))
        run.at(end_s, lambda: setattr(run, "alter", lambda feature: feature))

    yield Row(
        name="features of the LiDAR on the camera's topic",
        script=wrong_source,
        expectation=Expectation(
            affected=("camera",), states=(INVALID,), worthless=True, recovery_s=0.6
        ),
    )


def _clocks() -> Iterator[Row]:
    everything = Expectation(affected=SOURCES, modes=(Mode.FULL,))
    brief = replace(everything, modes=ALL_MODES, states=(INVALID, *SILENT), optional=True)
    for seconds in (10.0, -10.0):

        def jump(run: VirtualRun, start_s: float, _end_s: float, step: float = seconds) -> None:
            run.at(start_s, lambda: run.jump_clock(step))

        def there_and_back(
            run: VirtualRun, start_s: float, end_s: float, step: float = seconds
        ) -> None:
            run.at(start_s, lambda: run.jump_clock(step))
            run.at(end_s, lambda: run.jump_clock(-step))

        # With /clock stamps and clock move together: all goes on at once.
        yield Row(
            name=f"clock jumps {seconds:+.0f} s, with /clock",
            script=jump,
            expectation=replace(brief, modes=(Mode.FULL, Mode.DEGRADED), recovery_s=0.3),
        )
        yield Row(
            name=f"clock jumps {seconds:+.0f} s and back, stamps do not",
            script=there_and_back,
            stamps_follow_clock=False,
            expectation=Expectation(
                affected=SOURCES,
                modes=(Mode.NONE,),
                states=(INVALID, *SILENT),
                worthless=True,
                # Stamps up to 0.2 s ahead may have been under way when the clock stepped back.
                detection_s=0.5,
                recovery_s=0.7,
            ),
        )

    def loop(run: VirtualRun, start_s: float, end_s: float) -> None:
        for moment_s in (start_s, (start_s + end_s) / 2):
            run.at(moment_s, lambda: run.jump_clock(-2.0))

    def pause(run: VirtualRun, start_s: float, end_s: float) -> None:
        run.at(start_s, lambda: setattr(run, "paused", True))
        run.at(end_s, lambda: setattr(run, "paused", False))

    yield Row(
        name="bag loops", script=loop, expectation=replace(brief, modes=(Mode.FULL, Mode.DEGRADED))
    )
    yield Row(
        name="bag pauses",
        script=pause,
        expectation=Expectation(
            affected=SOURCES,
            modes=(Mode.NONE,),
            states=SILENT,
            worthless=True,
            recovery_s=0.6,
        ),
    )


def _processes() -> Iterator[Row]:
    for source in SOURCES:

        def kill(run: VirtualRun, start_s: float, end_s: float, name: str = source) -> None:
            run.at(start_s, lambda: run.kill(name))
            run.at(end_s, lambda: run.respawn(name))

        def hang(run: VirtualRun, start_s: float, end_s: float, name: str = source) -> None:
            run.at(start_s, lambda: setattr(run.encoders[name], "hung", True))
            run.at(end_s, lambda: setattr(run.encoders[name], "hung", False))

        def slow(run: VirtualRun, start_s: float, end_s: float, name: str = source) -> None:
            run.at(start_s, lambda: setattr(run.encoders[name], "factor", 10.0))
            run.at(end_s, lambda: setattr(run.encoders[name], "factor", 1.0))

        gone = Expectation(
            affected=(source,),
            modes=(Mode.DEGRADED,),
            states=SILENT,
            worthless=True,
            recovery_s=AUDIO_RECOVERY_S if source == "audio" else 0.6,
        )
        yield Row(name=f"encoder killed, {source}", script=kill, expectation=gone)
        yield Row(name=f"encoder hung, {source}", script=hang, expectation=gone)
        yield Row(
            name=f"encoder 10 times slower, {source}",
            script=slow,
            expectation=Expectation(
                affected=(source,),
                modes=(Mode.FULL, Mode.DEGRADED),
                states=SILENT,
                optional=True,
                recovery_s=0.8,
            ),
        )
