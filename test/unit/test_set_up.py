"""`make setup`: what it names, what it uses, when it does nothing."""

from __future__ import annotations

import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SET_UP = ROOT / "scripts" / "set_up"


@pytest.fixture(autouse=True)
def modules(monkeypatch):
    """Make `machine`, `pinned`, `progress`, `stamps` and `steps` importable for one test."""
    monkeypatch.syspath_prepend(str(SET_UP))
    names = [path.stem for path in SET_UP.glob("*.py") if path.stem != "__main__"]
    yield
    for name in names:
        sys.modules.pop(name, None)


def test_an_old_python_is_named_before_anything_else(monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 9, 2))

    with pytest.raises(SystemExit, match=r"Python 3\.10 or newer is needed, this is 3\.9"):
        runpy.run_path(str(SET_UP), run_name="__main__")


def test_missing_tools_are_named_with_their_debian_packages(monkeypatch):
    import machine

    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setattr(machine.importlib.util, "find_spec", lambda _: None)

    text = machine.describe_missing(machine.missing_tools())

    assert "missing: C++ compiler (Debian package build-essential)" in text
    assert "sudo apt-get install build-essential cmake make python3-venv" in text


def test_nothing_is_missing_where_this_was_built():
    import machine

    if not (ROOT / "install").is_dir():
        pytest.skip("nothing was built in this checkout")
    assert machine.missing_tools() == []


def ros_prefix(folder: Path) -> Path:
    (folder / "share" / "rclpy").mkdir(parents=True)
    return folder


def test_a_sourced_ros_is_used(tmp_path):
    import machine

    prefix = ros_prefix(tmp_path / "opt" / "ros" / "jazzy")
    environment = {"ROS_DISTRO": "jazzy", "AMENT_PREFIX_PATH": f"/elsewhere:{prefix}"}

    found = machine.find_ros(tmp_path / "checkout", environment)

    assert found == machine.Ros(distro="jazzy", where=str(prefix))


def test_an_importable_rclpy_is_a_ros_too(tmp_path):
    import machine

    (tmp_path / "site" / "rclpy").mkdir(parents=True)
    (tmp_path / "site" / "rclpy" / "__init__.py").touch()

    found = machine.find_ros(tmp_path / "checkout", {"PYTHONPATH": str(tmp_path / "site")})

    assert found.where == str(tmp_path / "site" / "rclpy")


def test_the_wheels_of_the_checkout_are_not_a_ros_of_the_machine(tmp_path, monkeypatch):
    import machine

    monkeypatch.setattr(machine, "rclpy_directory", lambda _: None)
    prefix = ros_prefix(tmp_path / ".venv")
    environment = {"ROS_DISTRO": "jazzy", "AMENT_PREFIX_PATH": str(prefix)}

    assert machine.find_ros(tmp_path, environment) is None


@pytest.mark.parametrize("prefixes", [{}, {"AMENT_PREFIX_PATH": "/an/overlay"}])
def test_a_named_but_absent_ros_is_an_error(tmp_path, monkeypatch, prefixes):
    import machine

    monkeypatch.setattr(machine, "rclpy_directory", lambda _: None)

    with pytest.raises(RuntimeError, match="ROS_DISTRO is jazzy, but python3 finds no rclpy"):
        machine.find_ros(tmp_path, {"ROS_DISTRO": "jazzy"} | prefixes)


def test_what_env_sh_set_is_taken_out_again():
    import steps

    environment = {
        "VIRTUAL_ENV": str(steps.VENV),
        "ROS_DISTRO": "jazzy",
        "PATH": f"{steps.VENV}/bin:/usr/bin",
        "AMENT_PREFIX_PATH": f"{steps.ROOT}/install/edge_perception:{steps.VENV}",
        "PYTHONPATH": "/mine",
    }

    assert steps.outside_environment(environment) == {"PATH": "/usr/bin", "PYTHONPATH": "/mine"}


def test_env_sh_and_the_set_up_agree():
    import steps

    script = f". {ROOT}/scripts/env.sh; env -0"
    start = {"PATH": "/usr/bin:/bin", "HOME": "/"}
    output = subprocess.run(["bash", "-c", script], env=start, capture_output=True, check=True)
    pairs = (item.split("=", 1) for item in output.stdout.decode().split("\0") if item)
    after = steps.outside_environment(dict(pairs))

    left = {k for k in after if k not in start} - {"PWD", "SHLVL", "_", "RMW_IMPLEMENTATION"}
    assert left == set()
    assert after["PATH"] == start["PATH"]


@pytest.fixture
def checkout(tmp_path):
    for folder in ("cmake", "msg", "srv", "edge_perception", "launch", "config", "models"):
        (tmp_path / folder).mkdir()
    for name in ("package.xml", "CMakeLists.txt", "setup.cfg", "msg/A.msg", "launch/a.launch.py"):
        (tmp_path / name).write_text("one")
    return tmp_path


def test_a_build_is_needed_for_an_interface_or_a_new_file_only(checkout):
    import stamps

    def key():
        return stamps.build_key(checkout, "wheels")

    keys = [key()]
    (checkout / "launch" / "a.launch.py").write_text("edited: the symlink follows")
    (checkout / "edge_perception" / "__pycache__").mkdir()
    (checkout / "edge_perception" / "__pycache__" / "a.pyc").touch()
    assert key() == keys[0]
    (checkout / "launch" / "b.launch.py").touch()
    keys.append(key())
    (checkout / "msg" / "A.msg").write_text("two")
    keys.append(key())
    assert len(set(keys)) == 3
    assert stamps.build_key(checkout, "another ROS") not in keys


def test_a_stamp_is_current_only_for_its_key(tmp_path):
    import stamps

    path = tmp_path / "folder" / "stamp"
    stamp = stamps.Stamp(path=path, key="a")
    assert not stamp.is_current()
    stamp.write()
    assert stamp.is_current()
    assert not stamps.Stamp(path=path, key="b").is_current()


def test_only_what_a_python_lacks_is_installed(tmp_path):
    import pinned

    path = tmp_path / "some.txt"
    path.write_text(
        "# head\n\n# asked for by name\nPyYAML==1\nno-such-thing==2\n"
        'no-such-thing==1; python_version < "3.11"\n\n# brought along\nother==3\n'
    )
    (tmp_path / "yaml.py").touch()

    missing = pinned.names_missing_from(
        sys.executable, [path], {"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin"}
    )

    assert missing["no-such-thing"] == [
        "no-such-thing==2",
        'no-such-thing==1; python_version < "3.11"',
    ]
    assert not {"PyYAML", "other"} & set(missing)


def test_a_failed_step_says_which_and_shows_its_last_lines(tmp_path, capsys):
    import progress

    command = [sys.executable, "-c", "print('[ 50%] half'); print('the cause'); exit(3)"]
    with pytest.raises(RuntimeError, match=r"compiling: exit status 3.*\n(.*\n)*the cause"):
        progress.run_with_progress(command, "compiling", {}, tmp_path / "log")
    assert capsys.readouterr().out.startswith("compiling\n")


def test_what_a_link_points_to_is_not_emptied(tmp_path):
    import steps

    other = tmp_path / "other"
    (other / "bin").mkdir(parents=True)
    (other / "bin" / "pip").write_text("of another checkout\n")
    (tmp_path / ".venv").symlink_to(other)
    with pytest.raises(RuntimeError, match=r"is a link to .*other: remove the link"):
        steps.create_venv(tmp_path / ".venv", system_site_packages=False)
    assert (other / "bin" / "pip").is_file()


def test_an_environment_that_cannot_be_made_is_an_error_with_its_command(tmp_path):
    import steps

    (tmp_path / "file").write_text("no folder\n")
    with pytest.raises(RuntimeError, match=r"-m venv --clear .* failed, see above"):
        steps.create_venv(tmp_path / "file" / ".venv", system_site_packages=False)
