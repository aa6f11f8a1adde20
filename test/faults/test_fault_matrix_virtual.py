"""The fault matrix in virtual time, and that the matrix can fail."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from edge_perception.core.errors import ConfigurationError, UnknownNameError
from edge_perception.core.types import Mode
from edge_perception.encoders import source_defaults
from edge_perception.faults.injector import parse_injection
from edge_perception.faults.matrix import START_S, clean_run, rows, run_virtual
from edge_perception.faults.report import draw, table, write_json
from edge_perception.faults.streams import FAULTS
from edge_perception.faults.virtual import SOURCES, VirtualRun
from edge_perception.fusion.config import FusionConfig, SourceConfig

ROWS = {row.name: row for row in rows()}


@pytest.mark.parametrize("name", ROWS)
def test_every_fault_is_named_in_time_and_forgotten_in_time(name):
    result = run_virtual(ROWS[name])
    assert result.passed, f"{result.seen}: {result.problems}"


@pytest.mark.parametrize("phases_ms", [(0, 50, 99), (70, 45, 5), (95, 5, 40)])
def test_a_dead_source_is_named_within_two_periods_in_every_phase(phases_ms):
    phase_s = {name: ms / 1e3 for name, ms in zip(SOURCES, phases_ms, strict=True)}
    for source in SOURCES:
        for fault in ("dead", "encoder killed,"):
            result = run_virtual(ROWS[f"{fault} {source}"], phase_s=phase_s)
            assert result.detection_ms <= 200.0, (fault, source)


def test_every_stream_fault_is_in_the_matrix():
    used = {fault for row in rows() for fault, _ in row.streams}
    assert used == set(FAULTS)


def test_no_false_alarm_with_jitter_and_lost_frames():
    alarms, _, longest_gap_s = clean_run(2.0)
    assert alarms == 0
    assert longest_gap_s < 0.35


def test_the_matrix_fails_where_a_dead_source_is_called_fine():
    slow = FusionConfig(
        sources=tuple(
            SourceConfig(
                **source_defaults(name, late_after_s=1.0, stale_after_s=1.5, missing_after_s=2.0)
            )
            for name in SOURCES
        )
    )
    row = ROWS["dead lidar"]
    result = run_virtual(row, config=slow)
    assert not result.passed
    assert result.wrong_ok_s > 0.1
    assert result.detection_ms > 300


def test_the_matrix_fails_where_something_is_raised_without_a_reason():
    row = ROWS["black image"]
    quiet = replace(row.expectation, states=(), modes=tuple(Mode), worthless=False)
    result = run_virtual(replace(row, expectation=quiet))
    assert any("raised although" in problem for problem in result.problems)


def test_confidence_falls_and_the_stop_is_asked_for():
    row = ROWS["dead camera+lidar"]
    run = VirtualRun(injections=row.injections(START_S, 6.0))
    observed = run.run(8.5)
    before = [item for item in observed if 2.0 < item.at_s < START_S]
    during = [item for item in observed if 4.5 < item.at_s < 6.0]
    after = [item for item in observed if item.at_s > 8.0]
    assert min(item.confidence for item in before) > 0.9
    assert max(item.confidence for item in during) < 0.2
    assert all(item.safe_stop and not item.valid for item in during)
    assert not any(item.safe_stop for item in (*before, *after))


def test_results_are_written(tmp_path):
    results = [run_virtual(ROWS[name]) for name in ("dead lidar", "rate doubled, camera")]
    write_json(tmp_path / "matrix.json", results, {})
    draw(tmp_path / "timeline.png", results)
    row = json.loads((tmp_path / "matrix.json").read_text())["rows"][0]
    assert row["fault"] == "dead lidar"
    assert row["passed"] is True
    assert row["wrong_ok_s"] == 0.0
    assert {"detection_ms", "recovery_ms", "longest_gap_ms"} <= row.keys()
    assert (tmp_path / "timeline.png").stat().st_size > 5000
    assert "dead lidar" in table(results)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("frozen:camera", ConfigurationError),
        ("melted:camera:1-2", UnknownNameError),
        ("frozen:audio:1-2", ConfigurationError),
        ("frozen:camera:3-2", ConfigurationError),
    ],
)
def test_a_wrong_injection_is_refused(text, error):
    with pytest.raises(error):
        parse_injection(text)
