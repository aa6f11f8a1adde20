"""Recognises AudioSet taggers: samples or a spectrogram in, 521 or 527 scores out.

PANNs (Kong et al., 2020; github.com/qiuqiangkong/audioset_tagging_cnn) take samples at 32 or
16 kHz and give `clipwise_output` (1, 527) after a sigmoid, and `embedding`. Others of that family
take a log-mel spectrogram, (1, 1, time, mel) or turned; which one is not in the file.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from edge_perception.core.errors import ModelError
from edge_perception.models.adapters._audioset import EVENTS, OTHER_NAMES, class_names
from edge_perception.models.adapters._tagger_config import TaggerConfig, read_tagger_config
from edge_perception.models.foreign import (
    ForeignModel,
    Reading,
    are_placeholders,
    described,
    pin_inputs,
)
from edge_perception.models.graph_wrapping import wrap_unit_variance

_CLASSES = (521, 527)  # of YAMNet; of AudioSet
# Beside the file.
_LABEL_MAPS = ("class_labels_indices.csv", "labels.csv", "yamnet_class_map.csv")
_MEL_BINS = (40, 64, 80, 96, 128, 256)
_YAMNET = (96, 64)
_YAMNET_RATE_HZ, _YAMNET_S = 16_000, 0.975  # a patch of 0.96 s and the rest of its last window
_RAISED_BY = {  # operator that makes scores: what is left to do
    "Sigmoid": "none", "Softmax": "none", "Gemm": "sigmoid", "MatMul": "sigmoid", "Add": "sigmoid",
    "Conv": "sigmoid",
}  # fmt: skip
# What leaves scores in their range: other shapes, the highest or the mean of several frames.
_KEEPS = (
    "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Transpose", "Clip", "Identity", "Cast",
    "Expand", "ReduceMax", "ReduceMean",
)  # fmt: skip
_OF_SHAPE = ("mel_bins", "patch_frames")  # which the input of the graph has as well
_OF_TRANSFORMERS = "input_values"  # what its feature extractors give
_NORMALISES = ("none", "unit")
_SHORTEST = 4000  # samples
_RATES_HZ = (8000, 16_000, 22_050, 32_000, 44_100, 48_000)
# What a spectrogram is made by, none of which is in the graph.
_SPECTROGRAM = (
    "sample_rate_hz", "window_s", "hop_s", "fft_size", "mel_min_hz", "mel_max_hz", "log_offset",
    "power", "log", "mel_scale",
)  # fmt: skip
# What the spectrogram of a family is made by, said with --assume family: of
# github.com/fschmid56/EfficientAT (models/preprocess.py), and of PANNs on log-mel frames
# (torchlibrosa; normalised inside).
_FAMILIES: dict[str, dict[str, Any]] = {
    "efficientat": {
        "sample_rate_hz": 32_000, "window_s": 0.025, "hop_s": 0.01, "fft_size": 1024,
        "mel_min_hz": 0.0, "mel_max_hz": 15_000.0, "mel_scale": "htk", "power": 2, "log": "ln",
        "log_offset": 1e-5, "framing": "raised", "mean": -4.5, "std": 5.0,
    },
    "panns": {
        "sample_rate_hz": 32_000, "window_s": 0.032, "hop_s": 0.01, "fft_size": 1024,
        "mel_min_hz": 50.0, "mel_max_hz": 14_000.0, "mel_scale": "slaney", "power": 2, "log": "db",
        "log_offset": 1e-10,
    },
}  # fmt: skip


def recognise(foreign: ForeignModel) -> list[Reading]:
    """Return what tagger the file may be."""
    if foreign.size is not None or len(foreign.inputs) != 1:
        return []
    shape = foreign.shapes[foreign.inputs[0]]
    scores = scores_of(foreign)
    if not scores or len(shape) not in (1, 2, 3, 4):
        return []
    found = _by_shape(foreign, scores[0], shape)
    if len(scores) > 1 and found:
        asked = {"scores": f"--assume scores={'|'.join(scores)}"}
        return [replace(found[0], undecided={**found[0].undecided, **asked})]
    return found


def _by_shape(foreign: ForeignModel, scores: str, shape: tuple[int, ...]) -> list[Reading]:
    if takes_samples(shape):
        return [_waveform(foreign, scores, shape)]
    if shape[-2:] == _YAMNET and foreign.shapes[scores][-1] == _CLASSES[0]:
        return []  # its own adapter knows how its patches are made
    if len(shape) >= 3 and set(shape[:-2]) <= {1, -1} and _mel_axis(shape) is not None:
        return [_spectrogram(foreign, scores, shape)]
    return []


def takes_samples(shape: tuple[int, ...]) -> bool:
    """Whether an input of that shape takes samples of one sound."""
    return (
        1 <= len(shape) <= 3
        and (shape[-1] == -1 or shape[-1] >= _SHORTEST)
        and set(shape[:-1]) <= {1, -1}
    )


def scores_of(foreign: ForeignModel) -> list[str]:
    """Return the outputs that may be the scores of a window: without those of each of its frames.

    Taggers that say when a sound is heard, such as those of PANNs with a decision level and HTS-AT,
    give scores (1, frames, classes) beside those of the window, (1, classes).
    """
    found = [n for n in foreign.outputs if foreign.shapes[n][-1:] and _is_scores(foreign, n)]
    said = foreign.said.get("scores")
    if said in found:
        return [str(said)]
    least = min((len(foreign.shapes[name]) for name in found), default=0)
    return [name for name in found if len(foreign.shapes[name]) == least]


def _is_scores(foreign: ForeignModel, name: str) -> bool:
    labels = foreign.said.get("labels", ())
    count = foreign.shapes[name][-1]
    return count in _CLASSES or (len(labels) > 0 and count == len(labels))


def _mel_axis(shape: tuple[int, ...]) -> int | None:
    """Return the axis of the mel bins; None: neither of the last two has a usual number."""
    if shape[-1] in _MEL_BINS:
        return -1
    return -2 if shape[-2] in _MEL_BINS else None


def _waveform(foreign: ForeignModel, scores: str, shape: tuple[int, ...]) -> Reading:
    said = foreign.said
    yamnet = foreign.shapes[scores][-1] == _CLASSES[0]
    rate = said.get("sample_rate_hz", _YAMNET_RATE_HZ if yamnet else None)
    length = said.get("waveform_s", _YAMNET_S if yamnet else None)
    undecided = {}
    if rate is None:
        rates = "|".join(map(str, _RATES_HZ))
        undecided["sample_rate_hz"] = f"--assume sample_rate_hz={rates}"
    if shape[-1] == -1 and length is None:
        undecided["waveform_s"] = "--assume waveform_s=SECONDS that it looks at"
    extracted = foreign.inputs[0] == _OF_TRANSFORMERS
    normalise = said.get("normalise")
    if extracted and normalise not in _NORMALISES:
        undecided["normalise"] = (
            "--assume normalise=unit where do_normalize of preprocessor_config.json is true "
            "(wav2vec 2.0, HuBERT, WavLM), or none"
        )
    why = {
        "waveform_s": "one patch of YAMNet" if shape[-1] == -1 else "shape of the input",
        "sample_rate_hz": "521 classes: YAMNet's 16 kHz" if yamnet else "said",
    }
    preprocessing: dict[str, Any] = {"waveform_hop_s": 0.1}
    if not undecided:
        rate = _number(rate, "sample_rate_hz")
        samples = shape[-1] if shape[-1] != -1 else round(_number(length, "waveform_s") * rate)
        foreign = pin_inputs(foreign, {foreign.inputs[0]: (*(1,) * (len(shape) - 1), samples)})
        preprocessing |= {"sample_rate_hz": int(rate), "waveform_s": samples / rate}
        if normalise == "unit":
            wrap_unit_variance(foreign.model, foreign.inputs[0])
    family = "YAMNet on samples" if yamnet else "audio tagger on samples"
    if foreign.shapes[scores][-1] == _CLASSES[1] and not extracted:
        family += " (PANNs)"
    family += ", which are brought to mean 0 and variance 1" if normalise == "unit" else ""
    return _reading(foreign, family, scores, preprocessing, why, undecided)


def _spectrogram(foreign: ForeignModel, scores: str, shape: tuple[int, ...]) -> Reading:
    config = read_tagger_config(foreign.config) if foreign.config else None
    told = dict(config.preprocessing) if config else {}
    family = str(foreign.said.get("family", "")).lower()
    made = _FAMILIES.get(family, {})
    said = {**made, **told, **foreign.said}
    # The spectrogram transformer and its kin are given numbers of mean 0, others normalise inside.
    needed = (*_SPECTROGRAM, *(("mean", "std") if foreign.inputs[0] == "input_values" else ()))
    undecided = {name: f"--assume {name}=…" for name in needed if name not in said}
    if undecided and not told:
        undecided = {"family": f"--assume family={'|'.join(_FAMILIES)}, or each of", **undecided}
    axis = _mel_axis(shape)
    assert axis is not None
    frames = shape[-1 if axis == -2 else -2]
    if frames == -1:
        given = said.get("patch_frames")
        frames = 0 if given is None else int(_number(given, "patch_frames"))
        if not frames:
            undecided["patch_frames"] = "--assume patch_frames=FRAMES"
    preprocessing: dict[str, Any] = {
        "mel_bins": shape[axis],
        "patch_frames": frames,
        "patch_hop_frames": 10,
        "layout": "time_mel" if axis == -1 else "mel_time",
        "framing": "plain",
        "mean": 0.0,
        "std": 1.0,
        **made,
        **{name: value for name, value in told.items() if name not in _OF_SHAPE},
        **{name: said[name] for name in needed if name in said},
    }
    if config is not None:
        _check_shape(config, preprocessing)
    if not undecided:
        last = (frames, shape[axis]) if axis == -1 else (shape[axis], frames)
        foreign = pin_inputs(foreign, {foreign.inputs[0]: (*(1,) * (len(shape) - 2), *last)})
    why = dict.fromkeys(("mel_bins", "patch_frames", "layout"), "shape of the input")
    why |= dict.fromkeys(
        (n for n in told if n not in _OF_SHAPE), f"'{config.name}'" if config else ""
    )
    why |= dict.fromkeys(made, f"as {family} makes it")
    title = "audio spectrogram transformer" if config else "audio tagger on a log-mel spectrogram"
    return _reading(foreign, title, scores, preprocessing, why, undecided, config)


def _check_shape(config: TaggerConfig, preprocessing: dict[str, Any]) -> None:
    wanted = {name: config.preprocessing[name] for name in _OF_SHAPE}
    got = {name: preprocessing[name] for name in _OF_SHAPE}
    if wanted != got:
        raise ModelError(f"{config.name}: says {wanted}, the input of the graph has {got}")


def _reading(
    foreign: ForeignModel,
    family: str,
    scores: str,
    preprocessing: dict[str, Any],
    why: dict[str, str],
    undecided: dict[str, str],
    config: TaggerConfig | None = None,
) -> Reading:
    if foreign.config is not None and config is None:
        raise ModelError(
            f"{foreign.config.name}: of models on samples no configuration is read: give class "
            "names with --labels and the rest with --assume"
        )
    labels, source = _labels(foreign, foreign.shapes[scores][-1])
    if config is not None and source != "said" and config.labels:
        if not are_placeholders(config.labels):
            labels, source = list(config.labels), f"'{config.name}'"
        elif not labels:
            source = f"'{config.name}' has only placeholders, {config.labels[0]} and so on"
    if not labels:
        asked = f"--labels FILE such as AudioSet's {_LABEL_MAPS[0]}"
        undecided = {**undecided, "labels": f"{source}: {asked}"}
    made = _maker(foreign, scores)
    # AudioSet's classes are heard together; of others a softmax leaves one, and logits are alike.
    sure = made in _RAISED_BY and (
        _RAISED_BY[made] == "none" or foreign.shapes[scores][-1] in _CLASSES
    )
    if not sure and "activation" not in foreign.said:
        undecided = {
            **undecided,
            "activation": f"{made or 'nothing'} makes the scores: --assume "
            "activation=none|sigmoid|softmax",
        }
    manifest = {
        **described(foreign, "audio_tagger", "audio"),
        "preprocessing": preprocessing,
        "postprocessing": {
            "scores": scores,
            "activation": _RAISED_BY.get(made, "none"),
            "confirm_windows": 2,
            "events": events_of(labels),
        },
        "labels": labels,
        "features": {"embedding": "embedding"} if "embedding" in foreign.outputs else {},
    }
    if labels and not manifest["postprocessing"]["events"] and "events" not in foreign.said:
        undecided = {
            **undecided,
            "events": "--manifest with postprocessing.events: no label is known",
        }
    return Reading(
        family=family,
        manifest=manifest,
        reasons={
            **why,
            "activation": f"{made or 'nothing known'} makes the scores",
            "labels": source,
            "events": "labels of AudioSet that a vehicle should hear",
        },
        undecided=undecided,
        classes=foreign.shapes[scores][-1],
        model=foreign.model,
    )


def events_of(labels: list[str]) -> dict[str, Any]:
    """Return the events of a vehicle whose labels are among these, however they are written."""
    found: dict[str, Any] = {}
    for name, (wanted, threshold, release) in EVENTS.items():
        spelled = {_letters(label) for label in (*wanted, *OTHER_NAMES.get(name, ()))}
        ours = [label for label in labels if _letters(label) in spelled]
        if ours:
            found[name] = {"labels": ours, "threshold": threshold, "release": release}
    return found


def _letters(label: str) -> str:
    """Return a label without what spellings differ in: blanks, commas, underscores, capitals.

    FSD50K writes AudioSet's commas as _and_.
    """
    return "".join(c for c in label.lower().replace("_and_", "") if c.isalnum())


def _labels(foreign: ForeignModel, count: int) -> tuple[list[str], str]:
    """Return class names, said or of the map beside the file that has one for each score."""
    given = foreign.said.get("labels", ())
    if given and not isinstance(given, str):
        return list(given), "said"
    others = []
    for name in _LABEL_MAPS:
        path = foreign.path.with_name(name)
        if not path.is_file():
            continue
        try:
            names = class_names(path)
        except ModelError as error:
            others.append(str(error))
            continue
        if len(names) == count:
            return names, f"'{name}' beside the file"
        others.append(f"'{name}' beside the file has {len(names)} names, {count} scores are given")
    return [], "; ".join(others) or "not in the file"


def _maker(foreign: ForeignModel, name: str) -> str:
    """Return the operator that makes an output, behind changes of shape; "": none does."""
    made_by = {output: node for node in foreign.model.graph.node for output in node.output}
    node = made_by.get(name)
    while node is not None and node.op_type in _KEEPS:
        node = made_by.get(node.input[0])
    return node.op_type if node is not None else ""


def _number(value: Any, name: str) -> float:
    number = not isinstance(value, bool) and isinstance(value, (int, float))
    if not number or not math.isfinite(value) or value <= 0:
        raise ModelError(f"--assume {name}: expected a number above 0, got {value!r}")
    return float(value)
