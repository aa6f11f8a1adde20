"""Cuts, sounds, latency and the summary of a made-up run."""

import json
from dataclasses import replace

import pytest
from made_up_run import MS, PLAY_NS, START_NS, siren

from edge_perception.core.types import Mode
from edge_perception.demo.alone import FrameScores, frame_views, frames_to_collect
from edge_perception.demo.cuts import report_cut
from edge_perception.demo.latency import latency_report, percentiles_ms
from edge_perception.demo.report import problems
from edge_perception.demo.summary import Run, plain, summarise
from edge_perception.demo.table import table
from edge_perception.recordings.player import CutEvent, PlayReport
from edge_perception.recordings.schedule import Cut
from edge_perception.running.memory import Memory, MemoryReport, MemorySample
from edge_perception.samples.matching import Score
from edge_perception.samples.sounds import heard_spans, judge_hearing

CUT = CutEvent(
    cut=Cut(name="lidar", start_s=1.0, end_s=2.0),
    first_missing_ns=PLAY_NS + 1000 * MS,
    returned_ns=PLAY_NS + 2000 * MS,
)


def with_view(entry, **changes):
    return replace(entry, view=replace(entry.view, **changes))


@pytest.fixture
def run(entries, truth, stamps):
    scores = {"fused": Score(labelled=2, correct=2), "camera": Score(labelled=2, correct=1),
              "lidar": Score(labelled=2, correct=1, false=1)}  # fmt: skip
    return Run(
        entries=entries,
        play=PlayReport(stamps=stamps, loops=1, sent={"/lidar/points": 30}, cuts=[CUT]),
        stamps=stamps,
        played_s=4.0,
        truth=truth,
        frames=[FrameScores(name=f"{s}/00", scores=scores) for s in "ab"],
        memory=MemoryReport(
            samples=[
                MemorySample(
                    time_s=time_s,
                    by_process={
                        "fusion": Memory(pss_mb=fusion_mb, anonymous_mb=50.0),
                        "lidar_encoder": Memory(pss_mb=130.0, anonymous_mb=70.0),
                    },
                )
                for time_s, fusion_mb in ((2.0, 90.0), (60.5, 80.0))
            ]
        ),
        models="imported",
        composed=False,
    )


def test_a_cut_is_reported_with_what_the_output_did(entries):
    report = report_cut(entries, CUT, PLAY_NS)
    assert report.source == "lidar"
    assert (report.from_s, report.to_s) == (1.0, 2.0)
    assert report.messages == 10
    assert report.longest_gap_s == pytest.approx(0.1)
    assert report.degraded_after_s == pytest.approx(0.04)
    assert report.modes == {"DEGRADED": 10}
    assert report.other_sources_blamed == ()
    assert report.full_after_s == pytest.approx(0.04)


def test_an_output_that_stops_with_the_sensor_shows_as_a_gap(entries):
    stopped = [e for e in entries if not e.view.source("lidar").state]
    report = report_cut(stopped, CUT, PLAY_NS)
    assert report.messages == 0
    assert report.degraded_after_s is None
    assert report.longest_gap_s == pytest.approx(1.1)


def test_a_cut_that_nobody_mentions_is_a_problem(run):
    silent = [with_view(e, mode=Mode.FULL) for e in run.entries]
    found = problems(summarise(replace(run, entries=silent)))
    assert found == ["lidar was pulled and no fused message said so"]
    assert problems(summarise(run)) == []


def test_sound_windows_that_touch_are_one_span_in_the_time_of_the_clip(truth, stamps):
    start_ns = stamps.to_played(truth.clip.start_ns)
    events = [siren(start_ns + at * MS) for at in (200, 300, 300, 400, 1400)]
    spans = heard_spans(events, truth.clip, stamps)
    assert [(s.repeat, s.windows) for s in spans] == [(0, 3), (1, 1)]
    assert (spans[0].start_s, spans[0].end_s) == pytest.approx((0.2, 0.7))
    assert spans[1].start_s == pytest.approx(0.4)


def test_sounds_are_judged_by_their_place_in_the_clip(truth, stamps):
    start_ns = stamps.to_played(truth.clip.start_ns)
    spans = heard_spans(
        [siren(start_ns + 300 * MS), siren(start_ns + 1800 * MS)], truth.clip, stamps
    )
    (report,) = judge_hearing(spans, truth.clip, played_s=2.0, period_s=4.0)
    assert (report.class_name, report.heard_in_window, report.repeats) == ("siren", 1, 2)
    assert report.outside == 1  # at 0.8 s, after the siren has ended


def test_every_loop_plays_the_clip_again(truth, stamps):
    start_ns = stamps.to_played(truth.clip.start_ns)
    spans = heard_spans(
        [siren(start_ns + (loop * 4000 + 300) * MS) for loop in (0, 1)], truth.clip, stamps
    )
    assert [(s.loop, s.repeat) for s in spans] == [(0, 0), (1, 0)]
    (report,) = judge_hearing(spans, truth.clip, played_s=6.0, period_s=4.0)
    assert (report.heard_in_window, report.repeats) == (2, 6)


def test_a_sound_card_that_starts_anew_with_each_loop_is_no_problem(run):
    view = run.entries[-1].view
    audio = replace(view.sources[2], refused=1)
    last = with_view(run.entries[-1], sources=(*view.sources[:2], audio))
    once = replace(run, entries=[*run.entries[:-1], last])
    assert problems(summarise(once)) == ["audio: 1 frames refused"]
    looped = replace(once, play=replace(run.play, loops=2))
    assert problems(summarise(looped)) == []


def test_many_cuts_are_told_by_the_worst(run):
    summary = summarise(run)
    cuts = [summary["cuts"][0]] * 8 + [{**summary["cuts"][0], "longest_gap_s": 0.5}]
    text = table({**summary, "cuts": cuts})
    assert "worst of 9 cuts: longest gap 500 ms, said after 40 ms" in text


def test_percentiles_leave_out_what_was_not_measured():
    assert percentiles_ms([0.01, float("nan"), 0.03]) == {
        "p50": 20.0, "p95": 29.0, "p99": 29.8, "max": 30.0
    }  # fmt: skip
    assert percentiles_ms([float("nan")]) == {}


def test_latency_counts_each_feature_once(entries):
    report = latency_report(entries)
    assert report["max"] == pytest.approx(129.0)
    assert report["stages"]["lidar"]["inference"]["p50"] == pytest.approx(10.0)
    assert set(report["stages"]) == {"audio", "camera", "lidar", "fusion"}
    repeated = latency_report([entries[0], entries[0]])
    assert repeated["stages"]["camera"] == latency_report([entries[0]])["stages"]["camera"]


def test_frames_are_collected_away_from_start_and_cuts(truth):
    wanted = frames_to_collect(truth, [CUT.cut], START_NS)
    times_s = sorted((stamp - START_NS) * 1e-9 for stamp in wanted["lidar"])
    assert times_s[0] >= 1.5
    assert all(not 0.7 <= t < 3.5 for t in times_s)
    assert times_s
    for stamp in wanted["lidar"]:
        assert any(abs(stamp - image) <= 60 * MS for image in wanted["camera"])


def test_only_messages_with_all_sensors_on_one_moment_count_for_a_frame(entries, truth, stamps):
    views = frame_views(entries, truth, stamps)
    assert set(views) == {0, 1, 2, 3}
    assert sum(map(len, views.values())) == 30
    later = [
        with_view(
            e,
            sources=(
                replace(e.view.sources[0], stamp_ns=e.view.sources[0].stamp_ns - 100 * MS),
                *e.view.sources[1:],
            ),
        )
        for e in entries
    ]
    assert not frame_views(later, truth, stamps)


def test_the_summary_has_what_is_promised_and_is_strict_json(run):
    summary = json.loads(json.dumps(summarise(run), allow_nan=False))
    assert {
        "fused_messages", "modes", "sources", "latency_ms", "deadline_missed",
        "cycles_by_deadline_share", "cuts", "correct_objects", "sound_events", "resident_mb",
    } <= set(summary)  # fmt: skip
    assert summary["fused_messages"] == 40
    assert summary["modes"] == {"FULL": 30, "DEGRADED": 10, "MINIMAL": 0, "NONE": 0}
    assert summary["deadline_missed"] == 1
    assert summary["cycles_by_deadline_share"] == pytest.approx(39 / 40)
    assert summary["sources"]["lidar"]["states"] == {"OK": 30, "LATE": 3, "MISSING": 7}
    assert summary["sources"]["camera"]["received"] == 40
    correct = summary["correct_objects"]
    assert (correct["fused"], correct["camera"], correct["lidar"]) == (4, 2, 2)
    assert correct["by_sequence"]["a"]["fused"] == 2
    assert correct["labelled"] == 4
    assert summary["resident_mb"] == {
        "sum": 210.0, "peak": 220.0, "by_process": {"fusion": 80.0, "lidar_encoder": 130.0},
        "by_minute": {"1": {"sum": 210.0, "anonymous": 120.0}},
    }  # fmt: skip


def test_the_table_says_the_same(run):
    text = table(summarise(run))
    assert "FULL 30, DEGRADED 10" in text
    assert "97.5% (1 missed)" in text
    assert "lidar pulled from 1.0 to 2.0 s: 10 messages, longest gap 100 ms" in text
    assert "fused       4 correct" in text
    assert "siren" in text


def test_a_run_without_output_is_a_problem_and_still_a_summary(run):
    summary = summarise(replace(run, entries=[], frames=[]))
    assert "no fused message with all sources" in problems(summary)
    assert table(summary)


def test_not_a_number_becomes_null():
    assert plain({"a": (float("nan"), 1.0)}) == {"a": [None, 1.0]}
