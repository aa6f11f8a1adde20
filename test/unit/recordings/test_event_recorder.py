"""Ring buffer, events, quota and triggers, without ROS."""

import contextlib
import random
import resource
from dataclasses import replace
from types import SimpleNamespace

import pytest

from edge_perception.core.errors import UnknownNameError
from edge_perception.encoders import locates
from edge_perception.recordings.reader import Recording
from edge_perception.recordings.ring import EventRecorder, RingOptions
from edge_perception.recordings.triggers import TriggerOptions, Triggers
from edge_perception.recordings.writer import Topic

NS = 10**9
TOPIC = Topic(name="/a", type="std_msgs/msg/Header", definition="string x\n")


def recorder(folder, **options):
    return EventRecorder(folder, [TOPIC], RingOptions(**options))


def feed(kept, start_s, end_s, size=10):
    for tenth in range(round(start_s * 10), round(end_s * 10)):
        kept.message("/a", bytes(size), tenth * NS // 10)


def test_a_file_holds_the_seconds_before_and_after(tmp_path):
    kept = recorder(tmp_path, before_s=2.0, after_s=1.0)
    feed(kept, 1, 10)
    kept.event("mode changed", 10 * NS)
    assert not list(tmp_path.glob("*.mcap")), "a file has its name when it is complete"
    feed(kept, 10, 20)
    (path,) = tmp_path.glob("*.mcap")
    times = [m.log_time_ns / NS for m in Recording(path).messages()]
    assert times[0] == pytest.approx(7.9)
    assert times[-1] == pytest.approx(11.0)
    assert len(times) == 32
    assert "mode changed" in Recording(path).metadata("events")["0"]


def test_an_event_meanwhile_prolongs_the_file(tmp_path):
    kept = recorder(tmp_path, before_s=1.0, after_s=2.0)
    feed(kept, 1, 5)
    kept.event("one", 5 * NS)
    feed(kept, 5, 6)
    kept.event("two", 6 * NS)
    feed(kept, 6, 12)
    (path,) = kept.files
    assert max(m.log_time_ns for m in Recording(path).messages()) == 8 * NS
    assert len(Recording(path).metadata("events")) == 2


def test_what_was_told_once_begins_every_file(tmp_path):
    """The format of sound, a calibration, static transforms: long gone from the ring."""
    topics = [TOPIC, *(replace(TOPIC, name=name) for name in ("/format", "/static"))]
    kept = EventRecorder(
        tmp_path,
        topics,
        RingOptions(before_s=1.0, after_s=1.0),
        holding={"/format": 1, "/static": 10},
    )
    for name, data in (("/format", b"old"), ("/format", b"new"), ("/static", b"a")):
        kept.message(name, data, NS)
    kept.message("/static", b"b", 2 * NS)
    kept.message("/static", b"a", 3 * NS)  # heard twice
    for start_s in (5, 20):
        feed(kept, start_s, start_s + 5)
        kept.event("one", (start_s + 5) * NS)
        feed(kept, start_s + 5, start_s + 8)
    for path in kept.files:
        told = [(m.topic, m.data) for m in Recording(path).messages(["/format", "/static"])]
        assert told == [("/format", b"new"), ("/static", b"a"), ("/static", b"b")]
        assert next(Recording(path).messages()).topic == "/format"
    assert len(kept.files) == 2


@contextlib.contextmanager
def no_file_may_grow():
    """The kernel refuses what a full disk refuses, for this process and without one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("full_from_tenth", [99, 104, 110])
def test_a_full_disk_costs_one_file_and_is_told(tmp_path, full_from_tenth):
    kept, told = recorder(tmp_path, before_s=2.0, after_s=1.0), []
    kept._say = told.append
    feed(kept, 1, 9.9)
    with contextlib.ExitStack() as disk:
        for tenth in range(99, 121):
            if tenth == full_from_tenth:
                disk.enter_context(no_file_may_grow())
            if tenth == 100:
                kept.event("one", 10 * NS)
            kept.message("/a", random.randbytes(500_000), tenth * NS // 10)
    assert "File too large" in kept.problem
    assert kept.problem in told
    assert not kept.files
    assert not list(tmp_path.iterdir()), "nothing is left of a file that was cut short"
    kept.event("two", 12 * NS)
    feed(kept, 12.1, 14)
    assert kept.problem == ""
    (path,) = kept.files
    assert max(m.log_time_ns for m in Recording(path).messages()) == 13 * NS


def test_the_ring_is_bounded_and_says_what_it_forgot(tmp_path):
    kept = recorder(tmp_path, before_s=100.0, memory_mb=1.0)
    feed(kept, 1, 11, size=100_000)
    kept.event("late", 11 * NS)
    kept.finish()
    assert kept.forgotten == 90
    assert len(list(Recording(kept.files[0]).messages())) == 10


def test_the_oldest_files_go_when_the_folder_is_full(tmp_path):
    import random

    kept = recorder(tmp_path, before_s=0.5, after_s=0.5, quota_mb=1.0)
    noise = random.Random(1)
    for event in range(1, 6):
        for part in range(3):
            kept.message("/a", noise.randbytes(100_000), event * 10 * NS + part)
        kept.event("full", event * 10 * NS + 3)
        kept.finish()
    left = sorted(tmp_path.glob("*.mcap"))
    assert left == sorted(kept.files[-3:])


def test_silence_ends_a_file_and_a_killed_recorder_leaves_nothing(tmp_path):
    (tmp_path / "event_1_x.mcap.partial").write_bytes(b"half")
    kept = recorder(tmp_path, after_s=1.0)
    assert not list(tmp_path.glob("*.partial"))
    kept.message("/a", b"1234", NS)
    kept.event("x", NS)
    kept.tick(NS + 1)
    assert not kept.files
    kept.tick(3 * NS)
    assert len(kept.files) == 1


def fused(mode=3, scores=(), versions=("1",), sources=(("camera", "lidar"),), given_up=""):
    return SimpleNamespace(
        mode=mode,
        models=[SimpleNamespace(role="lidar", name="m", version=v, sha256=v) for v in versions],
        sources=[
            SimpleNamespace(
                source=s, modality=s, contributed=True, given_up=given_up * (s == "lidar")
            )
            for s in ("camera", "lidar")
        ],
        objects=[
            SimpleNamespace(
                class_name="car", score=score, center=SimpleNamespace(x=5.0, y=1.0),
                sources=list(sources[min(i, len(sources) - 1)]),
            )
            for i, score in enumerate(scores)
        ],
    )  # fmt: skip


def told(triggers, message):
    return list(triggers.look(message).values())


def test_mode_changes_and_swaps_are_told_once():
    triggers = Triggers(TriggerOptions(), locates=locates)
    assert told(triggers, fused()) == []
    assert told(triggers, fused(mode=2)) == ["mode FULL became DEGRADED"]
    assert told(triggers, fused(mode=2)) == []
    assert told(triggers, fused(mode=2, versions=("2",))) == ["swap of lidar to m 2"]


def test_a_model_that_stands_in_under_load_is_no_swap():
    triggers = Triggers(TriggerOptions(), locates=locates)
    assert told(triggers, fused()) == []
    assert told(triggers, fused(given_up="variant m")) == ["load control of lidar: variant m"]
    assert told(triggers, fused(versions=("small",), given_up="variant m")) == []
    assert told(triggers, fused(versions=("small",))) == [
        "load control of lidar: nothing given up"
    ], "the message may still be fused of the frame before"
    assert told(triggers, fused()) == []
    assert told(triggers, fused(versions=("2",))) == ["swap of lidar to m 2"]


def test_uncertainty_and_disagreement():
    triggers = Triggers(TriggerOptions(uncertain_objects=3, alone_messages=2), locates=locates)
    unsure = fused(scores=(0.4, 0.35, 0.45))
    assert told(triggers, unsure) == ["uncertainty: 3 objects score 0.3 to 0.5"]
    assert told(triggers, unsure) == []
    alone = fused(scores=(0.9,), sources=(("lidar",),))
    assert told(triggers, alone) == []
    assert told(triggers, alone) == ["disagreement: car of lidar alone"]
    assert told(triggers, alone) == []


def test_unknown_triggers_are_refused():
    with pytest.raises(
        UnknownNameError, match=r"known: condition, disagreement, doubt, drift, .* uncertainty"
    ):
        TriggerOptions(kinds=("mood",))


def test_parameters_lie_beside_each_file_and_go_with_it(tmp_path):
    kept = EventRecorder(
        tmp_path, [TOPIC], RingOptions(before_s=0.0, after_s=0.0, quota_mb=1.0), parameters="a: 1\n"
    )
    for number in range(1, 4):
        kept.event(f"mode {number}", number * NS)
        kept.message(TOPIC.name, random.Random(number).randbytes(700_000), number * NS)
        kept.finish()
    (left,) = tmp_path.glob("*.mcap")
    assert [p.name for p in tmp_path.glob("*.params.yaml")] == [
        left.name.replace(".mcap", ".params.yaml")
    ]
    assert left.with_name(left.name.replace(".mcap", ".params.yaml")).read_text() == "a: 1\n"
