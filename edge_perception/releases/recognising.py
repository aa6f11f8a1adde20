"""Which family a foreign ONNX file is of, with everything that is assumed of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from edge_perception.backends import DEFAULT_BACKEND
from edge_perception.core.errors import ConfigurationError, EdgePerceptionError, ModelError
from edge_perception.encoders.camera.preprocess import CameraPreprocessing
from edge_perception.models.adapters import AdapterSpec, adapters
from edge_perception.models.adapters._anchor_heads import lacking_anchors
from edge_perception.models.adapters._coco import COCO_LABELS, COCO_PAPER_LABELS
from edge_perception.models.adapters._gathered_maps import undecoded
from edge_perception.models.adapters._other_tasks import other_task
from edge_perception.models.adapters._picture import published
from edge_perception.models.adapters._picture_config import read_picture_config
from edge_perception.models.foreign import ForeignModel, Reading, read_foreign

NAMED_LABELS = {"coco80": COCO_LABELS, "coco91": COCO_PAPER_LABELS}
# What recognisers read themselves; everything else that is said goes into the manifest.
_READ_BEFORE = ("family", "size", "anchors", "normalise", "labels", "first")
_FIRST = ("size", "color", "scale", "mean", "std", "resize", "pad", "pad_value")


@dataclass(frozen=True, kw_only=True)
class Assumption:
    """One thing that is taken to be so."""

    name: str  # as in --assume NAME=VALUE
    value: str
    why: str


@dataclass(frozen=True, kw_only=True)
class Recognised:
    """A file whose family is known."""

    adapter: AdapterSpec
    family: str
    manifest: dict[str, Any]  # without `files`
    model: Any  # onnx.ModelProto
    assumptions: tuple[Assumption, ...]


def recognise(
    path: Path,
    *,
    adapter: str = "",
    said: Mapping[str, Any] | None = None,
    labels: Sequence[str] = (),
    backend: str = DEFAULT_BACKEND,
    config: Path | None = None,
    parts: Sequence[Path] = (),
) -> Recognised:
    """Recognise a foreign file.

    Args:
        path: the ONNX file.
        adapter: the only one to ask; empty: all.
        said: what the user says in place of guesses, by option.
        labels: class names that the user gives.
        backend: runtime that tells shapes which the graph does not.
        config: the family's own configuration file.
        parts: further files of the same network.

    Raises:
        ModelError: no family fits, several do, or what nobody may guess was not said; the text
            names the options that decide.
        ConfigurationError: something was said that this family does not have.
        UnknownNameError: there is no such adapter.
    """
    told = {**({"labels": tuple(labels)} if labels else {}), **(said or {})}
    if "labels" in told:
        _check_labels(told["labels"])
    foreign = read_foreign(
        path, told, backend=backend, config=config, parts=parts, usual_size=_size_of(config)
    )
    names = [adapter] if adapter else sorted(adapters().specs)
    found = [
        (adapters()[name], reading)
        for name in names
        for reading in _readings(adapters()[name], foreign, named=bool(adapter))
    ]
    found = _narrowed(found, labels)
    if not found:
        raise ModelError(_none_fits(foreign, adapter))
    if len(found) > 1:
        choices = ", ".join(f"{reading.family} (--adapter {spec.name})" for spec, reading in found)
        raise ModelError(
            f"{path.name}: may be of several families: {choices}: name one with --adapter, "
            "or its class names with --labels"
        )
    spec, reading = found[0]
    if reading.undecided:
        options = "; ".join(f"{name}: {choice}" for name, choice in reading.undecided.items())
        raise ModelError(
            f"{path.name}: {reading.family or 'a detector'}: the file does not tell, and nothing "
            f"is guessed: {options}"
        )
    _check_count(foreign, reading, told)
    manifest, assumptions = _assumed(foreign, reading, told)
    return Recognised(
        adapter=spec,
        family=reading.family,
        manifest=manifest,
        model=reading.model if reading.model is not None else foreign.model,
        assumptions=tuple(assumptions),
    )


def _check_labels(given: Any) -> None:
    names = given if isinstance(given, list | tuple) else ()
    known = isinstance(given, str) and given in NAMED_LABELS
    if not known and not (names and all(isinstance(name, str) for name in names)):
        raise ConfigurationError(
            f"--assume labels: expected {' or '.join(NAMED_LABELS)} or a list of names, got "
            f"{given!r}; names of a file are read with --labels FILE"
        )


def _check_count(foreign: ForeignModel, reading: Reading, told: Mapping[str, Any]) -> None:
    """Refuse names of more or fewer classes than the outputs have."""
    given = told.get("labels", ())
    count = len(NAMED_LABELS.get(given, given) if isinstance(given, str) else given)
    if count and reading.classes not in (None, count):
        raise ModelError(
            f"{foreign.path.name}: {reading.family}: the outputs have {reading.classes} classes, "
            f"{count} names are given"
        )


def _size_of(config: Path | None) -> tuple[tuple[int, int], str] | None:
    """Return the size of pictures that a configuration names, and the configuration's name."""
    if config is None:
        return None
    try:
        size = read_picture_config(config).preprocessing.get("size")
    except ModelError:
        return None  # of a LiDAR, or who reads it for the family says what is wrong
    return ((int(size[0]), int(size[1])), f"'{config.name}'") if size else None


def values_said(texts: Sequence[str]) -> dict[str, Any]:
    """Read options NAME=VALUE, the value as JSON or as it is.

    Raises:
        ConfigurationError: one is not written so, or is there twice.
    """
    said: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals and value) or name in said:
            raise ConfigurationError(f"--assume: expected NAME=VALUE, each once, got '{text}'")
        try:
            said[name] = json.loads(value)
        except ValueError:
            said[name] = value
    return said


def _readings(spec: AdapterSpec, foreign: ForeignModel, *, named: bool) -> Sequence[Reading]:
    if spec.recognise is not None:
        try:
            found = spec.recognise(foreign)
        except EdgePerceptionError:
            raise
        except Exception as error:  # adapters come from outside the package too
            raise ModelError(
                f"{foreign.path.name}: adapter '{spec.name}' cannot look at it: {error!r}"
            ) from error
        if found or not named:
            return found
    if spec.describe is None:
        return []
    if spec.recognise is not None and not named:
        return []
    try:
        return [Reading(family=spec.name, manifest=dict(spec.describe(foreign.path)))]
    except ModelError:
        if named:
            raise
        return []


def _narrowed(
    found: list[tuple[AdapterSpec, Reading]], labels: Sequence[str]
) -> list[tuple[AdapterSpec, Reading]]:
    """Of several readings keep those whose number of classes is that of the names there are."""
    if len(found) < 2:
        return found
    if labels:
        fitting = [item for item in found if item[1].classes in (None, len(labels))]
    else:
        fitting = [item for item in found if item[1].manifest.get("labels")]
    return fitting or found


def _none_fits(foreign: ForeignModel, adapter: str) -> str:
    tensors = ", ".join(f"'{n}' {foreign.shapes.get(n)}" for n in foreign.outputs[:8])
    inputs = ", ".join(f"'{n}' {foreign.shapes.get(n)}" for n in foreign.inputs[:8])
    lacking = undecoded(foreign) or lacking_anchors(foreign)
    if lacking:
        return f"{foreign.path.name}: {lacking}"
    family = f"adapter '{adapter}'" if adapter else "any family that is known"
    if task := other_task(foreign):
        tensors += f" ({task})"
    return (
        f"{foreign.path.name}: expected a model of {family}, got inputs {inputs} and outputs "
        f"{tensors}; --adapter with --manifest says all of it by hand"
    )


def _assumed(
    foreign: ForeignModel, reading: Reading, told: Mapping[str, Any]
) -> tuple[dict[str, Any], list[Assumption]]:
    """Put what was said into the manifest; return it with the list of assumptions."""
    manifest = {
        **reading.manifest,
        "preprocessing": dict(reading.manifest.get("preprocessing", {})),
        "postprocessing": dict(reading.manifest.get("postprocessing", {})),
    }
    is_camera = manifest.get("role") == "camera"
    known = {field.name for field in fields(CameraPreprocessing)} if is_camera else set()
    known |= set(manifest["preprocessing"])
    for name, value in told.items():
        if name in _READ_BEFORE or name.startswith("input."):
            continue
        part = "preprocessing" if name in known else "postprocessing"
        if part == "postprocessing" and name not in manifest[part]:
            options = sorted({*known, *manifest["postprocessing"], *_READ_BEFORE})
            raise ConfigurationError(
                f"--assume {name}: {reading.family} has no such option, it has {', '.join(options)}"
            )
        manifest[part][name] = value
    rows = [Assumption(name="family", value=reading.family, why=_family_why(reading, told))]
    form = {n: v for n, v in foreign.reasons.items() if n != "size"}
    form.setdefault("precision", str(manifest.get("runtime", {}).get("precision", "fp32")))
    rows += [Assumption(name=name, value=value, why="the file") for name, value in form.items()]
    shown = {
        **_camera_defaults(is_camera),
        **manifest["preprocessing"],
        **manifest["postprocessing"],
    }
    shown.pop("image_input", None)
    reasons = {**foreign.reasons, **reading.reasons}
    for name in sorted(shown, key=lambda n: _FIRST.index(n) if n in _FIRST else len(_FIRST)):
        why = "said" if name in told else reasons.get(name, "default")
        rows.append(Assumption(name=name, value=json.dumps(shown[name], default=str), why=why))
    given = told.get("labels", ())
    labels = list(NAMED_LABELS.get(given, given) if isinstance(given, str) else given)
    if labels and "classes" in manifest["postprocessing"] and "classes" not in told:
        manifest["postprocessing"]["classes"] = published(labels)
    labels = labels or manifest.get("labels", [])
    why = "said" if "labels" in told else reading.reasons.get("labels", "the adapter")
    text = f"{len(labels)}: {', '.join(labels[:4])}" + (", …" if len(labels) > 4 else "")
    rows.append(Assumption(name="labels", value=text, why=why))
    return manifest, rows


def _family_why(reading: Reading, told: Mapping[str, Any]) -> str:
    return "said" if "family" in told else f"names and shapes, {reading.classes or 'some'} classes"


def _camera_defaults(is_camera: bool) -> dict[str, Any]:
    if not is_camera:
        return {}
    names = ("resize", "pad", "pad_value", "color", "scale", "mean", "std")
    return {f.name: f.default for f in fields(CameraPreprocessing) if f.name in names}
