"""Importing foreign ONNX files."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx_models import constant_heads, node, onnx, save

from edge_perception.backends import BackendOptions, backends
from edge_perception.core.errors import BundleError, EdgePerceptionError, ManifestError, ModelError
from edge_perception.fusion.classes import common_name
from edge_perception.models.adapters._coco import coco_spelling
from edge_perception.models.adapters._yolox_graph import describe
from edge_perception.models.golden import compare_golden, read_golden
from edge_perception.releases.importing import import_model
from edge_perception.releases.label_files import read_labels
from edge_perception.releases.recognising import recognise

CLASSES = 2


def yolox_graph(path: Path, classes: int = CLASSES, *, decoded: bool = False) -> Path:
    """A network of YOLOX's form, input 64 x 32: backbone, and a head of stem and two branches."""
    rng = np.random.default_rng(0)
    nodes, weights, flat = [], {}, []

    def conv(source: str, name: str, shape: tuple[int, int], stride: int = 1) -> str:
        weights[f"{name}_w"] = rng.normal(0, 0.1, (*shape, stride, stride)).astype(np.float32)
        nodes.append(node("Conv", [source, f"{name}_w"], name, strides=[stride, stride]))
        return name

    def act(source: str, name: str) -> str:
        nodes.append(node("Sigmoid", [source], f"{name}_sigmoid"))
        nodes.append(node("Mul", [source, f"{name}_sigmoid"], name))
        return name

    source = "images"
    for stride, factor, channels in ((8, 8, 3), (16, 2, 4), (32, 2, 4)):
        source = act(conv(source, f"c{stride}", (4, channels), factor), f"neck{stride}")
        stem = act(conv(source, f"stem_conv{stride}", (4, 4)), f"stem{stride}")
        box = act(conv(stem, f"box_conv{stride}", (4, 4)), f"box{stride}")
        kind = act(conv(stem, f"class_conv{stride}", (4, 4)), f"class{stride}")
        parts = [conv(box, f"reg{stride}", (4, 4))]
        for name, of, count in (("obj", box, 1), ("cls", kind, classes)):
            raw = conv(of, f"{name}_raw{stride}", (count, 4))
            nodes.append(node("Sigmoid", [raw], f"{name}{stride}"))
            parts.append(f"{name}{stride}")
        nodes.append(node("Concat", parts, f"level{stride}", axis=1))
        weights[f"shape{stride}"] = np.array([1, 5 + classes, -1], np.int64)
        nodes.append(node("Reshape", [f"level{stride}", f"shape{stride}"], f"flat{stride}"))
        flat.append(f"flat{stride}")
    nodes.append(node("Concat", flat, "all", axis=2))
    nodes.append(node("Transpose", ["all"], "raw" if decoded else "output", perm=[0, 2, 1]))
    if decoded:
        nodes.append(node("Exp", ["raw"], "output"))
    return save(path, nodes, {"images": (1, 3, 32, 64)}, {"output": (1, 42, 5 + classes)}, weights)


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    return yolox_graph(tmp_path / "detector.onnx")


def do_import(graph: Path, **changes: Any) -> Any:
    return import_model(
        graph,
        **{
            "adapter": "yolox",
            "into": graph.parent / "models",
            "labels": ["person", "car"],
            **changes,
        },
    )


def test_description_of_a_yolox_graph(graph: Path) -> None:
    described = describe(graph)
    assert described["preprocessing"] == {
        "image_input": "images",
        "size": [64, 32],
        "resize": "letterbox",
        "pad_value": 114.0,
        "pad": "bottom_right",
        "color": "bgr",
    }
    assert described["postprocessing"]["strides"] == [8, 16, 32]
    assert described["postprocessing"]["decoded"] is False
    assert described["features"] == {"neck": "neck32"}  # what the stem of stride 32 reads


def test_decoding_in_the_graph_is_noticed(tmp_path: Path) -> None:
    graph = yolox_graph(tmp_path / "decoded.onnx", decoded=True)
    assert describe(graph)["postprocessing"]["decoded"] is True


def test_yolox_with_names_in_its_metadata_is_yolox(tmp_path: Path) -> None:
    path = yolox_graph(tmp_path / "named.onnx", classes=40)
    model = onnx.load(str(path))
    names = {str(number): f"thing {number}" for number in range(40)}
    onnx.helper.set_model_props(model, {"names": json.dumps(names)})
    onnx.save(model, str(path))
    recognised = recognise(path)
    assert recognised.family == "YOLOX"  # and no NanoDet of 13 classes
    assert recognised.manifest["labels"][39] == "thing 39"
    onnx.helper.set_model_props(model, {"names": "['person', 'car']"})
    onnx.save(model, str(path))
    with pytest.raises(ModelError):
        recognise(path)


def test_import_gives_a_bundle_that_runs(graph: Path) -> None:
    bundle = do_import(graph)
    manifest = bundle.manifest
    assert bundle.path == graph.parent / "models" / "detector"
    assert manifest.labels == ("person", "car")
    assert manifest.features == {"neck": "neck32"}
    assert {spec.name: spec.shape for spec in manifest.outputs} == {
        "output": (1, 42, 7),
        "neck32": (1, 4, 1, 2),
    }
    assert manifest.runtime.opset == 17
    assert manifest.resources.disk_bytes == sum(entry.size for entry in manifest.files.values())
    backend = backends()["onnxruntime"].load(bundle.model_path, BackendOptions())
    assert all(deviation.passed for deviation in compare_golden(bundle, backend))
    inputs, outputs = read_golden(bundle)
    assert inputs["images"].std() > 10  # a picture, as the preprocessing gives it
    assert np.all(inputs["images"][..., :, :57] <= 255)
    assert outputs["neck32"].std() > 0


def test_features_by_name(graph: Path) -> None:
    bundle = do_import(graph, features={"fine": "neck8", "coarse": "neck32"})
    assert bundle.manifest.features == {"fine": "neck8", "coarse": "neck32"}
    assert {spec.name for spec in bundle.manifest.outputs} == {"output", "neck8", "neck32"}


def test_feature_space_tells_weights_and_tensors_apart(graph: Path) -> None:
    spaces = {
        do_import(graph, name="a").manifest.feature_space,
        do_import(graph, name="b", features={"neck": "neck16"}).manifest.feature_space,
    }
    assert len(spaces) == 2


def test_the_same_file_gives_the_same_model(graph: Path) -> None:
    first, second = do_import(graph), do_import(graph, replace=True)
    assert first.manifest.files == second.manifest.files


def test_fields_of_a_manifest_replace_the_adapter_s(graph: Path) -> None:
    bundle = do_import(
        graph,
        name="mine",
        version="2.1.0",
        manifest={"postprocessing": {"score_threshold": 0.6}, "provenance": {"licence": "MIT"}},
    )
    manifest = bundle.manifest
    assert (manifest.name, manifest.version) == ("mine", "2.1.0")
    assert manifest.postprocessing["score_threshold"] == 0.6
    assert manifest.postprocessing["strides"] == [8, 16, 32]
    assert manifest.provenance.licence == "MIT"


def bev_model(path: Path) -> Path:
    heads = {"heatmap": np.zeros((1, 1, 4, 4), np.float32)}
    heads["boxes"] = np.zeros((1, 8, 4, 4), np.float32)
    return constant_heads(path, {"raster": (1, 11, 4, 4)}, heads)


def test_a_manifest_alone_brings_a_model(tmp_path: Path) -> None:
    fields = {
        "role": "lidar",
        "labels": ["car"],
        "preprocessing": {"x_range_m": [0, 8], "y_range_m": [-4, 4], "cell_m": 2.0},
        "postprocessing": {"x_min_m": 0.0, "y_min_m": -4.0, "cell_m": 2.0},
        "provenance": {"licence": "Apache-2.0"},
    }
    path = bev_model(tmp_path / "bev.onnx")
    bundle = import_model(path, adapter="bev_center", into=tmp_path / "models", manifest=fields)
    assert bundle.manifest.name == "bev"
    assert bundle.manifest.inputs[0].shape == (1, 11, 4, 4)
    fields["preprocessing"] = {"cell_m": 1.0}
    with pytest.raises(ManifestError, match="expects inputs"):
        import_model(
            path, adapter="bev_center", into=tmp_path / "models", manifest=fields, name="other"
        )


def left_behind(graph: Path) -> list[Path]:
    models = graph.parent / "models"
    return list(models.rglob("*")) if models.exists() else []


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"features": {"x": "nope"}}, "tensor 'nope' is not computed in the graph"),
        ({"features": {"x": "images"}}, "tensor 'images' is not computed"),
        ({"labels": []}, "expected class names"),
        ({"labels": ["car"]}, "with 1 labels"),
        ({"name": "../up"}, r"manifest.name: .* got '../up'"),
        ({"version": "one"}, r"manifest.version: .* got 'one'"),
        ({"adapter": "bev_center"}, "needs a manifest; these can: .*yolox"),
        ({"adapter": "none"}, "unknown adapter 'none'"),
        ({"manifest": {"postprocessing": {"nms": 1}}}, "postprocessing.nms"),
        ({"manifest": {"colour": 1}}, "manifest.colour"),
    ],
)
def test_refused_and_nothing_written(graph: Path, changes: dict[str, Any], text: str) -> None:
    with pytest.raises(EdgePerceptionError, match=text):
        do_import(graph, **changes)
    assert left_behind(graph) == []


def test_a_bundle_is_not_overwritten_by_accident(graph: Path) -> None:
    first = do_import(graph)
    with pytest.raises(BundleError, match="exists already"):
        do_import(graph, version="2.0.0")
    assert do_import(graph, version="2.0.0", replace=True).sha256 != first.sha256
    assert [path.name for path in (graph.parent / "models").iterdir()] == ["detector"]


@pytest.mark.parametrize("content", [b"", b"no model at all", b"\x08\x07" * 40])
def test_files_that_are_no_model(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"bad\.onnx"):
        import_model(path, adapter="yolox", into=tmp_path / "models")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "an empty file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "the pointer of Git LFS"),
        (b"<!DOCTYPE html><html>404</html>", "a web page"),
        (b"PK\x03\x04archive/data.pkl", "a checkpoint of PyTorch"),
        (b"\x1c\x00\x00\x00TFL3", "a TensorFlow Lite model"),
        (b"\x18\x00\x00\x00TFL3", "a TensorFlow Lite model"),
        (b"ftrt\x00\x00", "an engine of TensorRT"),
        (b'\x40\x00\x00\x00{"description": "x"}ftrt', "an engine of TensorRT.*by Ultralytics"),
        (b'\x40\x00\x00\x00\x00\x00\x00\x00{"w": {}}', "weights alone"),
        (b'<?xml version="1.0"?><net name="x">', "a model of OpenVINO"),
        (b"7767517\n1 1\n", "a model of ncnn"),
        (b"RKNN\x00", "Rockchip's NPU"),
        (b"\x1f\x8b\x08\x00", "gzip.: unpack it"),
        (b"BZh91AY", "bzip2.: unpack it"),
        (b"\xfd7zXZ\x00", "xz.: unpack it"),
        (b"bundle/".ljust(257, b"\x00") + b"ustar\x0000", "tar.: unpack it"),
        (b"\x80\x04\x95", "a pickle"),
        (b"\x20\x00\x00\x00ORTM", "ONNX Runtime's own format"),
        (b"\x20\x00\x00\x00ET12", "ExecuTorch"),
        (b"\x0a\xb2\x02\x08\x00\x10" + b"\xff" * 9 + b"\x01\x1a", "Paddle: paddle2onnx"),
        (b'{"base_code":{"magic":"pir"}', "Paddle: paddle2onnx.*--params_filename model.pdiparams"),
        (b"\x1c\x00\x00\x00TFL3", "tf2onnx.convert --tflite model.onnx --output"),
        (b"\x89HDF\r\n\x1a\n", "tf2onnx.convert --keras model.onnx --output"),
        (b'\x40\x00\x00\x00\x00\x00\x00\x00{"w": {}}', "optimum-cli export onnx"),
        (b"GGUF\x03\x00", "a language model"),
    ],
)
def test_what_is_often_taken_for_a_model_is_named(
    tmp_path: Path, content: bytes, what: str
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=f"model.onnx: expected an ONNX model, got .*{what}"):
        recognise(path)


@pytest.mark.parametrize(
    ("inside", "what"),
    [
        ({"yolo/model.onnx": ""}, "'yolo/model.onnx' inside: unpack it"),
        ({"b/manifest.json": "", "b/model.onnx": ""}, "of a bundle: unpack it"),
        ({"m/code/__torch__.py": ""}, r"a model of TorchScript: .*torch.jit.load\("),
        ({"m/models/model.json": ""}, r"a program of torch.export: .*torch.export.load\("),
        ({"config.json": "", "model.weights.h5": ""}, r"of Keras: .*\.export\("),
        ({"m/data.pkl": "x"}, "such as a checkpoint of PyTorch: export it to ONNX: torch.onnx"),
        ({"m/data.pkl": "cultralytics.nn.tasks"}, "yolo export model=model.onnx format=onnx"),
        ({"m/data.pkl": "cmodels.yolo"}, "python export.py --weights model.onnx"),
    ],
)
def test_archives_are_told_by_what_is_in_them(
    tmp_path: Path, inside: dict[str, str], what: str
) -> None:
    path = tmp_path / "model.onnx"
    with zipfile.ZipFile(path, "w") as file:
        for name, text in inside.items():
            file.writestr(name, text)
    with pytest.raises(ModelError, match=f"got a ZIP archive.*{what}"):
        recognise(path)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("saved_model.pb", "tf2onnx.convert --saved-model FOLDER --output model.onnx"),
        ("model.mlmodel", "of Core ML"),
        ("model.pdmodel", "paddle2onnx --model_dir FOLDER --model_filename model.pdmodel"),
    ],
)
def test_programs_that_may_be_read_as_a_model_without_a_graph_are_told(
    tmp_path: Path, name: str, what: str
) -> None:
    path = tmp_path / name
    path.write_bytes(b"\x08\x01\x12\x04name")  # a version and a name, as ONNX has them too
    with pytest.raises(ModelError, match=what):
        recognise(path)


def test_a_file_that_is_cut_off_or_is_text_is_told_so(graph: Path, tmp_path: Path) -> None:
    whole, path = graph.read_bytes(), tmp_path / "model.onnx"
    for share in (0.3, 0.9):
        kept = int(share * len(whole))
        path.write_bytes(whole[:kept])
        with pytest.raises(ModelError, match=f"cut off: it has {kept} bytes, and [0-9]+ more"):
            recognise(path)
    path.write_text('{"error": "not\nfound"}')
    with pytest.raises(ModelError, match=r"the file is text: '.{2}error"):
        recognise(path)
    weights = tmp_path / "weights.bin"
    weights.write_bytes(b"\xff\xfe" * 40)
    with pytest.raises(ModelError, match="holds weights alone, as a rule"):
        recognise(weights)


def test_model_of_another_family(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="expected an output"):
        import_model(bev_model(tmp_path / "x.onnx"), adapter="yolox", into=tmp_path / "models")


def test_another_model_is_told_by_its_shapes_and_never_by_its_weights(tmp_path: Path) -> None:
    weights = {f"w{index}": np.full((16, 16), 0.12345, np.float32) for index in range(40)}
    steps = [node("MatMul", [f"x{i}" if i else "x", f"w{i}"], f"x{i + 1}") for i in range(40)]
    inputs = {"x": (1, 16), **dict.fromkeys(weights, (16, 16))}  # as before IR version 4
    path = save(tmp_path / "old.onnx", steps, inputs, {"x40": (1, 16)}, weights)
    for adapter in ("yamnet", "yolox"):
        with pytest.raises(ModelError) as caught:
            import_model(path, adapter=adapter, into=tmp_path / "models")
        text = str(caught.value)
        assert "'x' (1, 16)" in text
        assert "w3" not in text
        assert "0.123" not in text
        assert len(text) < 200


@pytest.mark.parametrize(
    ("given", "coco"),
    [
        ("aeroplane", "airplane"),
        ("motorbike", "motorcycle"),
        ("sofa", "couch"),
        ("pottedplant", "potted plant"),
        ("diningtable", "dining table"),
        ("tvmonitor", "tv"),
        ("Traffic_Light", "traffic light"),
        ("Person", "person"),
        ("forklift", "forklift"),
        ("Forklift", "Forklift"),
    ],
)
def test_spellings_of_darknet_are_known(given: str, coco: str) -> None:
    assert coco_spelling(given) == coco


def test_labels_in_darknet_s_spelling_become_road_users(graph: Path) -> None:
    bundle = do_import(graph, labels=["person", "motorbike"])
    assert bundle.manifest.labels == ("person", "motorcycle")
    assert common_name("motorcycle") == common_name("motorbike") == "cyclist"
    assert common_name("Person ") == "pedestrian"


def test_labels_of_text_and_csv(tmp_path: Path) -> None:
    text, table, bad = tmp_path / "a.txt", tmp_path / "a.csv", tmp_path / "b.csv"
    text.write_text("person\n\n  car \n")
    table.write_text('index,mid,display_name\n0,/m/1,Speech\n1,/m/2,"Horn, car"\n')
    bad.write_text("index,mid\n0,1\n")
    assert read_labels(text) == ["person", "car"]
    assert read_labels(table) == ["Speech", "Horn, car"]
    with pytest.raises(ModelError, match="expected a column"):
        read_labels(bad)
    with pytest.raises(ModelError, match="cannot be read"):
        read_labels(tmp_path / "none.txt")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("class_id,class\n1,car_horn\n0,siren\n", ["siren", "car_horn"]),
        ("0,Siren,/m/03kmc9\n1,Dog,/m/0bt9lr\n", ["Siren", "Dog"]),
        ("\ufefffilename;x,target,category\na,1,dog\nb,0,siren\nc,1,dog\n", ["siren", "dog"]),
        ("id,name\n1,person\n2,car\n", ["person", "car"]),
        ("id,name\n1,person\n3,car\n", ["unused_0", "person", "unused_2", "car"]),
        ("index\tlabel\n0\tperson\n1\tcar, small\n", ["person", "car, small"]),
        ("person\ncar\n", ["person", "car"]),
    ],
)
def test_tables_of_classes_as_people_have_them(tmp_path: Path, text: str, names: list[str]) -> None:
    (tmp_path / "classes.csv").write_text(text, encoding="utf-8")
    assert read_labels(tmp_path / "classes.csv") == names


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("id,name\n0,dog\n0,cat\n", "number 0 has several names"),
        ("id,name\n0\n", "expected 2 columns in every row"),
        ("mid,sound\n/m/1,x\n", "expected a column display_name"),
        ("\n", "got none"),
    ],
)
def test_tables_that_are_none_of_classes(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "classes.csv").write_text(text)
    with pytest.raises(ModelError, match=told):
        read_labels(tmp_path / "classes.csv")


def test_manifest_on_disk_is_plain_json(graph: Path) -> None:
    data = json.loads((do_import(graph).path / "manifest.json").read_text())
    assert data["golden"] == {"inputs": "golden_inputs.npz", "outputs": "golden_outputs.npz"}
    assert set(data["files"]) == {"model.onnx", "golden_inputs.npz", "golden_outputs.npz"}
