"""Sound events of a run, in the time of the clip that the microphone heard again and again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from edge_perception.core.types import SoundEvent
from edge_perception.recordings.schedule import StampMap
from edge_perception.samples.truth import SoundClip


@dataclass(frozen=True, kw_only=True)
class HeardSpan:
    """One sound without a break longer than a window."""

    class_name: str
    loop: int  # of the recording
    repeat: int  # how often the clip had been played before in this loop
    start_s: float  # in the clip
    end_s: float
    score: float  # highest
    windows: int  # sound events behind it


def heard_spans(
    events: Iterable[SoundEvent], clip: SoundClip, stamps: StampMap, *, join_s: float = 0.3
) -> list[HeardSpan]:
    """Join events that touch, and put them in the time of the clip.

    Args:
        events: of all fused messages; an event told twice counts once.
        clip: the clip and its start in the recording.
        stamps: from the stamps of the run to those of the recording.
        join_s: windows this far apart still belong together.
    """
    spans: list[HeardSpan] = []
    distinct = {(e.class_name, e.window_start_ns): e for e in events}
    for (name, _), event in sorted(distinct.items()):
        start_s = (stamps.to_recorded(event.window_start_ns) - clip.start_ns) * 1e-9
        length_s = (event.window_end_ns - event.window_start_ns) * 1e-9
        repeat = int(start_s // clip.length_s)
        loop = stamps.loop_of(event.window_start_ns)
        span = HeardSpan(
            class_name=name,
            loop=loop,
            repeat=repeat,
            start_s=start_s - repeat * clip.length_s,
            end_s=start_s - repeat * clip.length_s + length_s,
            score=event.score,
            windows=1,
        )
        last = spans[-1] if spans else None
        if (
            last is not None
            and (last.class_name, last.loop, last.repeat) == (name, loop, repeat)
            and span.start_s <= last.end_s + join_s
        ):
            spans[-1] = HeardSpan(
                class_name=name,
                loop=loop,
                repeat=repeat,
                start_s=last.start_s,
                end_s=max(last.end_s, span.end_s),
                score=max(last.score, span.score),
                windows=last.windows + 1,
            )
        else:
            spans.append(span)
    return sorted(spans, key=lambda span: (span.loop, span.repeat, span.start_s))


@dataclass(frozen=True, kw_only=True)
class HearingReport:
    """Whether a sound of the clip was heard, and only then."""

    class_name: str
    expected_s: tuple[float, float]
    heard_in_window: int  # repeats of the clip in which it was heard there
    repeats: int  # of the clip that were played to the end of that sound
    outside: int  # spans of this class that touch no place where it really sounds


def judge_hearing(
    spans: list[HeardSpan], clip: SoundClip, *, played_s: float, period_s: float
) -> list[HearingReport]:
    """Compare what was heard with what is known of the clip.

    Args:
        spans: what was heard.
        clip: the clip; it starts again with every loop of the recording.
        played_s: how long was played, in the recording's time.
        period_s: of one loop.
    """
    reports = []
    for sound in clip.sounds:
        due = {
            (loop, repeat)
            for loop in range(int(played_s // period_s) + 1)
            for repeat in range(int(period_s // clip.length_s) + 1)
            if repeat * clip.length_s + sound.end_s <= min(period_s, played_s - loop * period_s)
        }
        same = [span for span in spans if span.class_name == sound.class_name]
        inside = {(s.loop, s.repeat) for s in same if _touch(s, sound.start_s, sound.end_s)}
        true = [s for s in clip.sounds if s.class_name == sound.class_name]
        outside = [s for s in same if not any(_touch(s, t.start_s, t.end_s) for t in true)]
        reports.append(
            HearingReport(
                class_name=sound.class_name,
                expected_s=(sound.start_s, sound.end_s),
                heard_in_window=len(inside & due),
                repeats=len(due),
                outside=len(outside),
            )
        )
    return reports


def _touch(span: HeardSpan, start_s: float, end_s: float) -> bool:
    return span.start_s < end_s and span.end_s > start_s
