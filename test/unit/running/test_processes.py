import os
import signal
import sys
from pathlib import Path

import psutil
import pytest

from edge_perception.core.errors import ConfigurationError, UnknownNameError
from edge_perception.demo.session import default_cuts
from edge_perception.recordings.player import wait_for
from edge_perception.running.domain import DOMAINS, reserved_domain
from edge_perception.running.memory import Memory, memory_of
from edge_perception.running.processes import NodeDiedError, NodeProcesses
from edge_perception.samples.data import data_folder
from edge_perception.samples.models import choose_models

QUICK = ((signal.SIGINT, 0.5), (signal.SIGTERM, 0.5), (signal.SIGKILL, 2.0))
WAITS = "import time; print('ready', flush=True); time.sleep(60)"
STUBBORN = (
    "import signal, subprocess, sys, time\n"
    "for n in (signal.SIGINT, signal.SIGTERM): signal.signal(n, signal.SIG_IGN)\n"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
    "print(child.pid, flush=True); time.sleep(60)"
)


def processes(tmp_path, **codes):
    return NodeProcesses(
        {name: [sys.executable, "-c", code] for name, code in codes.items()},
        environment=os.environ,
        log_folder=tmp_path,
        patience=QUICK,
    )


def log_line(path: Path) -> str:
    assert wait_for(lambda: path.exists() and path.read_text().strip() != "", timeout_s=60)
    return path.read_text().strip()


def run_and_interrupt(nodes, log):
    with nodes:
        log_line(log)
        nodes.check()
        raise KeyboardInterrupt


def test_processes_end_with_the_context_even_on_an_error(tmp_path):
    nodes = processes(tmp_path, a=WAITS, b=WAITS)
    with pytest.raises(KeyboardInterrupt):
        run_and_interrupt(nodes, tmp_path / "a.log")
    pids = list(nodes.pids.values())
    assert len(pids) == 2
    assert not any(psutil.pid_exists(pid) for pid in pids)


def test_a_process_that_ignores_signals_is_killed_with_its_children(tmp_path):
    nodes = processes(tmp_path, stubborn=STUBBORN)
    with nodes:
        child = int(log_line(tmp_path / "stubborn.log"))
        assert psutil.pid_exists(child)

    def has_ended():
        return (
            not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE
        )

    assert wait_for(has_ended, timeout_s=60)


def test_a_process_that_dies_is_named_with_the_end_of_its_log(tmp_path):
    with processes(tmp_path, fusion="raise SystemExit('no such model')") as nodes:
        (pid,) = nodes.pids.values()
        assert wait_for(lambda: psutil.Process(pid).status() == psutil.STATUS_ZOMBIE, timeout_s=60)
        with pytest.raises(NodeDiedError, match=r"fusion ended with exit code 1(.|\n)*no such"):
            nodes.check()


def test_a_missing_program_leaves_the_others_ended(tmp_path):
    nodes = NodeProcesses(
        {"a": [sys.executable, "-c", WAITS], "b": [str(tmp_path / "missing")]},
        environment=os.environ,
        log_folder=tmp_path,
        patience=QUICK,
    )
    with pytest.raises(FileNotFoundError), nodes:
        pass
    assert not any(psutil.pid_exists(pid) for pid in nodes.pids.values())


def test_memory_of_this_process_is_measured():
    memory = memory_of(os.getpid())
    assert 10 < memory.pss_mb < 2000
    assert 5 < memory.anonymous_mb <= memory.pss_mb
    assert memory_of(2**22 - 1) == Memory()


def test_domains_are_reserved_for_one_run():
    with reserved_domain() as first, reserved_domain() as second:
        assert first != second
        assert {first, second} <= set(DOMAINS)
    with reserved_domain(7) as exactly:
        assert exactly == 7


def test_cuts_take_three_seconds_where_there_is_time():
    lidar, camera = default_cuts(20.0)
    assert (lidar.name, lidar.start_s, lidar.end_s) == ("lidar", 6.0, 9.0)
    assert (camera.name, camera.start_s, camera.end_s) == ("camera", 12.0, 15.0)
    short = default_cuts(6.0)
    assert short[0].end_s < short[1].start_s
    assert short[1].end_s < 6.0


def test_reference_models_need_no_parameters(tmp_path):
    choice = choose_models("reference", data=None, folder=tmp_path)
    assert choice.name == "reference"
    assert all(line.startswith("#") for line in choice.to_yaml().splitlines())


def test_imported_models_that_are_not_there_are_named(tmp_path):
    with pytest.raises(ConfigurationError, match=r"yolox_nano\.onnx.*EDGE_PERCEPTION_DATA"):
        choose_models("imported", data=tmp_path, folder=tmp_path)
    with pytest.raises(UnknownNameError, match="imported, reference"):
        choose_models("best", data=tmp_path, folder=tmp_path)


def test_imported_models_become_parameters_without_aliases(tmp_path, data_dir):
    choice = choose_models("imported", data=data_dir, folder=tmp_path)
    assert choice.parameters["fusion"] == {"model": ""}
    for node in ("camera_encoder", "audio_encoder"):
        assert (tmp_path / choice.parameters[node]["model"] / "manifest.json").is_file()
    assert "&" not in choice.to_yaml()  # rcl refuses YAML aliases


def test_a_data_folder_that_does_not_exist_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("EDGE_PERCEPTION_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(ConfigurationError, match="expected a folder"):
        data_folder()
    monkeypatch.setenv("EDGE_PERCEPTION_DATA", str(tmp_path))
    assert data_folder() == tmp_path
