"""Class names and configurations in text files, as editors and spreadsheets save them."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_perception.models.adapters._picture_config import read_picture_config
from edge_perception.releases.label_files import read_labels

NAMES = ["person", "bicycle", "car"]


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("classes.txt", "\ufeffperson\r\nbicycle\r\ncar\r\n"),  # as editors of Windows save it
        ("classes.txt", "0 person\n1 bicycle\n2 car"),
        ("classes.txt", "1: person\n2: bicycle\n3: car"),
        ("classes.tsv", "2\tcar\n0\tperson\n1\tbicycle"),
        ("classes.csv", "\ufeffid;name\n0;person\n1;bicycle\n2;car\n"),
        ("names.json", '\ufeff["person", "bicycle", "car"]'),
    ],
)
def test_class_names_as_editors_and_spreadsheets_save_them(
    tmp_path: Path, file: str, text: str
) -> None:
    (tmp_path / file).write_text(text, encoding="utf-8")
    assert read_labels(tmp_path / file) == NAMES


@pytest.mark.parametrize("names", [["3 wheeler", "4 wheeler"], ["0 a", "0 b"], ["car", "1 lorry"]])
def test_numbers_that_do_not_count_are_parts_of_names(tmp_path: Path, names: list[str]) -> None:
    (tmp_path / "classes.txt").write_text("\n".join(names))
    assert read_labels(tmp_path / "classes.txt") == names


def test_a_configuration_with_a_mark_of_its_encoding_is_read(tmp_path: Path) -> None:
    path = tmp_path / "preprocessor_config.json"
    text = '{"do_resize": true, "size": {"height": 64, "width": 96}, "model_type": "detr"}'
    path.write_text(text, encoding="utf-8-sig")
    assert read_picture_config(path).preprocessing["size"] == [96, 64]
