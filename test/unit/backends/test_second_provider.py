"""Chains with a provider that really takes nodes: a build of ONNX Runtime with OpenVINO in it.

`make setup-backends` puts it into .venv-provider. It is one Python package with onnxruntime, so it
runs in a process of its own.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SITE = ROOT / ".venv-provider"
OPENVINO, CPU = "OpenVINOExecutionProvider", "CPUExecutionProvider"
ROLES = ("camera", "lidar", "audio", "fusion")

pytestmark = pytest.mark.skipif(
    not (SITE / "onnxruntime").is_dir(),
    reason="ONNX Runtime with OpenVINO in it is not in .venv-provider: run `make setup-backends`",
)

LOAD = """
import json, sys
import numpy as np
import onnxruntime
from pathlib import Path
from edge_perception.backends import BackendOptions, backends
from edge_perception.core.errors import BackendError
from edge_perception.models.golden import read_golden
from edge_perception.models.manifest import load_bundle

assert Path(onnxruntime.__file__).is_relative_to(sys.argv[1]), onnxruntime.__file__
for role, options in json.loads(sys.argv[2]):
    bundle = load_bundle(Path("models/bev_lite") / role)
    try:
        session = backends()["onnxruntime"].load(bundle.model_path, BackendOptions(**options))
    except BackendError as error:
        print(json.dumps({"refused": str(error)}))
        continue
    inputs, golden = read_golden(bundle)
    outputs = session.infer(inputs)
    worst = max(float(np.abs(outputs[name] - golden[name]).max()) for name in golden)
    info = session.describe()
    told = {"provider": info.provider, "nodes": info.assignment, "notes": info.notes}
    print(json.dumps(told | {"worst": worst}))
    session.close()
"""


def loaded(*asked):
    """Return what sessions of (role, options) say, or why they are refused."""
    run = subprocess.run(
        [sys.executable, "-c", LOAD, str(SITE), json.dumps(asked)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(SITE), *filter(None, sys.path)])},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    return [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]


def test_a_chain_runs_the_bundled_models_where_it_says():
    for told in loaded(*((role, {"provider": ["openvino", "cpu"]}) for role in ROLES)):
        assert told["provider"] == OPENVINO
        assert told["nodes"].get(OPENVINO, 0) > 10
        assert not told["notes"]
        assert told["worst"] < 2e-3, "in single precision, not in what the processor is fastest at"


def test_automatic_takes_it_and_its_options_reach_it():
    automatic, named = loaded(
        ("lidar", {"provider": ["auto"]}),
        (
            "lidar",
            {
                "provider": ["openvino"],
                "provider_options": {"openvino": {"device_type": "CPU"}},
                "strict": True,
            },
        ),
    )
    for told in (automatic, named):
        assert told["provider"] == OPENVINO
        assert not told["notes"]


def test_a_provider_that_is_there_and_takes_nothing_is_not_called_active():
    # A device that it has not, of a name it does not know: it starts, and runs no node.
    idle = {
        "provider": ["openvino", "cpu"],
        "provider_options": {"openvino": {"device_type": "TPU"}},
    }
    told, refused = loaded(("audio", idle), ("audio", {**idle, "strict": True}))
    assert told["provider"] == CPU
    assert OPENVINO not in told["nodes"]
    assert f"{OPENVINO} runs none of" in " ".join(told["notes"])
    assert f"{OPENVINO} runs none of" in refused["refused"]


@pytest.mark.parametrize("wrong", [{"device_type": "GPU.7"}, {"no_such_option": "1"}])
def test_one_that_cannot_start_is_skipped_and_said_or_refused(wrong):
    options = {"provider": ["openvino", "cpu"], "provider_options": {"openvino": wrong}}
    told, refused = loaded(("audio", options), ("audio", {**options, "strict": True}))
    assert told["provider"] == CPU
    assert f"{OPENVINO} could not be started" in " ".join(told["notes"])
    assert f"{OPENVINO} could not be started" in refused["refused"]
