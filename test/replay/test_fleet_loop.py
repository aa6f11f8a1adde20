"""`mine find` on a recording, and `fleet loop` from what it found to a proposal or a refusal."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from copies import another_drive, brighter, copy_recording

from edge_perception.cli.main import main
from edge_perception.core.share import share_file
from edge_perception.recordings.own_parameters import parameters_path
from edge_perception.recordings.reader import Recording, open_recording
from edge_perception.recordings.writer import RecordingWriter

SHORT_NS = 1_000_000_000
ROBOTS = 6


@pytest.fixture(scope="module")
def short(drive, tmp_path_factory):
    """The first second of the drive."""
    until_ns = open_recording(drive).start_ns + SHORT_NS
    path = tmp_path_factory.mktemp("short") / "short.mcap"
    return copy_recording(drive, path, lambda m: m if m.log_time_ns < until_ns else None)


@pytest.fixture(scope="module")
def found(short, tmp_path_factory):
    out = tmp_path_factory.mktemp("found")
    asked = ["--triggers", "disagreement", "--before", "0.3", "--after", "0.2"]
    assert main(["mine", "find", str(short), "--out", str(out), *asked]) == 0
    return out


def test_found_moments_are_files_of_the_recorder(found, short):
    (path,) = sorted(found.glob("*.mcap"))
    kept, whole = open_recording(path), open_recording(short)
    assert set(kept.topics) == {*whole.topics, "/perception/fused"}
    (text,) = kept.metadata("events").values()
    at_ns, _, reason = text.partition(": ")
    assert reason == "disagreement: car of lidar alone"
    stamps = [m.log_time_ns for m in kept.messages(["/perception/fused"])]
    assert int(at_ns) in stamps
    assert int(at_ns) - 3e8 <= stamps[0] < stamps[-1] <= int(at_ns) + 2e8
    assert parameters_path(path).is_file()


def test_a_trigger_that_is_none_is_refused_by_name(short, tmp_path, capsys):
    asked = ["mine", "find", str(short), "--out", str(tmp_path / "none")]
    assert main([*asked, "--triggers", "moon"]) == 2
    assert "unknown trigger 'moon'" in capsys.readouterr().err


def copy_for(robot, number, found, folder):
    """The same moments as another robot would have kept them."""
    folder.mkdir(parents=True)
    for path in found.glob("*.mcap"):
        kept = Recording(path)
        with RecordingWriter(folder / path.name) as writer:
            for topic in kept.topics.values():
                writer.add_topic(topic)
            for message in kept.messages():
                seen = brighter(message, number)
                writer.write(seen.topic, seen.data, log_time_ns=seen.log_time_ns)
            writer.add_metadata("events", dict(kept.metadata("events")))
            writer.add_metadata("robot", {"name": robot})
        shutil.copy(parameters_path(path), folder)


@pytest.fixture
def loop(drive, found, tmp_path):
    """Runs the loop on drives that were driven and mined before."""
    for module in ("tuf", "obstore"):
        pytest.importorskip(module, reason=f"{module}: `make setup-fleet` (extra `fleet`)")
    out = tmp_path / "loop"
    (out / "drives").mkdir(parents=True)
    for number in range(ROBOTS):
        robot = f"robot-{number:02}"
        another_drive(drive, out / "drives" / f"{robot}_{7000 + number}_1s.mcap", number)
        copy_for(robot, number, found, out / "robots" / robot / "events")
    (out / "robots" / "robot-00" / "events" / "event_1_broken.mcap").write_bytes(b"cut off")

    def run(models: Path, candidate: Path) -> int:
        asked = ["--out", str(out), "--models", str(models), "--candidate", str(candidate)]
        sizes = ["--robots", str(ROBOTS), "--seconds", "1", "--held-out", "0.8"]
        return main(["fleet", "loop", "--simulated", *asked, *sizes])

    return run


def test_the_loop_proposes_what_is_better_and_does_nothing_twice(loop, tmp_path, capsys):
    from edge_perception.models.manifest import load_bundle
    from edge_perception.releases.repacking import repack

    good, bad, candidate = share_file("models/bev_lite"), tmp_path / "bad", tmp_path / "candidate"
    for role in ("camera", "lidar", "audio"):
        (bad / role).parent.mkdir(exist_ok=True)
        (bad / role).symlink_to(good / role)
    repack(load_bundle(good / "fusion"), bad / "fusion", changes={"version": "0.0.1"}, scale=0.3)
    shutil.copytree(good / "fusion", candidate)
    (candidate / "signatures.json").unlink()
    assert loop(bad, candidate) == 0
    told = capsys.readouterr().out
    assert [line.split()[0] for line in told.splitlines()] == [
        *("drives", "mined", "uploaded", "collected", "left", "exported", "labelled"),
        *("left", "set", "judged", "proposed"),
    ]
    assert f"uploaded   {ROBOTS + 1} new" in told
    assert "event_1_broken.mcap" in told  # one of many is left out, and not the end of all
    assert "better: mAP" in told
    registry = tmp_path / "loop" / "registry"
    assert main(["registry", "status", str(registry), "--json"]) == 0
    (release,) = json.loads(capsys.readouterr().out)["release"]
    assert release["channels"] == "dev"
    evidence = json.loads((tmp_path / "loop" / "evidence.json").read_text())
    assert (evidence["better"], evidence["groups"]) == (True, 5)
    # Again: what is there is not sent or collected; what serves already is no candidate.
    assert loop(good, candidate) == 2
    said = capsys.readouterr()
    assert "uploaded   0 new" in said.out
    assert f"collected  0 new, {ROBOTS + 1} known" in said.out
    assert "is what serves already" in said.err
