"""What a file is that is given in the place of an ONNX model: other formats, broken downloads."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import BinaryIO

_EXPORT = (
    'export it to ONNX: torch.onnx.export(network, picture, "model.onnx") of the loaded network'
)
_ENGINE = "an engine of TensorRT: it wants the ONNX file that it was built from"
_TF2ONNX = "python -m tf2onnx.convert --{option} {name} --output model.onnx"
_TFLITE = f"a TensorFlow Lite model: {_TF2ONNX.replace('{option}', 'tflite')}"
_KERAS = f"a file of Keras (HDF5): {_TF2ONNX.replace('{option}', 'keras')}"
_IR = "a model of OpenVINO: give the ONNX file that it was converted from"
_PADDLE = (
    "a program of Paddle: paddle2onnx --model_dir FOLDER --model_filename {name} "
    "--params_filename {stem}.pdiparams --save_file model.onnx"
)
_SAFETENSORS = (
    "weights alone (safetensors), without the network: export it to ONNX, of transformers with "
    "optimum-cli export onnx --model FOLDER onnx/"
)
_PACKED = "an archive ({}): unpack it"
_CONVERTED = "give the ONNX file that it was converted from"
# Where a sign stands in small letters, the sign, and what such a file is; {name} and {stem} are of
# the file.
_SIGNS = (
    (0, b"version https://git-lfs", "the pointer of Git LFS to it: fetch the file (git lfs pull)"),
    (0, b"<!doctype html", "a web page, as a download of the wrong address leaves it"),
    (0, b"<html", "a web page, as a download of the wrong address leaves it"),
    (0, b"<?xml", _IR),
    (0, b"<net", _IR),
    *((0, bytes((0x80, k)), f"a pickle, such as an old checkpoint of PyTorch: {_EXPORT}")
      for k in (2, 3, 4, 5)),
    (4, b"tfl3", _TFLITE),
    (4, b"ortm", f"a model in ONNX Runtime's own format: {_CONVERTED}"),
    (4, b"et1", f"a program of ExecuTorch: {_EXPORT}"),
    (0, b"ftrt", _ENGINE),
    (0, b"ptrt", _ENGINE),
    (4, b'{"', f"{_ENGINE} (by Ultralytics, with its names before it)"),
    (8, b'{"', _SAFETENSORS),
    (0, b'{"base_code"', _PADDLE),
    (0, b"gguf", "weights of a language model (GGUF), which sees no pictures"),
    (0, b"\x89hdf", _KERAS),
    (0, b"\x93numpy", "an array of NumPy, without a network"),
    (0, b"7767517", f"a model of ncnn: {_CONVERTED}"),
    (0, b"rknn", f"a model for Rockchip's NPU: {_CONVERTED}"),
    (1, b"hef", f"a model for Hailo's NPU: {_CONVERTED}"),
    (0, b"\x1f\x8b", _PACKED.format("gzip")),
    (0, b"bzh", _PACKED.format("bzip2")),
    (0, b"\xfd7zxz", _PACKED.format("xz")),
    (0, b"7z\xbc\xaf", _PACKED.format("7z")),
    (0, b"rar!", _PACKED.format("RAR")),
    (0, b"\x28\xb5\x2f\xfd", _PACKED.format("zstd")),
    (257, b"ustar", _PACKED.format("tar")),
    (0, b"%pdf", "a PDF document"),
)  # fmt: skip
_LONGEST = max(place + len(sign) for place, sign, _ in _SIGNS)
_TEXT = 400  # bytes at the start that are looked at
_PICKLE = 1 << 16  # bytes of a checkpoint's pickle that are looked at for names of modules
_TRAINED = (".bin", ".weights", ".pdiparams", ".caffemodel", ".data")
# Programs without a sign of their own: their bytes may be read as a model of ONNX without a graph.
_BY_SUFFIX = {
    ".pb": "a graph of TensorFlow: "
    + _TF2ONNX.replace("{option} {name}", "saved-model FOLDER")
    + ", or --graphdef {name} with --inputs and --outputs",
    ".pdmodel": _PADDLE,
    ".mlmodel": f"a model of Core ML: {_CONVERTED}",
    ".dlc": f"a model for Qualcomm's NPU: {_CONVERTED}",
    ".om": f"a model for Huawei's NPU: {_CONVERTED}",
    ".mnn": f"a model of MNN: {_CONVERTED}",
}
# The first block of Paddle's programs: number 0, whose parent is -1.
_PADDLE_BLOCK = b"\x08\x00\x10" + b"\xff" * 9 + b"\x01"
_GRAPH, _LAST_FIELD = 7, 26  # of onnx.ModelProto
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types of protobuf


def what_it_is(path: Path) -> str:
    """Say what a file is that its first bytes show to be no ONNX model; empty: it may be one.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(_LONGEST).lower()
    if not head:
        return "an empty file"
    if head.startswith(b"pk\x03\x04"):
        return _archive(path)
    if head[:1] == b"\n" and _PADDLE_BLOCK in head[:32]:
        return _told(_PADDLE, path)
    found = (what for place, sign, what in _SIGNS if head[place:].startswith(sign))
    return _told(next(found, ""), path)


def what_folder_it_is(path: Path) -> str:
    """Say what a folder is that is given in the place of a file."""
    inside = [file.name for file in path.iterdir()] if path.is_dir() else []
    if {"manifest.json", "model.onnx"} <= set(inside):
        return "a bundle, which nodes serve as it is: give their parameter model this folder"
    found = [name for name in sorted(inside) if name.endswith(".onnx")]
    if found:
        return f"it holds '{found[0]}': give that"
    if "saved_model.pb" in inside:
        return "a SavedModel: " + _TF2ONNX.format(option="saved-model", name=path)
    if "config.json" in inside:
        return f"of transformers, say: optimum-cli export onnx --model {path} onnx/"
    if any(name.endswith((".pdmodel", ".pdiparams")) for name in inside):
        program = next((n for n in inside if n.endswith((".pdmodel", ".json"))), "model.pdmodel")
        told = _told(_PADDLE, Path(program)).removeprefix("a program of Paddle: ")
        return told.replace("FOLDER", str(path))
    if any(name.endswith(".xml") for name in inside):
        return _IR
    return "give the ONNX file in it"


def _told(what: str, path: Path) -> str:
    return what.replace("{name}", path.name).replace("{stem}", path.stem)


def why_unread(path: Path) -> str:
    """Say why a file that may be an ONNX model could not be read; empty: nothing tells.

    Raises:
        OSError: it cannot be read.
    """
    missing = _missing_bytes(path)
    if missing:
        size = path.stat().st_size
        return (
            f"the file is cut off: it has {size} bytes, and {missing} more belong to it, as a "
            "download or a copy that was stopped leaves it"
        )
    with path.open("rb") as file:
        head = file.read(_TEXT)
    if head.isascii() and head.decode().replace("\n", " ").isprintable():
        return f"the file is text: '{' '.join(head.decode().split())[:60]}'"
    if path.suffix.lower() in _BY_SUFFIX:
        return "it is " + _told(_BY_SUFFIX[path.suffix.lower()], path)
    if path.suffix.lower() in _TRAINED:
        return f"a '{path.suffix}' holds weights alone, as a rule: give the file of the network"
    return ""


def _archive(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as file:
            names = file.namelist()
            pickled = [name for name in names if name.endswith("data.pkl")][:1]
            head = b"".join(file.open(name).read(_PICKLE) for name in pickled)
    except (OSError, zipfile.BadZipFile, zipfile.LargeZipFile, RuntimeError, NotImplementedError):
        names, head = [], b""
    inside = [name for name in names if name.lower().endswith(".onnx")]
    if any(name.rpartition("/")[2] == "manifest.json" for name in names) and inside:
        return "a ZIP archive of a bundle: unpack it; nodes serve its folder as it is"
    if inside:
        return f"a ZIP archive with '{inside[0][:80]}' inside: unpack it"
    if any("/code/" in name for name in names):
        return (
            "a ZIP archive, a model of TorchScript: export it to ONNX: torch.onnx.export("
            f'torch.jit.load("{path.name}"), picture, "model.onnx", dynamo=False)'
        )
    if any(name.endswith("serialized_exported_program.json") for name in names) or any(
        "/models/" in name and name.endswith(".json") for name in names
    ):
        return (
            "a ZIP archive, a program of torch.export: export it to ONNX: torch.onnx.export("
            f'torch.export.load("{path.name}"), f="model.onnx")'
        )
    if "model.weights.h5" in names:
        return (
            "a ZIP archive, a model of Keras: export it to ONNX: keras.models.load_model("
            f'"{path.name}").export("model.onnx", format="onnx")'
        )
    if b"ultralytics" in head:
        return (
            f"a ZIP archive, a checkpoint of Ultralytics: yolo export model={path.name} format=onnx"
        )
    if b"models.yolo" in head:
        return (
            "a ZIP archive, a checkpoint of YOLOv5, v7 or v9: python export.py --weights "
            f"{path.name} in their tree (YOLOv5 and v9 with --include onnx)"
        )
    return f"a ZIP archive, such as a checkpoint of PyTorch: {_EXPORT}"


def _missing_bytes(path: Path) -> int:
    """Return how many bytes the graph of a model lacks; 0: none, or it is no such file.

    The fields of the message are gone through, without what is in them.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        while file.tell() < size:
            tag = _number(file)
            field, kind = divmod(tag, 8)
            if not 1 <= field <= _LAST_FIELD or kind not in (_VARINT, _FIXED64, _BYTES, _FIXED32):
                return 0
            if kind == _VARINT:
                _number(file)
                continue
            length = {_FIXED64: 8, _FIXED32: 4}.get(kind)
            length = _number(file) if length is None else length
            end = file.tell() + length
            if end > size:
                return end - size if field == _GRAPH else 0
            file.seek(end)
    return 0


def _number(file: BinaryIO) -> int:
    """Read a number as protobuf writes it: seven bits a byte, the last without the eighth."""
    value = 0
    for place in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            return 0
        value |= (byte[0] & 0x7F) << place
        if byte[0] < 0x80:
            break
    return value
