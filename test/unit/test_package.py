"""The package files agree with each other, and the build installs what C++ users need."""

from __future__ import annotations

import ast
import configparser
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Distribution or rosdep key of imported modules, where it is not simply the module's name.
DISTRIBUTIONS = {
    "cuda": "cuda-bindings",
    "cv2": "opencv-python-headless",
    "google": "protobuf",
    "grpc": "grpcio",
    "opentelemetry": "opentelemetry-sdk",  # one module of several distributions
    "opentelemetry.exporter": "opentelemetry-exporter-otlp-proto-http",
    "paho": "paho-mqtt",
    "prometheus_client": "prometheus-client",
    "torch_pruning": "torch-pruning",
    "yaml": "PyYAML",
}
ROSDEP_KEYS = {
    "cv2": "python3-opencv",
    "mcap": "mcap-ros2-support",
    "onnxruntime": "python3-onnxruntime-pip",
    "rosbags": "python3-rosbags-pip",
}
# rosdep has no key for it; the README says how to get it with pip.
WITHOUT_ROSDEP_KEY = {"onnx"}
# There inside of a Triton server, which runs the file that we write for it.
OF_ANOTHER_PROCESS = {"triton_python_backend_utils"}
# Of an extra, and loaded by another one of it.
LIBRARIES = {("tensorrt", "nvidia-cuda-nvrtc")}
# Needed to run, and never imported by name.
WITHOUT_IMPORT = {
    "rosidl_default_runtime",
    "launch",
    "launch_ros",
    "mcap-ros2-support",
    "bond",
    "tf2_msgs",
}

CPP = """
#include <cstdio>
#include "edge_perception/msg/audio_chunk.hpp"
#include "edge_perception/msg/feature.hpp"
#include "edge_perception/msg/fused_perception.hpp"
#include "edge_perception/srv/swap_model.hpp"

int main() {
  edge_perception::msg::FusedPerception fused;
  fused.mode = edge_perception::msg::FusedPerception::MODE_FULL;
  fused.sources.resize(2);
  fused.sources[1].state = edge_perception::msg::SourceStatus::MISSING;
  edge_perception::srv::SwapModel::Request request;
  std::printf("%zu %d\\n", fused.sources.size(), fused.sources[1].state == 3);
}
"""


@pytest.fixture(scope="module")
def setup_cfg() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


@pytest.fixture(scope="module")
def package_xml() -> ElementTree.Element:
    return ElementTree.parse(ROOT / "package.xml").getroot()


@pytest.fixture(scope="module")
def install_space() -> Path:
    for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(":"):
        if prefix and (Path(prefix) / "share" / "edge_perception" / "package.xml").is_file():
            return Path(prefix)
    pytest.skip("edge_perception is not built: no install space in AMENT_PREFIX_PATH")


def entry_points(setup_cfg: configparser.ConfigParser) -> dict[str, tuple[str, str]]:
    lines = setup_cfg["options.entry_points"]["console_scripts"].strip().splitlines()
    pairs = (line.split("=") for line in lines)
    return {name.strip(): tuple(target.strip().split(":")) for name, target in pairs}


def dependencies(package_xml: ElementTree.Element) -> set[str]:
    tags = ("depend", "exec_depend")
    return {e.text for tag in tags for e in package_xml.iter(tag)}


def imports() -> Iterator[tuple[Path, str, str]]:
    """Yield (file, top-level module, extra it is imported under) of every import at any depth."""
    for path in sorted((ROOT / "edge_perception").rglob("*.py")):
        for module, extra in imports_in(ast.parse(path.read_text()), ""):
            if module not in sys.stdlib_module_names and module != "edge_perception":
                yield path, module, extra


def imports_in(tree: ast.AST, extra: str) -> Iterator[tuple[str, str]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name.split(".")[0], extra) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            first = ".".join(node.module.split(".")[:2])
            yield (first if first in DISTRIBUTIONS else node.module.split(".")[0]), extra
        else:
            yield from imports_in(node, extra_of(node) or extra)


def extra_of(node: ast.AST) -> str:
    """Return the name in `with extra("name"):`."""
    for item in node.items if isinstance(node, ast.With) else ():
        call = item.context_expr
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "extra":
            return call.args[0].value
    return ""


def test_one_version(setup_cfg, package_xml):
    version = package_xml.findtext("version")
    assert setup_cfg["metadata"]["version"] == version
    assert package_xml.findtext("license") == setup_cfg["metadata"]["license"]
    # What was released last is what the package calls itself; what came since is above it.
    headings = re.findall(r"^## (.+)$", changelog(), re.MULTILINE)
    assert next(h for h in headings if h != "Unreleased") == version


def test_the_changelog_names_the_models_that_come_with_it():
    """Models have versions of their own: the newest section says that of each set.

    A bundle that went on without the others of its set is named beside it.
    """
    newest = changelog().split("\n## ")[1]
    told = dict(re.findall(r"`(bev_\w+(?:/\w+)?)` (\d+\.\d+\.\d+)", newest))
    used = set()
    for path in (ROOT / "models").glob("*/*/manifest.json"):
        group, role = path.parts[-3:-1]
        name = f"{group}/{role}" if f"{group}/{role}" in told else group
        assert told.get(name) == json.loads(path.read_text())["version"], path
        used.add(name)
    assert used == set(told), "a version of nothing that is there"


def changelog() -> str:
    return (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_every_executable_has_its_function(setup_cfg):
    for name, (module, function) in entry_points(setup_cfg).items():
        tree = ast.parse((ROOT / (module.replace(".", "/") + ".py")).read_text())
        names = {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}
        assigned = [t for n in tree.body if isinstance(n, ast.Assign) for t in n.targets]
        names |= {n.id for target in assigned for n in ast.walk(target) if isinstance(n, ast.Name)}
        assert function in names, f"{name}: {module} has no {function}"


def test_executables_for_ros2_run(setup_cfg, tmp_path):
    (tmp_path / "left_over").touch()
    subprocess.run(
        [sys.executable, ROOT / "cmake/write_executables.py", ROOT / "setup.cfg", tmp_path],
        check=True,
    )
    scripts = {path.name: path for path in tmp_path.iterdir()}

    assert set(scripts) == set(entry_points(setup_cfg))
    for name, (module, function) in entry_points(setup_cfg).items():
        assert os.access(scripts[name], os.X_OK)
        compile(scripts[name].read_text(), name, "exec")
        assert f"from {module} import {function}\n" in scripts[name].read_text()


def test_every_requirement_is_pinned_and_pip_knows_the_direct_ones(setup_cfg):
    wanted = set(setup_cfg["options"]["install_requires"].split())
    direct = set()
    for path in (ROOT / "requirements").glob("*.txt"):
        for line in path.read_text().splitlines():
            if line and not line.startswith(("#", "-")):
                pinned = r"[\w.-]+(\[\w+\])?==[\w.]+(; python_version [<>=]+ \"3\.\d+\")?$"
                assert re.match(pinned, line), line
    text = (ROOT / "requirements/runtime.txt").read_text()
    direct, pinned = (
        {line.split("==")[0] for line in part.splitlines() if "==" in line}
        for part in (text.split("# brought along")[0], text)
    )

    assert direct <= wanted <= pinned


def names(requirements: str) -> list[str]:
    """The distributions of a list, without what their lines ask of Python."""
    return [
        re.split(r"[;\[]", line)[0].strip() for line in requirements.split("\n") if line.strip()
    ]


def test_what_is_imported_is_declared(setup_cfg, package_xml):
    wheels = set(setup_cfg["options"]["install_requires"].split())
    extras = {k: names(v) for k, v in setup_cfg["options.extras_require"].items()}
    keys = dependencies(package_xml)
    for path, module, extra in imports():
        wheel = DISTRIBUTIONS.get(module, module)
        if extra:
            assert wheel in extras[extra], f"{path}: extra {extra} lacks {wheel}"
        elif wheel in wheels:
            rosdep = ROSDEP_KEYS.get(module, f"python3-{module}")
            declared = rosdep in keys or module in WITHOUT_ROSDEP_KEY
            assert declared, f"{path}: package.xml lacks {rosdep}"
        else:
            known = module in keys or module in OF_ANOTHER_PROCESS
            assert known, f"{path}: {module} is in neither setup.cfg nor package.xml"


def test_every_extra_and_ros_package_is_used(setup_cfg, package_xml):
    used = {(extra, DISTRIBUTIONS.get(module, module)) for _, module, extra in imports()}
    for name, wheels in setup_cfg["options.extras_require"].items():
        assert {(name, wheel) for wheel in names(wheels)} <= used | LIBRARIES
    modules = {module for _, module, _ in imports()}
    told = {e.text for e in package_xml.iter("exec_depend") if not e.text.startswith("python3-")}
    assert told - modules == WITHOUT_IMPORT


def test_message_packages_are_build_dependencies(package_xml):
    text = "\n".join(p.read_text() for p in (*ROOT.glob("msg/*.msg"), *ROOT.glob("srv/*.srv")))
    used = set(re.findall(r"^([a-z_0-9]+)/[A-Z]\w+", text, re.MULTILINE))

    assert used <= {e.text for e in package_xml.iter("depend")}
    cmake = (ROOT / "CMakeLists.txt").read_text()
    assert used <= set(re.search(r"DEPENDENCIES ([^)]*)", cmake)[1].split())


def test_cpp_headers_and_cmake_config_are_installed(install_space):
    include = install_space / "include" / "edge_perception" / "edge_perception"
    cmake = install_space / "share" / "edge_perception" / "cmake"
    for path in (*ROOT.glob("msg/*.msg"), *ROOT.glob("srv/*.srv")):
        snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", path.stem).lower()
        assert (include / path.parent.name / f"{snake}.hpp").is_file()
        assert (install_space / "share/edge_perception" / path.parent.name / path.name).is_file()

    assert (cmake / "edge_perceptionConfig.cmake").is_file()
    exported = "".join(p.read_text() for p in cmake.glob("*.cmake"))
    assert "edge_perception::edge_perception__rosidl_typesupport_cpp" in exported
    # The build folder of whoever compiled it is no place to look for headers.
    assert str(ROOT / "build") not in exported


def test_cpp_users_compile_against_the_install_space(install_space, tmp_path):
    compiler = shutil.which("c++")
    if compiler is None:
        pytest.skip("no C++ compiler: Debian package build-essential")
    prefixes = [p for p in os.environ["AMENT_PREFIX_PATH"].split(":") if p]
    folders = {d for p in prefixes for d in (Path(p) / "include").glob("*") if d.is_dir()}
    source = tmp_path / "user.cpp"
    source.write_text(CPP)
    includes = [flag for folder in sorted(folders) for flag in ("-isystem", str(folder))]

    built = subprocess.run(
        [compiler, "-std=c++17", "-O0", *includes, str(source), "-o", str(tmp_path / "user")],
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr[-2000:]
    done = subprocess.run([tmp_path / "user"], capture_output=True, text=True, check=True)
    assert done.stdout == "2 1\n"


def test_data_files_go_where_the_package_looks():
    spec = importlib.util.spec_from_file_location("share", ROOT / "edge_perception/core/share.py")
    package = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(package)

    assert package.share_file("config/fastdds_shm.xml").is_file()
    assert f"share/{package.PACKAGE}" in (ROOT / "setup.py").read_text()


def test_pip_installs_all_that_lies_beside_the_modules(tmp_path):
    for name in ("setup.py", "setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "edge_perception").symlink_to(ROOT / "edge_perception")
    command = [sys.executable, "setup.py", "-q", "build_py", "--build-lib", "built"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr

    def data(folder: Path) -> set[Path]:
        found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
        return {path for path in found if path.suffix not in {".py", ".pyc"}}

    assert data(tmp_path / "built/edge_perception") == data(ROOT / "edge_perception")


def test_installed_command_line_is_on_the_path(install_space, setup_cfg):
    for name in entry_points(setup_cfg):
        assert os.access(install_space / "lib" / "edge_perception" / name, os.X_OK)
    assert os.access(install_space / "bin" / "edge-perception", os.X_OK)


def test_start_scripts_may_be_imported_by_processes_that_a_command_spawns(tmp_path):
    write = ROOT / "cmake" / "write_executables.py"
    subprocess.run([sys.executable, str(write), str(ROOT / "setup.cfg"), str(tmp_path)], check=True)
    imported = f"import runpy; runpy.run_path({str(tmp_path / 'edge-perception')!r}, run_name='x')"
    result = subprocess.run(
        [sys.executable, "-c", imported], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
