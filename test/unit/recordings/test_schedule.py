import pytest

from edge_perception.core.errors import ConfigurationError, UnknownNameError
from edge_perception.recordings.reader import Recording
from edge_perception.recordings.schedule import (
    Cut,
    PlayPlan,
    StampMap,
    loop_period_ns,
    parse_cut,
    schedule,
)


def test_messages_are_due_at_their_distance_from_the_start(recording_path):
    due = list(schedule(Recording(recording_path), PlayPlan()))
    assert len(due) == 40
    assert due[0].due_s == 0.0
    assert [d.due_s for d in due if d.message.topic == "/lidar/points"] == pytest.approx(
        [index * 0.1 for index in range(20)]
    )


def test_rate_start_and_duration(recording_path):
    plan = PlayPlan(rate=2.0, start_s=0.95, duration_s=0.5, topics=("/audio",))
    due = list(schedule(Recording(recording_path), plan))
    # chunks of 1.001, 1.101, … 1.401 s, at twice the speed
    assert [d.due_s for d in due] == pytest.approx([0.0255, 0.0755, 0.1255, 0.1755, 0.2255])


def test_loops_keep_topics_periodic_across_the_seam(recording_path):
    recording = Recording(recording_path)
    due = list(schedule(recording, PlayPlan(loops=2, topics=("/lidar/points",))))
    assert [d.loop for d in due] == [0] * 20 + [1] * 20
    seam_s = due[20].due_s - due[19].due_s
    assert seam_s == pytest.approx(0.1, abs=0.002)


def test_cuts_withhold_only_their_topic_in_their_window(recording_path):
    plan = PlayPlan(cuts=(parse_cut("lidar:0.5-1"),))
    due = list(schedule(Recording(recording_path), plan))
    cut = [d for d in due if d.cut is not None]
    assert {d.message.topic for d in cut} == {"/lidar/points"}
    assert [d.due_s for d in cut] == pytest.approx([0.5, 0.6, 0.7, 0.8, 0.9])


@pytest.mark.parametrize(
    ("name", "topic", "expected"),
    [
        ("lidar", "/lidar/points", True),
        ("lidar", "/vehicle/lidar/points", True),
        ("audio", "/audio", True),
        ("/camera/image_raw", "/camera/image_raw/compressed", True),
        ("camera", "/camera_rear/image_raw", False),
        ("points", "/lidar/points_raw", False),
    ],
)
def test_a_cut_is_about_whole_parts_of_a_name(name, topic, expected):
    assert Cut(name=name, start_s=0.0, end_s=1.0).matches(topic) is expected


@pytest.mark.parametrize("text", ["lidar", "lidar:6", "lidar:9-6", "lidar:6-6", ":1-2", "a:x-y"])
def test_malformed_cuts_are_refused(text):
    with pytest.raises(ConfigurationError, match="cut"):
        parse_cut(text)


def test_values_out_of_range_are_refused_with_the_range(recording_path):
    with pytest.raises(ConfigurationError, match=r"play\.rate: expected 0\.01 to 100"):
        PlayPlan(rate=0.0)
    with pytest.raises(ConfigurationError, match="expected a start before"):
        next(schedule(Recording(recording_path), PlayPlan(start_s=60.0)))
    with pytest.raises(UnknownNameError, match="/radar"):
        next(schedule(Recording(recording_path), PlayPlan(topics=("/radar",))))


@pytest.mark.parametrize("rate", [0.5, 1.0, 4.0])
def test_played_stamps_lead_back_to_the_recorded_ones(rate, recording_path):
    recording = Recording(recording_path)
    period_ns = loop_period_ns(recording, PlayPlan())
    stamps = StampMap(
        recording_start_ns=recording.start_ns,
        play_start_ns=2_000_000_000_000_000_123,
        period_ns=period_ns,
        rate=rate,
    )
    for loop in range(3):
        for message in recording.messages():
            played = stamps.to_played(message.log_time_ns, loop)
            assert stamps.to_recorded(played) == pytest.approx(message.log_time_ns, abs=8)
    early = recording.start_ns - 5_000_000  # a stamp from before the first arrival
    assert stamps.to_recorded(stamps.to_played(early)) == pytest.approx(early, abs=8)
