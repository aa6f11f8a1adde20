"""AudioSet taggers of others: samples or a spectrogram in, recognised, asked for, run."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_perception.backends import Backend, BackendOptions, backends
from edge_perception.core.errors import ModelError
from edge_perception.core.schema import decode
from edge_perception.core.types import Geometry
from edge_perception.encoders import encoders
from edge_perception.encoders.audio.log_mel import LogMel, LogMelConfig, mel_matrix
from edge_perception.encoders.audio.stream import AudioWindow
from edge_perception.models.adapters._tagger_graph import events_of
from edge_perception.models.manifest import Bundle, Manifest
from edge_perception.releases.first_look import check_scores
from edge_perception.releases.importing import import_model
from edge_perception.releases.recognising import recognise

onnx = pytest.importorskip("onnx", reason="the Python package onnx is not installed")

SIREN, DOG = 390, 74  # columns of this map
SPECTROGRAM = {
    "sample_rate_hz": 32_000,
    "window_s": 0.032,
    "hop_s": 0.01,
    "fft_size": 1024,
    "mel_min_hz": 50.0,
    "mel_max_hz": 14_000.0,
    "log_offset": 1e-10,
    "power": 2,
    "log": "db",
    "mel_scale": "slaney",
}


def label_map(folder: Path) -> None:
    """As AudioSet's class_labels_indices.csv."""
    names = {SIREN: "Siren", DOG: "Dog"}
    rows = [f'{k},/m/{k:04},"{names.get(k, f"Sound, {k}")}"' for k in range(527)]
    text = "\n".join(["index,mid,display_name", *rows])
    (folder / "class_labels_indices.csv").write_text(text)


def tagger(path: Path, shape: list[Any], *, sigmoid: bool = True, classes: int = 527) -> Path:
    """The siren's score is 0.9 where the loudest value is above 0.5, and 0.1 where it is not."""
    helper = onnx.helper
    column = np.zeros((1, classes), np.float32)
    column[0, SIREN] = 1.0
    weights = {
        "column": column,
        "half": np.array(0.5, np.float32),
        "step": np.array(4.394449, np.float32),  # logit of 0.9 less that of 0.1
        "rest": np.full((1, classes), -2.1972246, np.float32),
        "shape": np.array([1, 1], np.int64),
    }
    nodes = [
        helper.make_node("ReduceMax", ["input"], ["most"], keepdims=0),
        helper.make_node("Greater", ["most", "half"], ["loud"]),
        helper.make_node("Cast", ["loud"], ["one"], to=1),
        helper.make_node("Mul", ["one", "step"], ["more"]),
        helper.make_node("Mul", ["more", "column"], ["siren"]),
        helper.make_node("Add", ["siren", "rest"], ["logits" if sigmoid else "clipwise_output"]),
    ]
    if sigmoid:
        nodes.append(helper.make_node("Sigmoid", ["logits"], ["clipwise_output"]))
    graph = helper.make_graph(
        nodes,
        "tagger",
        [helper.make_tensor_value_info("input", 1, shape)],
        [helper.make_tensor_value_info("clipwise_output", 1, ["batch", classes])],
        [onnx.numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), str(path))
    return path


def bring(path: Path, said: dict[str, Any]) -> Bundle:
    recognised = recognise(path, said=said)
    return import_model(
        path,
        adapter=recognised.adapter.name,
        into=path.parent / "models",
        recognised=recognised,
        trial=check_scores,
    )


def heard(manifest: Manifest, backend: Backend, samples: np.ndarray) -> list[tuple[str, float]]:
    encoder = encoders()["audio"].make_encoder(manifest, backend)
    found: tuple = ()
    for turn in range(2):  # an event is confirmed by a second window
        window = AudioWindow(
            stamp_ns=0,
            frame_id="mic",
            window_start_ns=turn * 10**8,
            window_end_ns=turn * 10**8 + 10**9,
            samples=samples,
            segment=0,
            first_sample=turn * 3200,
        )
        outputs = encoder.infer(encoder.preprocess(window, Geometry()))
        found = encoder.postprocess(outputs, window, Geometry()).sound_events
    return [(event.class_name, round(event.score, 3)) for event in found]


def test_a_tagger_on_samples_hears_what_its_weights_say(tmp_path: Path) -> None:
    label_map(tmp_path)
    path = tagger(tmp_path / "cnn14.onnx", ["batch", "samples"])
    bundle = bring(path, {"sample_rate_hz": 32_000, "waveform_s": 1.0})
    manifest = bundle.manifest
    assert manifest.inputs[0].shape == (1, 32_000)
    assert manifest.postprocessing["activation"] == "none"  # a Sigmoid is in the graph
    assert set(manifest.postprocessing["events"]) == {"siren", "dog"}
    backend = backends()["onnxruntime"].load(bundle.model_path, BackendOptions())
    quiet = np.full(32_000, 0.1, np.float32)
    assert heard(manifest, backend, quiet) == []
    loud = quiet.copy()
    loud[100] = 0.7
    assert heard(manifest, backend, loud) == [("siren", 0.9)]


def as_input_values(path: Path) -> Path:
    """Name the input as exporters of transformers do."""
    model = onnx.load(str(path))
    model.graph.input[0].name = model.graph.node[0].input[0] = "input_values"
    onnx.save(model, str(path))
    return path


@pytest.mark.parametrize(("normalise", "events"), [("unit", [("siren", 0.9)]), ("none", [])])
def test_samples_of_transformers_are_normalised_in_the_graph(
    tmp_path: Path, normalise: str, events: list[tuple[str, float]]
) -> None:
    label_map(tmp_path)
    path = as_input_values(tagger(tmp_path / "wavlm.onnx", ["batch", "samples"]))
    said = {"sample_rate_hz": 16_000, "waveform_s": 1.0}
    with pytest.raises(ModelError, match="normalise: --assume normalise=unit"):
        recognise(path, said=said)
    bundle = bring(path, {**said, "normalise": normalise})
    backend = backends()["onnxruntime"].load(bundle.model_path, BackendOptions())
    quiet = np.sin(np.arange(16_000, dtype=np.float32)) * np.float32(0.01)
    assert heard(bundle.manifest, backend, quiet) == events
    backend.close()


def test_logits_of_other_classes_than_those_of_audioset_are_asked_about(tmp_path: Path) -> None:
    """One of them may be there at a time (a softmax) or several (a sigmoid)."""
    path = tagger(tmp_path / "four.onnx", [1, 16_000], sigmoid=False, classes=400)
    labels = [f"sound {k}" for k in range(400)]
    labels[SIREN] = "siren"
    said = {"sample_rate_hz": 16_000}
    with pytest.raises(ModelError, match="activation: Add makes the scores"):
        recognise(path, said=said, labels=labels)
    found = recognise(path, said={**said, "activation": "softmax"}, labels=labels)
    assert found.family == "audio tagger on samples"


def test_a_tagger_on_a_spectrogram(tmp_path: Path) -> None:
    label_map(tmp_path)
    path = tagger(tmp_path / "mel.onnx", [1, 1, 64, 100], sigmoid=False)
    bundle = bring(path, SPECTROGRAM)
    manifest = bundle.manifest
    assert manifest.preprocessing["layout"] == "mel_time"
    assert manifest.postprocessing["activation"] == "sigmoid"
    backend = backends()["onnxruntime"].load(bundle.model_path, BackendOptions())
    samples = 100 * 320 - 320 + 1024
    assert heard(manifest, backend, np.full(samples, 1e-7, np.float32)) == []
    tone = np.sin(np.arange(samples) * 0.3).astype(np.float32)
    assert heard(manifest, backend, tone) == [("siren", 0.9)]


AST = {
    "model_type": "audio-spectrogram-transformer",
    "id2label": {str(k): "Siren" if k == SIREN else f"Sound {k}" for k in range(527)},
}
AST_FEATURES = {
    "num_mel_bins": 64, "max_length": 100, "sampling_rate": 16_000, "do_normalize": True,
    "mean": -4.25, "std": 4.5,
}  # fmt: skip


def test_a_spectrogram_transformer_is_told_by_the_files_beside_it(tmp_path: Path) -> None:
    path = tagger(tmp_path / "model.onnx", ["batch", 100, 64], sigmoid=False)
    (tmp_path / "config.json").write_text(json.dumps(AST))
    features = tmp_path / "preprocessor_config.json"
    features.write_text(json.dumps(AST_FEATURES))
    recognised = recognise(path, config=tmp_path / "config.json")
    assert recognised.family == "audio spectrogram transformer"
    made = recognised.manifest["preprocessing"]
    assert (made["framing"], made["fft_size"], made["mel_max_hz"]) == ("kaldi", 512, 8000.0)
    assert (made["mean"], made["std"]) == (-4.25, 9.0)
    assert recognised.manifest["labels"][SIREN] == "Siren"
    assert {r.why for r in recognised.assumptions if r.name in ("std", "framing", "labels")} == {
        "'config.json'"
    }
    unnamed = {str(k): f"LABEL_{k}" for k in range(527)}
    (tmp_path / "config.json").write_text(json.dumps({**AST, "id2label": unnamed}))
    with pytest.raises(ModelError, match=r"only placeholders, LABEL_0 and so on: --labels FILE"):
        recognise(path, config=tmp_path / "config.json")
    features.write_text(json.dumps({**AST_FEATURES, "max_length": 1024}))
    with pytest.raises(ModelError, match=r"'patch_frames': 1024.*the graph has.*100"):
        recognise(path, config=features)
    features.write_text(json.dumps({**AST_FEATURES, "mean": "none"}))
    with pytest.raises(ModelError, match="is not as transformers writes it"):
        recognise(path, config=features)
    (tmp_path / "config.json").write_text(json.dumps({**AST, "model_type": "whisper"}))
    with pytest.raises(ModelError, match=r"of audio models expected config\.json"):
        recognise(path, config=features)


def test_frames_of_kaldi_by_loops() -> None:
    config = LogMelConfig(
        sample_rate_hz=8000, window_s=0.025, hop_s=0.01, fft_size=256, mel_bins=20, mel_min_hz=20.0,
        mel_max_hz=4000.0, log_offset=1.2e-7, power=2, framing="kaldi", patch_frames=3,
        patch_hop_frames=1,
    )  # fmt: skip
    samples = np.random.default_rng(1).normal(0.2, 0.1, 200).astype(np.float32)
    centred = [float(v) - float(np.mean(samples)) for v in samples]
    raised = [v - 0.97 * centred[max(k - 1, 0)] for k, v in enumerate(centred)]
    windowed = [v * (0.5 - 0.5 * math.cos(2 * math.pi * k / 199)) for k, v in enumerate(raised)]
    energy = np.abs(np.fft.rfft(windowed, 256)) ** 2
    wanted = np.log(energy @ mel_matrix(config) + 1.2e-7)
    assert LogMel(config).frames(samples)[0] == pytest.approx(wanted, abs=1e-3)


@pytest.mark.parametrize(
    ("shape", "said", "texts"),
    [
        (["n", "t"], {}, ["sample_rate_hz=8000|16000", "waveform_s=SECONDS", "--labels FILE"]),
        ([1, 1, 64, 100], {}, ["fft_size=", "mel_scale=", "power="]),
        ([1, 1, 100, 64], {**SPECTROGRAM, "window_s": 0.0323}, ["--labels FILE"]),
    ],
)
def test_what_the_file_does_not_tell_is_asked_for(
    tmp_path: Path, shape: list[Any], said: dict[str, Any], texts: list[str]
) -> None:
    with pytest.raises(ModelError) as caught:
        bring(tagger(tmp_path / "x.onnx", shape), said)
    for text in texts:
        assert text in str(caught.value)


def test_yamnet_on_samples_is_known_by_its_classes(tmp_path: Path) -> None:
    """As TensorFlow's hub has it: one axis of samples, scores of each patch."""
    label_map(tmp_path)
    names = (tmp_path / "class_labels_indices.csv").read_text().splitlines()[:522]
    (tmp_path / "yamnet_class_map.csv").write_text("\n".join(names))
    (tmp_path / "class_labels_indices.csv").unlink()
    path = tagger(tmp_path / "yamnet.onnx", ["samples"], classes=521)
    recognised = recognise(path)
    assert recognised.family == "YAMNet on samples"
    bundle = bring(path, {})
    assert bundle.manifest.inputs[0].shape == (15_600,)
    assert bundle.manifest.preprocessing["sample_rate_hz"] == 16_000
    backend = backends()["onnxruntime"].load(bundle.model_path, BackendOptions())
    loud = np.full(15_600, 0.7, np.float32)
    assert heard(bundle.manifest, backend, loud) == [("siren", 0.9)]


@pytest.mark.parametrize(
    ("labels", "events"),
    [
        (["siren", "car_horn", "dog_bark", "jackhammer"],
         {"siren": ["siren"], "car_horn": ["car_horn"], "dog": ["dog_bark"]}),
        (["Vehicle_horn_and_car_horn_and_honking", "Motor_vehicle_(road)", "Screaming"],
         {"car_horn": ["Vehicle_horn_and_car_horn_and_honking"],
          "vehicle": ["Motor_vehicle_(road)"], "shout": ["Screaming"]}),
        (["piano", "rain dance"], {}),
    ],
)  # fmt: skip
def test_events_by_the_names_of_other_data_sets(
    labels: list[str], events: dict[str, list[str]]
) -> None:
    assert {name: rule["labels"] for name, rule in events_of(labels).items()} == events


def test_scores_made_by_what_is_not_known_are_asked_for(tmp_path: Path) -> None:
    label_map(tmp_path)
    path = tagger(tmp_path / "cnn14.onnx", ["batch", 32_000])
    model = onnx.load(str(path))
    last = model.graph.node[-1]
    last.output[0] = "framewise"
    model.graph.node.append(
        onnx.helper.make_node("Mul", ["framewise", "half"], ["clipwise_output"])
    )
    onnx.save(model, str(path))
    with pytest.raises(ModelError, match="Mul makes the scores: --assume activation=none"):
        bring(path, {"sample_rate_hz": 32_000})
    with pytest.raises(ModelError, match="of models on samples no configuration is read"):
        recognise(path, config=tmp_path / "class_labels_indices.csv")


def test_an_activation_too_many_is_noticed(tmp_path: Path) -> None:
    label_map(tmp_path)
    path = tagger(tmp_path / "cnn14.onnx", ["batch", 32_000])
    with pytest.raises(ModelError, match="every sound at once"):
        bring(path, {"sample_rate_hz": 32_000, "activation": "sigmoid"})


def test_the_spectrogram_of_librosa_by_loops() -> None:
    config = LogMelConfig(**SPECTROGRAM, mel_bins=64, patch_frames=2, patch_hop_frames=1)
    rng = np.random.default_rng(0)
    samples = rng.normal(0, 0.1, config.patch_samples).astype(np.float32)
    got = LogMel(config).frames(samples)
    for frame, band in ((0, 0), (0, 20), (1, 40), (1, 63)):
        assert got[frame, band] == pytest.approx(_db(samples, frame, band, config), abs=0.02)


def _db(samples: np.ndarray, frame: int, band: int, config: LogMelConfig) -> float:
    """10 log10 of one mel band, from the definitions."""

    def mel(hz: float) -> float:
        return hz * 3 / 200 if hz < 1000 else 15 + 27 * math.log(hz / 1000) / math.log(6.4)

    def hertz(value: float) -> float:
        return value * 200 / 3 if value < 15 else 1000 * 6.4 ** ((value - 15) / 27)

    size = config.fft_size
    part = samples[frame * 320 : frame * 320 + size].astype(float)
    part *= [0.5 - 0.5 * math.cos(2 * math.pi * k / size) for k in range(size)]
    low, high = mel(config.mel_min_hz), mel(config.mel_max_hz)
    edges = [hertz(low + (high - low) * (band + k) / 65) for k in range(3)]
    total = 0.0
    for k, value in enumerate(np.abs(np.fft.rfft(part)) ** 2):
        hz = k * config.sample_rate_hz / size
        up = (hz - edges[0]) / (edges[1] - edges[0])
        down = (edges[2] - hz) / (edges[2] - edges[1])
        total += value * max(0.0, min(up, down)) * 2 / (edges[2] - edges[0])
    return 10 * math.log10(max(total, config.log_offset))


def with_frames(path: Path, how: str) -> Path:
    """Give scores of each frame beside those of the window, as PANNs' decision levels do."""
    model = onnx.load(str(path))
    node = onnx.helper.make_node
    last = next(n for n in model.graph.node if "clipwise_output" in n.output)
    last.output[0] = "once"
    weights = {"frames": np.array([1, 10, 527]), "axis": np.array([1])}
    model.graph.initializer.extend(onnx.numpy_helper.from_array(v, n) for n, v in weights.items())
    model.graph.node.append(node("Expand", ["once", "frames"], ["framewise_output"]))
    if how == "max":
        model.graph.node.append(
            node("ReduceMax", ["framewise_output"], ["clipwise_output"], axes=[1], keepdims=0)
        )
    else:
        model.graph.node.append(node("Identity", ["once"], ["clipwise_output"]))
    made = onnx.helper.make_tensor_value_info("framewise_output", 1, ["batch", "time", 527])
    model.graph.output.insert(0, made)
    if how == "two":
        model.graph.node.append(node("Identity", ["once"], ["teacher"]))
        model.graph.output.append(onnx.helper.make_tensor_value_info("teacher", 1, ["b", 527]))
    onnx.save(model, str(path))
    return path


@pytest.mark.parametrize("how", ["beside", "max"])
def test_of_scores_of_frames_and_of_the_window_those_of_the_window_count(
    tmp_path: Path, how: str
) -> None:
    label_map(tmp_path)
    path = with_frames(tagger(tmp_path / "sed.onnx", ["batch", 32_000]), how)
    bundle = bring(path, {"sample_rate_hz": 32_000})
    assert bundle.manifest.postprocessing["scores"] == "clipwise_output"
    assert bundle.manifest.postprocessing["activation"] == "none"  # a maximum of probabilities
    backend = backends()["onnxruntime"].load(bundle.model_path, BackendOptions())
    assert heard(bundle.manifest, backend, np.full(32_000, 0.7, np.float32)) == [("siren", 0.9)]


def test_which_of_several_scores_is_meant_is_asked(tmp_path: Path) -> None:
    label_map(tmp_path)
    path = with_frames(tagger(tmp_path / "two.onnx", ["batch", 32_000]), "two")
    with pytest.raises(ModelError, match=r"--assume scores=clipwise_output\|teacher"):
        bring(path, {"sample_rate_hz": 32_000})
    bundle = bring(path, {"sample_rate_hz": 32_000, "scores": "teacher"})
    assert bundle.manifest.postprocessing["scores"] == "teacher"


@pytest.mark.parametrize("kind", [10, 11])  # float16, float64
def test_samples_of_another_precision_are_cast_at_the_edge(tmp_path: Path, kind: int) -> None:
    label_map(tmp_path)
    path = tagger(tmp_path / "half.onnx", ["batch", 32_000])
    model = onnx.load(str(path))
    (given,) = model.graph.input
    given.type.tensor_type.elem_type = kind
    model.graph.node[0].input[0] = "numbers"
    model.graph.node.insert(0, onnx.helper.make_node("Cast", ["input"], ["numbers"], to=1))
    onnx.save(model, str(path))
    bundle = bring(path, {"sample_rate_hz": 32_000})
    assert bundle.manifest.inputs[0].dtype == "float32"
    backend = backends()["onnxruntime"].load(bundle.model_path, BackendOptions())
    assert heard(bundle.manifest, backend, np.full(32_000, 0.7, np.float32)) == [("siren", 0.9)]


def test_an_input_beside_the_samples_may_be_said(tmp_path: Path) -> None:
    """A mask of what is padding, as BEATs takes it: here nothing is."""
    label_map(tmp_path)
    path = tagger(tmp_path / "masked.onnx", [1, 32_000])
    model = onnx.load(str(path))
    model.graph.input.append(onnx.helper.make_tensor_value_info("padding_mask", 9, [1, 32_000]))
    model.graph.node[0].input[0] = "kept"
    weights = {"nothing": np.zeros((1, 1), np.float32)}
    model.graph.initializer.extend(onnx.numpy_helper.from_array(v, n) for n, v in weights.items())
    model.graph.node.insert(
        0, onnx.helper.make_node("Where", ["padding_mask", "nothing", "input"], ["kept"])
    )
    onnx.save(model, str(path))
    bundle = bring(path, {"sample_rate_hz": 32_000, "input.padding_mask": 0})
    assert [spec.name for spec in bundle.manifest.inputs] == ["input"]
    backend = backends()["onnxruntime"].load(bundle.model_path, BackendOptions())
    assert heard(bundle.manifest, backend, np.full(32_000, 0.7, np.float32)) == [("siren", 0.9)]


def test_frames_of_efficientat_by_loops(tmp_path: Path) -> None:
    """models/preprocess.py of EfficientAT: high frequencies of the whole sound are raised."""
    label_map(tmp_path)
    path = tagger(tmp_path / "mn10.onnx", [1, 1, 128, 100], sigmoid=False)
    with pytest.raises(ModelError, match=r"family: --assume family=efficientat\|panns"):
        recognise(path)
    made = recognise(path, said={"family": "efficientat"}).manifest["preprocessing"]
    config = decode(LogMelConfig, made, "preprocessing")
    assert config.layout == "mel_time"
    sound = np.random.default_rng(1).normal(0.2, 0.1, 1300)
    raised = sound[1:] - 0.97 * sound[:-1]
    window = [0.5 - 0.5 * math.cos(2 * math.pi * k / 799) for k in range(800)]
    mels = 1127 * np.log1p(np.array([0.0, *(k * 32_000 / 1024 for k in range(513))]) / 700)[1:]
    edges = np.linspace(0.0, 1127 * math.log1p(15_000 / 700), 130)
    for frame in range(2):
        part = raised[frame * 320 : frame * 320 + 800]  # of samples from frame * 320 + 1 on
        energy = np.abs(np.fft.rfft(part * window, 1024)) ** 2
        wanted = []
        for low, middle, high in zip(edges, edges[1:], edges[2:], strict=False):
            slopes = np.minimum((mels - low) / (middle - low), (high - mels) / (high - middle))
            wanted.append((math.log(np.maximum(slopes, 0.0) @ energy + 1e-5) + 4.5) / 5.0)
        got = LogMel(config).frames(sound[1:].astype(np.float32))[frame]
        assert got == pytest.approx(wanted, abs=2e-3)


def test_how_frames_are_prepared_may_be_said(tmp_path: Path) -> None:
    label_map(tmp_path)
    path = tagger(tmp_path / "mel.onnx", [1, 1, 64, 100], sigmoid=False)
    recognised = recognise(path, said={**SPECTROGRAM, "framing": "raised"})
    assert recognised.manifest["preprocessing"]["framing"] == "raised"
    told = recognise(path, said=SPECTROGRAM).assumptions
    assert [row.value for row in told if row.name == "framing"] == ['"plain"']


def yamnet_map(folder: Path) -> None:
    names = {SIREN: "Siren", DOG: "Dog"}
    rows = [f"{k},/m/{k},{names.get(k, f'Sound {k}')}" for k in range(521)]
    text = "\n".join(["index,mid,display_name", *rows])
    (folder / "yamnet_class_map.csv").write_text(text, encoding="utf-8-sig")


def test_of_class_maps_beside_that_of_as_many_classes_is_taken(tmp_path: Path) -> None:
    """Models of both kinds lie in one folder."""
    label_map(tmp_path)
    yamnet_map(tmp_path)
    for name, classes, shape in (("yamnet", 521, ["n"]), ("cnn14", 527, [1, 32_000])):
        path = tagger(tmp_path / f"{name}.onnx", shape, classes=classes)
        found = recognise(path, said={"sample_rate_hz": 32_000})
        assert len(found.manifest["labels"]) == classes
    (tmp_path / "class_labels_indices.csv").unlink()
    with pytest.raises(ModelError, match=r"'yamnet_class_map\.csv' beside the file has 521 names"):
        recognise(tmp_path / "cnn14.onnx", said={"sample_rate_hz": 32_000})


def test_a_class_map_is_read_by_its_numbers(tmp_path: Path) -> None:
    label_map(tmp_path)
    path = tmp_path / "class_labels_indices.csv"
    first, *rows = path.read_text().splitlines()
    path.write_text("\n".join([first, *sorted(rows, key=lambda row: row.rpartition(",")[2])]))
    found = recognise(tagger(tmp_path / "a.onnx", [1, 32_000]), said={"sample_rate_hz": 32_000})
    assert found.manifest["labels"].index("Siren") == SIREN
    path.write_text("\n".join([first, *rows[:-1], "526,/m/x,"]))
    with pytest.raises(ModelError, match="expected a display_name in each row"):
        recognise(tmp_path / "a.onnx", said={"sample_rate_hz": 32_000})


@pytest.mark.parametrize("value", [0, math.inf, math.nan, -1, "all"])
@pytest.mark.parametrize("name", ["sample_rate_hz", "waveform_s"])
def test_a_length_or_rate_that_is_none_is_refused(tmp_path: Path, name: str, value: Any) -> None:
    label_map(tmp_path)
    path = tagger(tmp_path / "a.onnx", ["batch", "samples"])
    said = {"sample_rate_hz": 32_000, "waveform_s": 1.0, name: value}
    with pytest.raises(ModelError, match=f"--assume {name}: expected a number above 0"):
        recognise(path, said=said)


def test_a_sound_that_no_memory_holds_is_refused(tmp_path: Path) -> None:
    label_map(tmp_path)
    path = tagger(tmp_path / "a.onnx", ["batch", "samples"])
    with pytest.raises(ModelError, match="input 'input': expected at most 268435456 numbers"):
        recognise(path, said={"sample_rate_hz": 32_000, "waveform_s": 1e9})
