"""The command as CI runs it: exit status, files, thresholds, sweeps, Ray."""

import csv
import json
import re
from xml.etree import ElementTree

import pytest

from edge_perception.cli.main import main
from edge_perception.recordings.reader import open_recording
from edge_perception.validation.result import RESULT_SCHEMA


def validate(*args):
    return main(["validate", "--quiet", *map(str, args)])


@pytest.fixture(scope="module")
def out(drive, baseline, tmp_path_factory):
    """The reports of a run that passed."""
    folder = tmp_path_factory.mktemp("passed") / "report"
    assert validate(drive, "--baseline", baseline, "--out", folder) == 0
    return folder


def test_a_passing_run_writes_every_report(out):
    result = json.loads((out / "result.json").read_text())
    assert result["schema"] == RESULT_SCHEMA
    assert result["passed"] is True
    assert re.fullmatch(r"[0-9a-f]{64}", result["sha256"])
    assert result["throughput_ratio"] > 0
    assert result["peak_mb"] > 0
    assert result["baseline"]["same_bytes"]
    assert 0 < result["metrics"]["recall"] <= 1
    page = (out / "index.html").read_text()
    assert page.count("<svg") >= 4
    assert not re.search(r"(src|href)=[\"']https?://", page), "the page needs no network"
    suite = ElementTree.parse(out / "junit.xml").getroot().find("testsuite")
    assert int(suite.get("failures")) == 0
    bag = open_recording(out / "result.mcap")
    assert set(bag.topics) == {"/perception/fused", "/perception/markers"}
    assert bag.message_count == 2 * result["metrics"]["messages"]
    lines = (out / "fused.jsonl").read_text().splitlines()
    assert len(lines) == result["metrics"]["messages"]


def test_the_result_recording_reads_as_ros_messages(out):
    serialization = pytest.importorskip("rclpy.serialization")
    from visualization_msgs.msg import MarkerArray

    from edge_perception.msg import FusedPerception

    records = [json.loads(line) for line in (out / "fused.jsonl").read_text().splitlines()]
    bag = open_recording(out / "result.mcap")
    for record, found in zip(records, bag.messages(["/perception/fused"]), strict=True):
        message = serialization.deserialize_message(found.data, FusedPerception)
        assert message.sequence == record["sequence"]
        assert message.mode == ["NONE", "MINIMAL", "DEGRADED", "FULL"].index(record["mode"])
        assert [o.class_name for o in message.objects] == [
            o["class_name"] for o in record["objects"]
        ]
        assert message.end_to_end_s == pytest.approx(record["end_to_end_s"] or 0, abs=1e-4) or (
            record["end_to_end_s"] is None
        )
    markers = serialization.deserialize_message(
        next(bag.messages(["/perception/markers"])).data, MarkerArray
    )
    assert markers.markers


def test_a_dropped_sensor_fails_and_names_the_change(drive, baseline, tmp_path, capsys):
    assert validate(drive, "--baseline", baseline, "--drop", "lidar:1-3", "--out", tmp_path) == 1
    said = capsys.readouterr().out
    assert "lidar does not contribute any more" in said
    suite = ElementTree.parse(tmp_path / "junit.xml").getroot().find("testsuite")
    assert int(suite.get("failures")) > 0
    assert "data:image/jpeg" in (tmp_path / "index.html").read_text(), "worst frames are shown"


def test_limits_and_an_earlier_result_as_thresholds(drive, tmp_path, capsys):
    limits = tmp_path / "limits.yaml"
    limits.write_text("schema: edge_perception/thresholds/1\nlimits: {min_recall: 1.0}\n")
    assert validate(drive, "--thresholds", limits, "--out", tmp_path / "a") == 1
    assert "limit: recall" in capsys.readouterr().out
    earlier = tmp_path / "a" / "result.json"
    worse = ("--drop", "lidar:0-4")
    assert validate(drive, "--thresholds", earlier, "--out", tmp_path / "c", *worse) == 1
    limits.write_text("schema: edge_perception/thresholds/1\nlimits: {recall: 1.0}\n")
    assert validate(drive, "--thresholds", limits, "--out", tmp_path / "d") == 2


def test_a_sweep_gives_a_summary_table(drive, tmp_path):
    grid = ("--sweep", "fusion.decision.min_score=0.2|0.5", "--sweep", "subset=|lidar,audio")
    assert validate(drive, *grid, "--jobs", "2", "--out", tmp_path) == 0
    with (tmp_path / "summary.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4
    objects = [int(row["objects"]) for row in rows]
    assert objects[0] > objects[2], "a higher threshold leaves fewer objects"
    assert "<svg" in (tmp_path / "index.html").read_text()
    assert len(json.loads((tmp_path / "result.json").read_text())["bags"]) == 4


@pytest.mark.timeout(180)
def test_the_same_bytes_on_a_local_ray_instance(replay):
    pytest.importorskip("ray", reason="ray is not installed: the extra `ray`")
    here = replay(segment_s=2.0, warm_up_s=1.5)
    there = replay(segment_s=2.0, warm_up_s=1.5, jobs=2, ray="local")
    assert not there.failure, there.failure
    assert there.account["segments"] == 2
    assert there.account["sha256"] == here.account["sha256"]
