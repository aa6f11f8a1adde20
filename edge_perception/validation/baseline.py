"""Baselines: what a replay gave once, small enough to be kept with the code.

A baseline folder holds one entry a recording, found by what the recording contains: by its content
to the last byte, or else by its timing (topics, arrivals, stamps), which a recording that was
rendered on another machine shares. The file's name and packing do not matter.
"""

from __future__ import annotations

import json
import lzma
import platform
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edge_perception.core.errors import ConfigurationError
from edge_perception.core.schema import decode
from edge_perception.validation.merging import read_lines

SCHEMA = "edge_perception/baseline/1"
_HEAD, _LINES = "baseline.json", "fused.jsonl.xz"
_DIGITS = 5


@dataclass(frozen=True, kw_only=True)
class BaselineHead:
    """Where a baseline comes from."""

    schema: str
    name: str  # of the file it was made of, for people
    commit: str  # of the code; empty: not a checkout
    device: str
    runtime: str  # runtime and provider
    sha256: str  # of the fused output
    recording: Mapping[str, Any]
    models: Mapping[str, Mapping[str, str]]
    parameters: Mapping[str, Any]
    what_if: Mapping[str, Any]
    segment_s: float
    metrics: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """One entry of a baseline folder."""

    path: Path
    head: BaselineHead
    exact: bool  # the recording is the same to the last byte

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield the messages; numbers are rounded to 5 digits after the point."""
        try:
            with lzma.open(self.path / _LINES, "rt", encoding="utf-8") as file:
                for line in file:
                    yield json.loads(line)
        except (OSError, lzma.LZMAError, ValueError, EOFError) as error:
            raise ConfigurationError(f"{self.path}: damaged baseline: {error}") from error


def find_baseline(folder: Path, recording: Mapping[str, Any]) -> Baseline:
    """Return the entry for a recording.

    Raises:
        ConfigurationError: the folder has none; the text lists what it has.
    """
    heads = [(path, _read_head(path)) for path in sorted(folder.glob(f"*/{_HEAD}"))]
    if (folder / _HEAD).is_file():
        heads.append((folder / _HEAD, _read_head(folder / _HEAD)))
    for key in ("content", "timing"):
        for path, head in heads:
            if head.recording.get(key) == recording[key]:
                return Baseline(path=path.parent, head=head, exact=key == "content")
    known = ", ".join(
        f"{head.name} ({head.recording.get('messages')} messages, "
        f"{head.recording.get('timing', '')[:12]})"
        for _, head in heads
    )
    raise ConfigurationError(
        f"{folder}: no baseline for this recording ({recording['messages']} messages, "
        f"{recording['timing'][:12]}); it has {known or 'none'}; make one with --update-baseline"
    )


def _read_head(path: Path) -> BaselineHead:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path}: expected a baseline: {error}") from error
    head = decode(BaselineHead, data, str(path))
    if head.schema != SCHEMA:
        raise ConfigurationError(f"{path}: schema: expected {SCHEMA}, got '{head.schema}'")
    return head


def write_baseline(folder: Path, head: BaselineHead, fused: Path) -> Path:
    """Write or replace the entry of a recording; it appears whole or not at all."""
    target = folder / head.recording["timing"][:12]
    partial = folder / f".{target.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    with lzma.open(partial / _LINES, "wt", encoding="utf-8", preset=6) as file:
        for record in read_lines(fused):
            file.write(json.dumps(rounded(_kept(record)), separators=(",", ":"), sort_keys=True))
            file.write("\n")
    text = json.dumps(asdict(head), indent=1, sort_keys=True)
    (partial / _HEAD).write_text(text + "\n", encoding="utf-8")
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)
    return target


def _kept(record: dict[str, Any]) -> dict[str, Any]:
    """Leave out what a diff does not look at."""
    record.pop("models", None)
    for status in record["sources"]:
        for name in ("latency", "silence_s", "rate_hz"):
            status.pop(name, None)
    for item in record["objects"]:
        for name in ("covariance", "age_s", "emergency"):
            item.pop(name, None)
        if None in item["velocity_mps"]:
            del item["velocity_mps"]  # not known
    for event in record["sound_events"]:
        for name in ("bearing_std_rad", "candidates", "origin", "other_bearings_rad"):
            event.pop(name, None)
    return record


def rounded(value: Any) -> Any:
    """Return plain data with its numbers rounded."""
    if isinstance(value, float):
        return round(value, _DIGITS)
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return value


def device_name() -> str:
    """Name the processor: results of equal names are expected to be equal."""
    name = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                name = line.split(":", 1)[1].strip()
                break
    except OSError:
        pass
    return f"{platform.system()} {platform.machine()}, {name}"


def runtime_name(models: Mapping[str, Mapping[str, str]]) -> str:
    """Name runtime and provider of all models."""
    return ", ".join(sorted({f"{m['runtime']} {m['provider']}" for m in models.values()}))


def commit_name() -> str:
    """Return the commit of the checkout this code lies in; empty: it lies in none."""
    folder = Path(__file__).resolve().parent
    try:
        found = subprocess.run(
            ["git", "rev-parse", "--short=12", "HEAD"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return found.stdout.strip() if found.returncode == 0 else ""
