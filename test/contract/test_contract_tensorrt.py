"""What the runtime `tensorrt` asks of the real libraries, held against their wheels, without a GPU.

`make setup-backends` puts the wheels into folders of .venv-tensorrt. Others that
`pip install --no-deps --target` filled may be named in EDGE_PERCEPTION_TENSORRT_WHEELS, joined by
colons.

The libraries behind the bindings are replaced by stubs of a dozen C functions. Calls of PyCUDA and
of cuda.bindings run for real in `test_tensorrt.py`, over a libcuda of the tests' own.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tensorrt_recorder import World, module

ROOT = Path(__file__).parents[2]
OURS = ROOT / "edge_perception" / "backends" / "tensorrt"
WHEELS = "EDGE_PERCEPTION_TENSORRT_WHEELS"

STUB = """
void *createInferBuilder_INTERNAL() { return 0; }
void *createInferRefitter_INTERNAL() { return 0; }
void *createInferRuntime_INTERNAL() { return 0; }
void *createNvOnnxParserRefitter_INTERNAL() { return 0; }
void *createNvOnnxParser_INTERNAL() { return 0; }
void *getBuilderPluginRegistry() { return 0; }
int getNvOnnxParserVersion() { return 0; }
void *getPluginRegistry() { return 0; }
int initLibNvInferPlugins() { return 0; }
"""

# In a process of its own: our modules over the real bindings, and the other libraries as names.
START = """
import json, sys
from types import ModuleType
sys.path[:0] = json.loads(sys.argv[1])
def name(path, **values):
    made = sys.modules[path] = ModuleType(path)
    vars(made).update(values)
    parent, _, last = path.rpartition(".")
    if parent in sys.modules:
        setattr(sys.modules[parent], last, made)
name("pycuda"); name("pycuda.driver", Error=OSError)
"""

TELL = (
    START
    + """
name("cuda"); name("cuda.bindings"); name("cuda.bindings.driver"); name("cuda.bindings.nvrtc")
import tensorrt_bindings as trt
sys.modules["tensorrt"] = trt
from edge_perception.backends.tensorrt.log import ErrorLog, start
from edge_perception.core.errors import BackendError
told = {"version": trt.__version__, "chains": {}, "members": {}, "errors": []}
for chain in json.loads(sys.argv[2]):
    found = trt
    for part in chain.split(".")[1:]:
        found = getattr(found, part, None)
    told["chains"][chain] = found is not None
for kind, members in json.loads(sys.argv[3]).items():
    real = getattr(trt, kind, None)
    for member in members:
        found = getattr(real, member, None)
        told["members"][kind + "." + member] = None if found is None else found.__doc__ or ""
log = ErrorLog()
for severity in trt.ILogger.Severity.__members__.values():
    log.log(severity, severity.name + " of\\n a call")
told["log"] = log.take()
for kind in (trt.Builder, trt.Runtime):
    try:
        start(kind, "m", log, log)
    except BackendError as error:
        told["errors"].append(str(error))
told["float"] = str(trt.nptype(trt.DataType.FLOAT).__name__)
try:
    trt.nptype(trt.DataType.BF16)
except TypeError:
    told["bf16"] = "TypeError"
print(json.dumps(told))
"""
)

# Our programs of the bundled models, compiled for real: per GPU what came out, and an error's text.
COMPILE = (
    START
    + """
name("tensorrt", ILogger=object)
from edge_perception.backends.tensorrt.compiling import compiled
from edge_perception.core.errors import BackendError
told = {}
for source in json.loads(sys.argv[2]):
    with open(source) as file:
        text = file.read()
    for capability in json.loads(sys.argv[3]):
        code = compiled(text, capability, None)
        told[source + " " + capability] = [code[:4].hex(), code.decode("latin-1")]
try:
    compiled("extern \\"C\\" __global__ void wrong() { nothing(); }", "9.0", None)
except BackendError as error:
    told["wrong"] = str(error)
try:
    compiled("", "3.5", None)
except BackendError as error:
    told["old"] = str(error)
print(json.dumps(told))
"""
)


def folders(package: str) -> list[Path]:
    """Where the package was put, and where it is installed."""
    named = [Path(path) for path in os.environ.get(WHEELS, "").split(":") if path]
    named += sorted((ROOT / ".venv-tensorrt").glob("*"))
    found = [folder for folder in named if (folder / package).is_dir()]
    try:
        spec = importlib.util.find_spec(package.replace("/", "."))
    except ModuleNotFoundError:
        spec = None
    if spec is not None and spec.origin:
        found.append(Path(spec.origin).parents[package.count("/") + 1])
    return found


def compiled(folder: Path, source: str, *names: str) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler here")
    (folder / "source.c").write_text(source)
    for name in names:
        flags = ["-shared", "-fPIC", "-w", f"-Wl,-soname,{name}", "-o", folder / name]
        subprocess.run([compiler, *flags, folder / "source.c", "-ldl"], check=True, timeout=60)
    return folder


def run(code: str, libraries: Path, *arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *(json.dumps(argument) for argument in arguments)],
        env={**os.environ, "LD_LIBRARY_PATH": str(libraries)},
        capture_output=True,
        text=True,
        timeout=180,  # of a busy machine
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def chains() -> list[str]:
    """Every name of TensorRT that our code says: ``trt.BuilderFlag.TF32``."""
    found = set()
    for path in OURS.glob("*.py"):
        for item in ast.walk(ast.parse(path.read_text())):
            if isinstance(item, ast.Attribute) and ast.unparse(item).startswith("trt."):
                found.add(ast.unparse(item))
    return sorted(found)


def members() -> dict[str, dict[str, list[str]]]:
    """Methods and properties of the recorder, which our code runs over, with their arguments."""
    found: dict[str, dict[str, list[str]]] = {}
    for name, kind in module(World(None)).classes.items():
        found[name] = {}
        for member, value in vars(kind).items():
            if inspect.isfunction(value) and (member == "__init__" or not member.startswith("_")):
                found[name][member] = list(inspect.signature(value).parameters)[1:]
            elif isinstance(value, property):
                found[name][member] = []
        if {"ITensor", "ICudaEngine", "IExecutionContext"} & {name}:
            found[name].pop("__init__", None)  # nobody makes these
    for name in ("INetworkDefinition", "IBuilderConfig", "IOptimizationProfile", "ParserError"):
        found[name].pop("__init__", None)
    return found


def test_the_names_that_are_held_are_those_of_our_code():
    assert {"trt.Builder", "trt.BuilderFlag.TF32", "trt.Runtime"} <= set(chains())
    classes = set(members())
    said = {chain.split(".")[1] for chain in chains()}
    assert said - classes == {"__version__", "nptype"}


@pytest.mark.parametrize("generation", ["10", "11"])
def test_names_arguments_and_errors_are_those_of_the_real_bindings(generation, tmp_path):
    libraries = [
        f"lib{name}.so.{generation}" for name in ("nvinfer", "nvinfer_plugin", "nvonnxparser")
    ]
    wanted = members()
    for folder in folders("tensorrt_bindings"):
        version = (folder / "tensorrt_bindings" / "__init__.py").read_text()
        if f'__version__ = "{generation}.' in version:
            break
    else:
        pytest.skip(f"no bindings of TensorRT {generation} here: make setup-backends")
    paths = [str(folder), str(ROOT)]
    told = json.loads(run(TELL, compiled(tmp_path, STUB, *libraries), paths, chains(), wanted))
    assert told["version"].startswith(generation)
    assert [chain for chain, there in told["chains"].items() if not there] == []
    assert [name for name, text in told["members"].items() if text is None] == []
    for kind, methods in wanted.items():
        for method, arguments in methods.items():
            text = told["members"][f"{kind}.{method}"]
            lacking = [name for name in arguments if f"{name}: " not in text]
            assert not lacking, f"{kind}.{method} has no {lacking}: {text}"
    assert told["log"] == "INTERNAL_ERROR of a call; ERROR of a call"
    assert told["errors"] == [
        f"m: no TensorRT {kind}: TensorRT gives no reason" for kind in ("Builder", "Runtime")
    ]
    assert (told["float"], told["bf16"]) == ("float32", "TypeError")


def test_kernels_compile_for_every_generation_of_gpus():
    found = folders("cuda/bindings")
    wheels = [path for folder in found for path in folder.glob("nvidia/*/lib/libnvrtc.so.*")]
    if not wheels:
        pytest.skip("NVRTC is not here: make setup-backends")
    # Turing, Ampere, Orin, Ada, Hopper, Blackwell, Thor, and one that does not exist yet.
    own = ["7.5", "8.0", "8.6", "8.7", "8.9", "9.0", "10.0", "11.0", "12.0"]
    sources = sorted((ROOT / "edge_perception").glob("encoders/**/*.cu"))
    arguments = [str(found[0]), str(ROOT)], [str(path) for path in sources], [*own, "99.9"]
    told = json.loads(run(COMPILE, wheels[0].parent, *arguments))
    assert len(sources) == 2
    for source in sources:
        kernels = re.findall(r"__global__ void (\w+)", source.read_text())
        assert kernels
        for capability in own:
            magic, code = told[f"{source} {capability}"]
            assert bytes.fromhex(magic) == b"\x7fELF"
            assert [name for name in kernels if name not in code] == []
        _, ptx = told[f"{source} 99.9"]
        assert ".target sm_" in ptx
        assert [name for name in kernels if f".entry {name}(" not in ptx] == []
        assert "fma.rn" not in ptx, "multiply-adds would give other bits"
    assert told["wrong"].startswith("the kernels do not compile: kernels.cu(1): error: ")
    assert told["old"].startswith("NVRTC compiles for compute capability 7.5 and newer, got 3.5")
