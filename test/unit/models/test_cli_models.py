"""`edge-perception models …` as a person types it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx_models import HEADS, bundle_of, constant_heads, tiny

from edge_perception.cli import main as cli
from edge_perception.cli.main import main
from edge_perception.models.manifest import file_entry

FIELDS = {
    "role": "lidar",
    "labels": ["car"],
    "preprocessing": {},
    "provenance": {"licence": "MIT"},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    models = tmp_path / "models"
    bundle_of(models / "lite" / "lidar", tiny(name="lite_lidar"), HEADS)
    return models


def test_list(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list", "--folder", str(folder)]) == 0
    line = next(x for x in capsys.readouterr().out.splitlines() if x.startswith("lite/lidar"))
    assert line.split()[1:4] == ["lidar", "1.0.0", "bev_center"]


def test_list_says_what_is_unusable(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "lite" / "lidar" / "model.onnx").unlink()
    assert main(["models", "list", "--folder", str(folder)]) == 0
    assert "unusable: model.onnx: cannot be read" in capsys.readouterr().out
    assert main(["models", "list", "--json", "--folder", str(folder)]) == 0
    entry = json.loads(capsys.readouterr().out)[0]
    assert entry["path_name"] == "lite/lidar"
    assert "cannot be read" in entry["error"]


def test_inspect(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "inspect", "lite_lidar", "--folder", str(folder)]) == 0
    assert "raster float32 (1, 2, 4, 4)" in capsys.readouterr().out
    assert main(["models", "inspect", "lite/lidar", "--json", "--folder", str(folder)]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["manifest"]["outputs"][0]["name"] == "heatmap"


def test_verify(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["models", "verify", "lite/lidar", "--folder", str(folder)]
    assert main(command) == 0
    assert re.search(r"heatmap: largest difference [\d.e-]+, passed", capsys.readouterr().out)
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["passed"] is True
    with (folder / "lite" / "lidar" / "model.onnx").open("r+b") as file:
        file.write(b"\xff")
    assert main(command) == 1
    assert "model.onnx: expected sha256" in capsys.readouterr().err


def test_verify_fails_on_other_outputs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The weights were exchanged and the manifest with them: only the golden outputs can tell."""
    path = folder / "lite" / "lidar"
    golden = (path / "golden_outputs.npz").read_bytes()
    other = bundle_of(folder / "other", tiny(name="other"), {"heatmap": HEADS["heatmap"] + 1})
    manifest = json.loads((other.path / "manifest.json").read_text())
    (other.path / "golden_outputs.npz").write_bytes(golden)
    entry = file_entry(other.path / "golden_outputs.npz")
    manifest["files"]["golden_outputs.npz"] = {"sha256": entry.sha256, "size": entry.size}
    (other.path / "manifest.json").write_text(json.dumps(manifest))
    assert main(["models", "verify", "other", "--folder", str(folder)]) == 1
    assert "FAILED: 16 of 16 values differ" in capsys.readouterr().out


def test_import_with_a_manifest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    heads = {"heatmap": np.zeros((1, 1, 4, 4)), "boxes": np.zeros((1, 8, 4, 4))}
    source = constant_heads(tmp_path / "bev.onnx", {"raster": (1, 11, 4, 4)}, heads)
    fields = tmp_path / "fields.json"
    fields.write_text(
        json.dumps(
            {**FIELDS, "preprocessing": {"x_range_m": [0, 8], "y_range_m": [-4, 4], "cell_m": 2}}
        )
    )
    into = tmp_path / "mine"
    command = ["models", "import", str(source), "--adapter", "bev_center", "--into", str(into)]
    command += ["--manifest", str(fields), "--feature", "scores=heatmap", "--version", "1.2.3"]
    assert main([*command, "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["features"] == {"scores": "heatmap"}
    assert data["version"] == "1.2.3"
    assert main(command) == 1
    assert "exists already" in capsys.readouterr().err
    assert main([*command, "--replace"]) == 0


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (["models", "inspect", "nope"], 2, "unknown model"),
        (["models", "verify", "../x"], 1, "not a path out of the folders"),
        (["models", "list", "--folder", "/nowhere"], 2, "expected a folder"),
        (["models", "import", "/no.onnx", "--adapter", "yolox"], 2, "/no.onnx: expected a file"),
    ],
)
def test_errors_are_one_line(
    arguments: list[str], status: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == status
    captured = capsys.readouterr()
    assert text in captured.err
    assert len(captured.err.splitlines()) == 1
    assert captured.out == ""


@pytest.mark.parametrize("arguments", [[], ["nope"], ["models"], ["models", "import"]])
def test_wrong_usage_is_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main(arguments)
    assert exit_info.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_command_that_cannot_be_imported_says_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.py").write_text("import a_package_that_is_not_there\n")
    (tmp_path / "greet.py").write_text(
        "NAME, HELP = 'greet', 'say hello'\n"
        "def add_arguments(parser): parser.add_argument('--loud', action='store_true')\n"
        "def run(args): print('HELLO' if args.loud else 'hello'); return 0\n"
    )
    monkeypatch.setattr(cli.edge_perception.cli, "__path__", [str(tmp_path)])
    assert main(["greet", "--loud"]) == 0
    assert capsys.readouterr().out == "HELLO\n"
    assert main(["broken", "--anything"]) == 1
    assert "a_package_that_is_not_there" in capsys.readouterr().err


def test_models_works_without_ros(folder: Path) -> None:
    """As on a machine with no ROS at all: every ROS package refuses to be imported."""
    script = (
        "import sys\n"
        "for name in ('rclpy', 'sensor_msgs', 'std_msgs', 'ament_index_python'):\n"
        "    sys.modules[name] = None\n"
        "from edge_perception.cli.main import main\n"
        f"sys.exit(main(['models', 'verify', 'lite_lidar', '--folder', {str(folder)!r}]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "passed" in done.stdout
