"""Reads what exporters write beside a model of pictures: how it wants them, and its classes.

PaddleDetection's infer_cfg.yml, the config.json and preprocessor_config.json of transformers,
mmdeploy's pipeline.json, and mmdetection's configuration in Python.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from edge_perception.core.errors import ModelError
from edge_perception.models.python_config import UNREAD, read_python_config

_LARGEST = 1 << 22
_MEAN_PIXEL = 114
_BESIDE = ("config.json", "preprocessor_config.json")


@dataclass(frozen=True, kw_only=True)
class PictureConfig:
    """What such a file says; None and empty: nothing."""

    name: str  # of the file
    kind: str  # paddle, transformers, mmdeploy or mmdet
    family: str = ""  # arch, model_type or type
    labels: tuple[str, ...] = ()
    preprocessing: Mapping[str, Any] = field(default_factory=dict)  # as in a manifest


def read_picture_config(path: Path) -> PictureConfig:
    """Read such a file.

    Raises:
        ModelError: it cannot be read, or is of no kind that is known.
    """
    try:
        if path.suffix == ".py":
            return _mmdet(path.name, read_python_config(path))
        if path.stat().st_size > _LARGEST:
            raise ModelError(f"{path.name}: expected at most {_LARGEST} bytes")
        data = _loaded(path)
        if isinstance(data, Mapping) and "Preprocess" in data:
            return _paddle(path.name, data)
        if isinstance(data, Mapping) and "pipeline" in data:
            return _mmdeploy(path.name, data)
        if isinstance(data, Mapping) and {"model_type", "image_mean", "do_resize"} & set(data):
            return _transformers(path, data)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise ModelError(f"{path.name}: is not as exporters write it: {error!r}") from error
    raise ModelError(
        f"{path.name}: expected PaddleDetection's infer_cfg.yml, config.json or "
        "preprocessor_config.json of transformers, pipeline.json of mmdeploy or mmdetection's "
        "configuration in Python"
    )


def _loaded(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8-sig")
        return json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (UnicodeDecodeError, ValueError, yaml.YAMLError, RecursionError) as error:
        told = " ".join(str(error).split())[:200]
        raise ModelError(f"{path}: expected JSON or YAML: {told}") from error


def _paddle(name: str, data: Mapping[str, Any]) -> PictureConfig:
    steps = {step["type"]: step for step in data["Preprocess"]}
    resize, normalise = steps.get("Resize", {}), steps.get("NormalizeImage", {})
    padded = "PadBatch" in steps or "Pad" in steps or "LetterBoxResize" in steps
    keeps = bool(resize.get("keep_ratio", False)) or "LetterBoxResize" in steps
    made: dict[str, Any] = {"color": "rgb", **_fit(keeps=keeps, centred=False)}
    size = resize.get("target_size") or steps.get("LetterBoxResize", {}).get("target_size")
    if size and (padded or not keeps):
        made["size"] = [int(size[1]), int(size[0])]
    scale = 1 / 255 if normalise.get("is_scale", True) and normalise else 1.0
    none = not normalise or normalise.get("norm_type", "mean_std") == "none"
    made |= _normal(scale, *((None, None) if none else (normalise["mean"], normalise["std"])))
    return PictureConfig(
        name=name,
        kind="paddle",
        family=str(data.get("arch", "")),
        labels=tuple(map(str, data.get("label_list", ()))),
        preprocessing=made,
    )


def _transformers(path: Path, data: Mapping[str, Any]) -> PictureConfig:
    """Join the two files; the other is looked for beside the one that is given."""
    both: dict[str, Any] = {}
    for name in _BESIDE:
        if path.with_name(name).is_file():
            beside = _loaded(path.with_name(name))
            both |= beside if isinstance(beside, Mapping) else {}
    both |= data
    numbered = {int(number): str(label) for number, label in both.get("id2label", {}).items()}
    named = (numbered.get(k, "N/A") for k in range(max(numbered, default=-1) + 1))
    labels = [f"unused_{k}" if name == "N/A" else name for k, name in enumerate(named)]
    made: dict[str, Any] = {}
    if "do_resize" in both or "image_mean" in both:
        scale = float(both.get("rescale_factor", 1 / 255)) if both.get("do_rescale", True) else 1.0
        normal = both.get("do_normalize", True) and both.get("image_mean")
        made = {
            "color": "rgb",
            **_normal(scale, *((both["image_mean"], both["image_std"]) if normal else (None,) * 2)),
            **_fit(keeps=_keeps_shape(both), centred=False),
            **_padding(_MEAN_PIXEL if normal else 0),  # it pads with zeros, after normalising
        }
        size = both.get("size")
        if isinstance(size, Mapping) and {"height", "width"} <= set(size):
            made["size"] = [int(size["width"]), int(size["height"])]
    return PictureConfig(
        name=path.name,
        kind="transformers",
        family=str(both.get("model_type", "")),
        labels=tuple(labels),
        preprocessing=made,
    )


def _keeps_shape(data: Mapping[str, Any]) -> bool:
    """Whether its processor keeps the shape of pictures; a height and a width stretch them.

    `do_pad` says only what is done with several pictures, each of which has its size by then.
    """
    size = data.get("size")
    if isinstance(size, Mapping) and size:
        return not {"height", "width"} <= set(size)
    return "max_size" in data or bool(data.get("do_pad", False))


def _mmdeploy(name: str, data: Mapping[str, Any]) -> PictureConfig:
    tasks = data["pipeline"]["tasks"]
    steps = _by_type([step for task in tasks for step in task.get("transforms", ())])
    resize, normalise, pad = (steps.get(key, {}) for key in ("Resize", "Normalize", "Pad"))
    keeps = bool(resize.get("keep_ratio", False))
    made = {
        "color": "rgb" if normalise.get("to_rgb", False) else "bgr",
        **_normal(1.0, normalise.get("mean"), normalise.get("std")),
        **_fit(keeps=keeps, centred=False),
        **_padding(pad.get("pad_val", 0)),
    }
    size = _mm_size(resize, pad, keeps=keeps)
    if size and size[0] == size[1]:  # which side comes first differs between its versions
        made["size"] = size
    labels = [label for task in tasks for label in (task.get("params") or {}).get("classes", ())]
    return PictureConfig(name=name, kind="mmdeploy", labels=tuple(labels), preprocessing=made)


def _mmdet(name: str, data: Mapping[str, Any]) -> PictureConfig:
    model = _dict(data.get("model"))
    prep = _dict(model.get("data_preprocessor"))
    pipeline = data.get("test_pipeline", ())
    steps = _by_type(pipeline if isinstance(pipeline, Sequence) else ())
    if not prep:
        raise ModelError(
            f"{name}: expected model.data_preprocessor with mean and std, as mmdetection 3 has it"
        )
    resize, pad = steps.get("Resize", {}), steps.get("Pad", {})
    keeps = resize.get("keep_ratio") is True or "LetterResize" in steps
    made = {
        "color": "rgb" if prep.get("bgr_to_rgb", False) is True else "bgr",
        **_normal(1.0, prep.get("mean"), prep.get("std")),
        **_fit(keeps=keeps, centred=False),
        **_padding(pad.get("pad_val", prep.get("pad_value", 0))),
    }
    size = _mm_size(steps.get("LetterResize", resize), pad, keeps=keeps)
    if size:
        made["size"] = size
    found = _dict(data.get("metainfo")).get("classes", data.get("class_names", ()))
    labels = found if isinstance(found, list | tuple) and UNREAD not in found else ()
    return PictureConfig(
        name=name,
        kind="mmdet",
        family=str(model.get("type", "")).rpartition(".")[2],
        labels=tuple(map(str, labels)),
        preprocessing=made,
    )


def _by_type(steps: Sequence[Any]) -> dict[str, Mapping[str, Any]]:
    """Return what each kind of step says; where one comes twice, the first one goes before."""
    found: dict[str, dict[str, Any]] = {}
    for step in steps:
        if isinstance(step, Mapping):
            kind = str(step.get("type", "")).rpartition(".")[2]
            found[kind] = {**step, **found.get(kind, {})}
    return dict(found)


def _mm_size(resize: Mapping[str, Any], pad: Mapping[str, Any], *, keeps: bool) -> list[int] | None:
    """Return width and height that every picture gets; None: they follow the picture."""
    size = pad.get("size")
    if size is None and (not keeps or str(resize.get("type", "")).endswith("LetterResize")):
        size = resize.get("size", resize.get("scale"))
    if isinstance(size, int) and not isinstance(size, bool):
        return [size, size]
    if not isinstance(size, list | tuple) or len(size) != 2:
        return None
    return [int(side) for side in size] if all(isinstance(side, int) for side in size) else None


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _normal(scale: float, mean: Any, std: Any) -> dict[str, Any]:
    """Return how values are made, (pixel * scale - mean) / std."""
    none = mean is None or mean is UNREAD or std is None or std is UNREAD
    return {
        "scale": scale,
        "mean": [0.0, 0.0, 0.0] if none else [float(v) for v in mean],
        "std": [1.0, 1.0, 1.0] if none else [float(v) for v in std],
    }


def _fit(*, keeps: bool, centred: bool) -> dict[str, Any]:
    if not keeps:
        return {"resize": "stretch"}
    return {"resize": "letterbox", "pad": "center" if centred else "bottom_right"}


def _padding(value: Any) -> dict[str, Any]:
    """Return the value of the padding; mmdetection gives a number, three, or one for each kind."""
    inner = value.get("img", 0) if isinstance(value, Mapping) else value
    first = inner[0] if isinstance(inner, list | tuple) and inner else inner
    return {"pad_value": float(first) if isinstance(first, int | float) else 0.0}
