"""Numbers of a configuration that make no grid, and why a number is what the import prints."""

from __future__ import annotations

from pathlib import Path

import pytest
from pillar_graphs import AUTOWARE, OPENPCDET, centerpoint, pointpillars

from edge_perception.core.errors import ManifestError, ModelError
from edge_perception.encoders.lidar.pillars import PillarPreprocessing
from edge_perception.releases.recognising import Recognised, recognise

ORIGIN = {"origin_m": [0.0, 0.0, 0.0]}
RANGE = "point_cloud_range: [-8.0, -4.0, -3.0, 8.0, 4.0, 5.0]"
VOXEL = "voxel_size: [0.5, 0.5, 8.0]"


def of_autoware(folder: Path, text: str) -> Recognised:
    encoder, head, config = centerpoint(folder)
    config.write_text(text)
    return recognise(encoder, parts=[head], config=config)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (VOXEL, "voxel_size: [0.0, 0.5, 8.0]"),
        (VOXEL, "voxel_size: [0.00001, 0.00001, 8.0]"),
        (VOXEL, "voxel_size: [.nan, 0.5, 8.0]"),
        (VOXEL, "voxel_size: [0.5]"),
        (RANGE, "point_cloud_range: [8.0, 4.0, 5.0, -8.0, -4.0, -3.0]"),
        (RANGE, "point_cloud_range: [-.inf, -4.0, -3.0, .inf, 4.0, 5.0]"),
    ],
)
def test_bounds_that_make_no_grid_are_named(tmp_path: Path, before: str, after: str) -> None:
    assert before in AUTOWARE
    with pytest.raises(ModelError, match=r"of a grid of 1 to \d+ cells, got"):
        of_autoware(tmp_path, AUTOWARE.replace(before, after))


def test_a_manifest_of_a_grid_that_nothing_can_hold_is_refused() -> None:
    bounds = (-8.0, -4.0, -3.0, 8.0, 4.0, 5.0)
    with pytest.raises(ManifestError, match="expected a grid of 1 to 16777216 cells, got 800000"):
        PillarPreprocessing(range_m=bounds, voxel_m=(1e-5, 1e-5, 8.0), max_points=5, max_pillars=9)
    with pytest.raises(ManifestError, match="expected min below max and positive voxels"):
        PillarPreprocessing(
            range_m=(*bounds[:3], float("inf"), 4.0, 5.0), voxel_m=(1.0, 1.0, 8.0),
            max_points=5, max_pillars=9,
        )  # fmt: skip


def test_a_number_that_no_file_says_is_not_said_to_be_of_one(tmp_path: Path) -> None:
    """Autoware has the thresholds in another file than the rest."""
    lines = ("    score_threshold: 0.4\n", "    circle_nms_dist_threshold: 0.5\n")
    less = AUTOWARE
    for line in lines:
        assert line in less
        less = less.replace(line, "")
    rows = {row.name: row for row in of_autoware(tmp_path, less).assumptions}
    for name, value in (("score_threshold", "0.35"), ("circle_m", "0.5")):
        assert (rows[name].value, rows[name].why) == (value, "usual; no file says it")
    whole = {row.name: row for row in of_autoware(tmp_path, AUTOWARE).assumptions}
    for name in ("score_threshold", "circle_m", "max_pillars"):
        assert whole[name].why == "'centerpoint_ml_package.param.yaml'"
    zero = AUTOWARE.replace("score_threshold: 0.4", "score_threshold: 0.0")
    none = {row.name: row for row in of_autoware(tmp_path, zero).assumptions}["score_threshold"]
    assert (none.value, none.why.partition(",")[0]) == (
        "0.001",
        "'centerpoint_ml_package.param.yaml' has 0",
    )


def test_pillars_and_points_are_told_by_what_decides_them(tmp_path: Path) -> None:
    path = pointpillars(tmp_path)
    config = tmp_path / "pointpillar.yaml"
    text = OPENPCDET.replace("'test': 60", "'test': 40000")
    config.write_text(text.replace("MAX_POINTS_PER_VOXEL: 5", "MAX_POINTS_PER_VOXEL: 32"))
    told = recognise(path, config=config, said=ORIGIN)
    rows = {row.name: (row.value, row.why) for row in told.assumptions}
    assert rows["max_points"] == ("5", "shape of the input")
    assert rows["max_pillars"][0] == "12000"
    assert rows["max_pillars"][1].startswith("'pointpillar.yaml' has 40000;")


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        ("NUM_DIR_BINS: 2", "NUM_DIR_BINS: 0", "NUM_DIR_BINS: expected 2, got 0"),
        ("NUM_DIR_BINS: 2", "NUM_DIR_BINS: 4", "NUM_DIR_BINS: expected 2, got 4"),
        ("NUM_DIR_BINS: 2", "USE_DIRECTION_CLASSIFIER: False", "the graph gives directions"),
        ("DIR_OFFSET: 0.78539", "DIR_OFFSET: null", "pointpillar.yaml: DENSE_HEAD: not as"),
        (
            "DIR_OFFSET: 0.78539",
            "TARGET_ASSIGNER_CONFIG: {BOX_CODER: PointResidualCoder}",
            "BOX_CODER: expected ResidualCoder, got PointResidualCoder",
        ),
        (
            "DIR_OFFSET: 0.78539",
            "TARGET_ASSIGNER_CONFIG: {BOX_CODER_CONFIG: {encode_angle_by_sincos: True}}",
            "ResidualCoder with encode_angle_by_sincos",
        ),
        ("align_center: False", "align_center: True", "the same for all anchors, got both"),
        ("'test': 60", "'test': -1", "pillars and points of at least 1, got -1"),
    ],
)
def test_a_head_whose_boxes_are_made_otherwise_is_refused(
    tmp_path: Path, before: str, after: str, text: str
) -> None:
    path = pointpillars(tmp_path)
    config = tmp_path / "pointpillar.yaml"
    config.write_text(OPENPCDET.replace(before, after, 1))
    with pytest.raises(ModelError) as caught:
        recognise(path, config=config, said=ORIGIN)
    assert text in str(caught.value)
