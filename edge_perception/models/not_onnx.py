"""What a file is that is given in the place of an ONNX model: other formats, broken downloads."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import BinaryIO

_EXPORT = "export it to ONNX"
_ENGINE = "an engine of TensorRT: it wants the ONNX file that it was built from"
_TFLITE = "a TensorFlow Lite model: convert it with tf2onnx"
_IR = "a model of OpenVINO: give the ONNX file that it was converted from"
# Where a sign stands in small letters, the sign, and what such a file is.
_SIGNS = (
    (0, b"version https://git-lfs", "the pointer of Git LFS to it: fetch the file (git lfs pull)"),
    (0, b"<!doctype html", "a web page, as a download of the wrong address leaves it"),
    (0, b"<html", "a web page, as a download of the wrong address leaves it"),
    (0, b"<?xml", _IR),
    (0, b"<net", _IR),
    (0, b"\x80\x02", f"a pickle, such as an old checkpoint of PyTorch: {_EXPORT}"),
    (4, b"tfl3", _TFLITE),
    (0, b"ftrt", _ENGINE),
    (0, b"ptrt", _ENGINE),
    (4, b'{"', f"{_ENGINE} (by Ultralytics, with its names before it)"),
    (8, b'{"', f"weights alone (safetensors), without the network: {_EXPORT}"),
    (0, b"\x89hdf", "a file of Keras (HDF5): convert it with tf2onnx"),
    (0, b"7767517", "a model of ncnn: give the ONNX file that it was converted from"),
    (0, b"rknn", "a model for Rockchip's NPU: give the ONNX file that it was converted from"),
    (1, b"hef", "a model for Hailo's NPU: give the ONNX file that it was converted from"),
    (0, b"\x1f\x8b", "an archive (gzip): unpack it"),
    (0, b"%pdf", "a PDF document"),
)
_LONGEST = max(place + len(sign) for place, sign, _ in _SIGNS)
_TEXT = 400  # bytes at the start that are looked at
_TRAINED = (".bin", ".weights", ".pdiparams", ".caffemodel", ".data")
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
    found = (what for place, sign, what in _SIGNS if head[place:].startswith(sign))
    return next(found, "")


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
    if path.suffix.lower() in _TRAINED:
        return f"a '{path.suffix}' holds weights alone, as a rule: give the file of the network"
    return ""


def _archive(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as file:
            names = file.namelist()
    except (OSError, zipfile.BadZipFile):
        names = []
    inside = [name for name in names if name.lower().endswith(".onnx")]
    if inside:
        return f"a ZIP archive with '{inside[0][:80]}' inside: unpack it"
    if any("/code/" in name for name in names):
        return f"a ZIP archive, a model of TorchScript: {_EXPORT}"
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
