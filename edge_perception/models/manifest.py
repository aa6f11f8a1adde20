"""The manifest of a model bundle, and its strict validation.

A bundle is a folder with ``manifest.json``, the model and its golden inputs and outputs. The
manifest says everything that is needed to run the model: no code goes with a bundle.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge_perception.core.errors import BundleError, ManifestError
from edge_perception.core.parameter import parameter
from edge_perception.core.schema import decode
from edge_perception.core.types import ModelVersion
from edge_perception.core.version import version_key
from edge_perception.models.device_keys import device_key
from edge_perception.models.merging import MERGES
from edge_perception.models.sealed import is_sealed, sealed_size, unseal

SCHEMA_VERSION = 1
FUSION = "fusion"  # role of a fusion model; that of any other is the modality that it serves
_ROLE = re.compile(r"[a-z][a-z0-9_]*")
MANIFEST_NAME = "manifest.json"
OPSETS = (7, 25)  # of ONNX that the runtimes know
_RESERVED = (MANIFEST_NAME, "signatures.json")
# Fields of older manifests that nothing reads: what a bundle runs on is found by running it
# (admission), and its layout is in the shapes. They may be there, as manifests are signed.
_RETIRED = {"runtime": ("providers",), "resources": ("load_s",)}
_READER = "_reader"  # attribute of a manifest whose bundle is known
_RETIRED_OF_TENSORS = ("layout",)
_DTYPES = ("float32", "float16", "float64", "int8", "uint8", "int32", "int64", "bool")


@dataclass(frozen=True, kw_only=True)
class FileEntry:
    """One file of a bundle."""

    sha256: str
    size: int = parameter(unit="bytes", low=0, high=2**40)


@dataclass(frozen=True, kw_only=True)
class TensorSpec:
    """One input or output of the graph. Shapes are static."""

    name: str
    dtype: str = parameter(choices=_DTYPES)
    shape: tuple[int, ...]
    modality: str = ""  # fusion inputs: which modality's feature feeds it; "presence" for the mask
    tensor: str = ""  # fusion inputs: name of that feature's tensor
    # Fusion inputs: how features of several sources become one; empty: one source only.
    merge: str = parameter("", choices=("", *MERGES))
    weight: str = ""  # with merge: the tensor of a feature that says how much each cell counts


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """What the model needs to run."""

    opset: int = parameter(low=OPSETS[0], high=OPSETS[1])
    precision: str = parameter("fp32", choices=("fp32", "fp16", "int8"))


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What the model costs; 0 means not measured."""

    disk_bytes: int = 0
    peak_memory_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class OutputGate:
    """Tolerances of one output, in place of the general ones."""

    absolute_tolerance: float = parameter(0.0, low=0.0, high=1e6)
    relative_tolerance: float = parameter(0.0, low=0.0, high=1.0)
    cosine: float = parameter(0.0, low=0.0, high=1.0)


@dataclass(frozen=True, kw_only=True)
class Gates:
    """What a candidate must pass before it may serve."""

    warm_up_runs: int = parameter(2, low=1, high=100)
    absolute_tolerance: float = parameter(1e-3, low=0.0, high=1e6)
    relative_tolerance: float = parameter(1e-3, low=0.0, high=1.0)
    latency_ms: float = parameter(0.0, unit="ms", low=0.0, high=1e5)
    # Live outputs against the running model; 0: this gate is not used.
    cosine: float = parameter(0.0, low=0.0, high=1.0)  # at least
    box_match: float = parameter(0.0, low=0.0, high=1.0)  # share, at least
    class_agreement: float = parameter(0.0, low=0.0, high=1.0)  # at least
    # Outputs that need other values, by name.
    outputs: Mapping[str, OutputGate] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Objectives:
    """What a candidate asks of itself on trial beyond what the operator asks; None: no more.

    What would be laxer than the operator's SLO file is not heard (`releases.slo.TrialGate`).
    """

    error_rate: float | None = parameter(None, low=1e-6, high=0.4)
    error_rate_bad: float | None = parameter(None, low=1e-5, high=0.9)
    false_alarm: float | None = parameter(None, low=1e-6, high=0.2)
    missed_alarm: float | None = parameter(None, low=1e-6, high=0.2)
    latency_increase: float | None = parameter(None, low=0.0, high=100.0)
    deadline_ms: float | None = parameter(None, unit="ms", low=0.0, high=1e5)
    min_samples: int | None = parameter(None, low=1, high=10**6)  # a stage
    max_samples: int | None = parameter(None, low=10, high=10**7)  # in all
    stage_timeout_s: float | None = parameter(None, unit="s", low=0.1, high=86400.0)


@dataclass(frozen=True, kw_only=True)
class Golden:
    """Files with recorded inputs and outputs, NumPy .npz keyed by tensor name."""

    inputs: str
    outputs: str


@dataclass(frozen=True, kw_only=True)
class CalibrationSet:
    """Which samples the ranges of a quantised model were measured on."""

    name: str
    sha256: str  # of the samples, in their order
    samples: int = parameter(low=1, high=2**31)
    source: str = ""  # how to get it again


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where the model comes from."""

    licence: str
    source: str = ""  # project or publication
    training_script: str = ""
    data: str = ""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    model_card: str = ""  # file of the bundle


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Everything about one model."""

    schema_version: int
    name: str
    role: str  # a modality, or fusion
    version: str  # semantic version
    release: int = parameter(1, low=1, high=2**31)
    created: str = ""  # ISO 8601, UTC
    expires: str = ""
    adapter: str
    model: str = "model.onnx"
    files: Mapping[str, FileEntry]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    preprocessing: Mapping[str, Any] = field(default_factory=dict)  # checked by the encoder
    postprocessing: Mapping[str, Any] = field(default_factory=dict)  # checked by the adapter
    labels: tuple[str, ...] = ()
    feature_space: str = ""
    features: Mapping[str, str] = field(default_factory=dict)  # feature tensor -> graph output
    compatible_with: tuple[str, ...] = ()  # feature spaces a fusion model accepts
    runtime: Runtime
    resources: Resources = field(default_factory=Resources)
    gates: Gates = field(default_factory=Gates)
    objectives: Objectives = field(default_factory=Objectives)
    golden: Golden | None = None
    changelog: str = ""  # what is new since the release before, for people
    calibration_set: CalibrationSet | None = None  # of a quantised model
    provenance: Provenance

    def read(self, name: str) -> bytes:
        """Return a file of the bundle that this is the manifest of, verified.

        Raises:
            BundleError: it was read without its bundle, or as `Bundle.read`.
        """
        reader: Callable[[str], bytes] | None = self.__dict__.get(_READER)
        if reader is None:
            raise BundleError(f"{self.name}: '{name}': the manifest has no bundle to read from")
        return reader(name)

    def with_reader(self, reader: Callable[[str], bytes]) -> Manifest:
        """Let it read files of its bundle; returns itself."""
        object.__setattr__(self, _READER, reader)  # no field: it is not of the text
        return self

    @property
    def newness(self) -> tuple[int, tuple[Any, ...], str]:
        """What to choose the newest by: release counter, then semantic version, then date."""
        return (self.release, version_key(self.version), self.created)

    def __post_init__(self) -> None:
        """Check what single fields cannot say."""
        if self.schema_version != SCHEMA_VERSION:
            raise ManifestError(
                f"manifest.schema_version: expected {SCHEMA_VERSION}, got {self.schema_version}"
            )
        if not _ROLE.fullmatch(self.role):
            raise ManifestError(
                f"manifest.role: expected {FUSION} or a modality such as camera, got '{self.role}'"
            )
        named = [self.model, *([self.golden.inputs, self.golden.outputs] if self.golden else [])]
        for name in named:
            if name not in self.files:
                raise ManifestError(
                    f"manifest.files: expected an entry for '{name}', got {sorted(self.files)}"
                )
        for name in self.files:
            if Path(name).name != name or name in ("", ".", "..", *_RESERVED):
                raise ManifestError(f"manifest.files: expected plain file names, got '{name}'")
        outputs = {spec.name for spec in self.outputs}
        for tensor, output in self.features.items():
            if output not in outputs:
                raise ManifestError(
                    f"manifest.features.{tensor}: expected one of {sorted(outputs)}, got '{output}'"
                )


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A manifest, where its files are, and the digest that identifies it."""

    path: Path
    manifest: Manifest
    sha256: str

    def __post_init__(self) -> None:
        """Let the manifest find the bundle's files: an adapter may be one of them."""
        self.manifest.with_reader(self.read)

    @property
    def model_path(self) -> Path:
        """The model file."""
        return self.path / self.manifest.model

    def read(self, name: str) -> bytes:
        """Return a file of the bundle; the bytes that are returned are those that were hashed.

        Raises:
            BundleError: it is not of this bundle, cannot be read, or is not what the manifest says.
        """
        if name not in self.manifest.files:
            raise BundleError(f"{self.manifest.name}: no file '{name}' in its manifest")
        return read_file(self.path / name, self.manifest.files[name])

    @property
    def sealed(self) -> bool:
        """Whether a file of it is encrypted for one device: it is opened into memory only."""
        return any(
            (self.path / name).stat().st_size == sealed_size(entry.size)
            for name, entry in self.manifest.files.items()
        )

    def version_for(self, role: str) -> ModelVersion:
        """Return the identity to publish when this bundle serves `role`."""
        return ModelVersion(
            role=role,
            name=self.manifest.name,
            version=self.manifest.version,
            sha256=self.sha256,
            feature_space=self.manifest.feature_space,
        )


def parse_manifest(text: str | bytes, where: str = "manifest") -> Manifest:
    """Validate the text of a manifest.

    Raises:
        ManifestError: not JSON, or a field is unknown, missing, of the wrong type or range.
    """
    try:
        data = json.loads(text)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ManifestError(f"{where}: expected JSON, got an error: {error}") from error
    return decode(Manifest, without_retired(data), where, error=ManifestError)


def without_retired(data: Any) -> Any:
    """Return a manifest's plain data without the fields that older ones have and nothing reads."""
    if not isinstance(data, Mapping):
        return data  # decoding says what is wrong
    plain = dict(data)
    for name, retired in _RETIRED.items():
        plain[name] = _without(plain.get(name), retired)
    for name in ("inputs", "outputs"):
        if isinstance(plain.get(name), (list, tuple)):
            plain[name] = [_without(spec, _RETIRED_OF_TENSORS) for spec in plain[name]]
    return {name: value for name, value in plain.items() if name in data}


def _without(part: Any, names: Sequence[str]) -> Any:
    if not isinstance(part, Mapping):
        return part
    return {name: value for name, value in part.items() if name not in names}


def load_bundle(path: Path) -> Bundle:
    """Read a bundle and check every file's size and hash against its manifest.

    Raises:
        BundleError: the folder, the manifest or a file is missing or differs.
        ManifestError: the manifest breaks its schema.
    """
    manifest_path = path / MANIFEST_NAME
    try:
        text = manifest_path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path}: expected a bundle with {MANIFEST_NAME}: {error}") from error
    manifest = parse_manifest(text)
    for name, entry in manifest.files.items():
        verify_file(path / name, entry)
    return Bundle(path=path, manifest=manifest, sha256=hashlib.sha256(text).hexdigest())


def verify_file(path: Path, entry: FileEntry) -> None:
    """Compare size first, then hash, so that an oversized file is refused unread."""
    try:
        size = path.stat().st_size
        if size == sealed_size(entry.size):
            read_file(path, entry)  # opened as a whole
            return
        if size != entry.size:
            raise BundleError(f"{path.name}: expected {entry.size} bytes, got {size}")
        with path.open("rb") as file:
            digest = _sha256(file)
    except OSError as error:
        raise BundleError(f"{path.name}: cannot be read: {error}") from error
    if digest != entry.sha256:
        raise BundleError(f"{path.name}: expected sha256 {entry.sha256}, got {digest}")


def read_file(path: Path, entry: FileEntry) -> bytes:
    """Read a file once and compare what was read; a sealed one is opened in memory.

    Raises:
        BundleError: it cannot be read, is sealed for another device, or is not what the entry says.
    """
    try:
        with path.open("rb") as file:
            data = file.read(sealed_size(entry.size) + 1)  # never more than it may have
    except OSError as error:
        raise BundleError(f"{path.name}: cannot be read: {error}") from error
    if len(data) == sealed_size(entry.size) and is_sealed(data):
        data = unseal(path.name, data, device_key(path.name))
    if len(data) != entry.size:
        raise BundleError(f"{path.name}: expected {entry.size} bytes, got {len(data)} or more")
    digest = hashlib.sha256(data).hexdigest()
    if digest != entry.sha256:
        raise BundleError(f"{path.name}: expected sha256 {entry.sha256}, got {digest}")
    return data


def file_entry(path: Path) -> FileEntry:
    """Describe a file for a manifest."""
    with path.open("rb") as file:
        return FileEntry(sha256=_sha256(file), size=path.stat().st_size)


def _sha256(file: Any) -> str:
    digest = hashlib.sha256()
    while chunk := file.read(1 << 20):
        digest.update(chunk)
    return digest.hexdigest()
