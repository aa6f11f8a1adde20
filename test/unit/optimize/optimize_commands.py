"""Commands of `optimize` in the environment that has PyTorch, several in one process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
PYTHON = ROOT / ".venv-optimize" / "bin" / "python"
_RUN = """
import contextlib, io, json, sys, traceback
from edge_perception.cli.main import main
told = {}
for name, arguments in json.load(sys.stdin).items():
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            if arguments[0] == "python":  # what is done to files between two commands
                code = exec(arguments[1], {"argv": arguments[2:]})
            else:
                code = main(arguments)
        except SystemExit as ended:
            code = ended.code
        except BaseException:
            code = traceback.format_exc()
    told[name] = (code, out.getvalue(), err.getvalue())
print("TOLD" + json.dumps(told))
"""


def why_not() -> str:
    """What the tests lack; empty: they can run."""
    if PYTHON.exists() or _has_torch():
        return ""
    return "PyTorch is not installed: `make setup-optimize`"


def _has_torch() -> bool:
    import importlib.util

    return importlib.util.find_spec("torch") is not None


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a command said."""

    code: Any
    out: str
    err: str

    @property
    def outcome(self) -> dict[str, Any]:
        return json.loads(self.out)

    def texts(self, code: str) -> list[str]:
        """The texts of the findings of a kind."""
        return [f["text"] for f in self.outcome["findings"] if f["code"] == code]

    def errors(self, code: str) -> list[str]:
        found = self.outcome["findings"]
        return [f["text"] for f in found if f["code"] == code and f["level"] == "error"]


def run_commands(folder: Path, commands: Mapping[str, Sequence[str]]) -> dict[str, Told]:
    """Run commands one after the other from a folder; by name."""
    given = json.dumps({name: [str(a) for a in args] for name, args in commands.items()})
    said = run_python(folder, _RUN, given)
    lines = [line for line in said.splitlines() if line.startswith("TOLD")]
    told = json.loads(lines[-1].removeprefix("TOLD"))
    return {name: Told(code=code, out=out, err=err) for name, (code, out, err) in told.items()}


def run_python(folder: Path, code: str, given: str = "") -> str:
    """Run Python where PyTorch is, from a folder; return what it prints."""
    python = PYTHON if PYTHON.exists() else Path(sys.executable)
    done = subprocess.run(
        [str(python), "-c", code],
        cwd=folder,
        input=given,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=880,  # against hanging alone: a busy machine takes its time
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout
