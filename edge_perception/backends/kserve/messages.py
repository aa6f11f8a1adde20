"""The protocol's gRPC messages, as far as they are used, built from a table.

Names and numbers are those of the published definition (package `inference`):
https://github.com/kserve/open-inference-protocol, open_inference_grpc.proto
"""

from __future__ import annotations

from functools import cache
from typing import Any

from edge_perception.core.extras import extra

with extra("kserve"):
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_FIELD = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "string": _FIELD.TYPE_STRING,
    "int64": _FIELD.TYPE_INT64,
    "bytes": _FIELD.TYPE_BYTES,
    "bool": _FIELD.TYPE_BOOL,
    "int32": _FIELD.TYPE_INT32,
    "uint32": _FIELD.TYPE_UINT32,
    "uint64": _FIELD.TYPE_UINT64,
    "float": _FIELD.TYPE_FLOAT,
    "double": _FIELD.TYPE_DOUBLE,
}
# message: field -> (number, type); a type with * is repeated, any but the scalars a message.
_MESSAGES: dict[str, dict[str, tuple[int, str]]] = {
    "ServerMetadataRequest": {},
    "ServerMetadataResponse": {
        "name": (1, "string"),
        "version": (2, "string"),
        "extensions": (3, "string*"),
    },
    "ModelMetadataRequest": {"name": (1, "string"), "version": (2, "string")},
    "TensorMetadata": {
        "name": (1, "string"),
        "datatype": (2, "string"),
        "shape": (3, "int64*"),
    },
    "ModelMetadataResponse": {
        "name": (1, "string"),
        "versions": (2, "string*"),
        "platform": (3, "string"),
        "inputs": (4, "TensorMetadata*"),
        "outputs": (5, "TensorMetadata*"),
        "properties": (6, "Property*"),
    },
    # A map is a list of entries on the wire.
    "Property": {"key": (1, "string"), "value": (2, "bytes")},
    # Triton's extension "model configuration", model_config.proto
    "ModelConfigRequest": {"name": (1, "string"), "version": (2, "string")},
    "ModelConfigResponse": {"config": (1, "ModelConfig")},
    "ModelConfig": {"parameters": (14, "Parameter*")},
    "Parameter": {"key": (1, "string"), "value": (2, "ParameterValue")},
    "ParameterValue": {"string_value": (1, "string")},
    # One of its fields is set; a map is a repeated message of key and value.
    "InferParameter": {"int64_param": (2, "int64"), "string_param": (3, "string")},
    "TensorParameter": {"key": (1, "string"), "value": (2, "InferParameter")},
    "Tensor": {
        "name": (1, "string"),
        "datatype": (2, "string"),
        "shape": (3, "int64*"),
        "parameters": (4, "TensorParameter*"),
        "contents": (5, "TensorContents"),
    },
    "TensorContents": {
        "bool_contents": (1, "bool*"),
        "int_contents": (2, "int32*"),
        "int64_contents": (3, "int64*"),
        "uint_contents": (4, "uint32*"),
        "uint64_contents": (5, "uint64*"),
        "fp32_contents": (6, "float*"),
        "fp64_contents": (7, "double*"),
    },
    "RequestedOutput": {"name": (1, "string"), "parameters": (2, "TensorParameter*")},
    # Of Triton's extension.
    "SystemSharedMemoryRegisterRequest": {
        "name": (1, "string"),
        "key": (2, "string"),
        "offset": (3, "int64"),
        "byte_size": (4, "int64"),
    },
    "SystemSharedMemoryRegisterResponse": {},
    "SystemSharedMemoryUnregisterRequest": {"name": (1, "string")},
    "SystemSharedMemoryUnregisterResponse": {},
    "ModelInferRequest": {
        "model_name": (1, "string"),
        "model_version": (2, "string"),
        "id": (3, "string"),
        "inputs": (5, "Tensor*"),
        "outputs": (6, "RequestedOutput*"),
        "raw_input_contents": (7, "bytes*"),
    },
    "ModelInferResponse": {
        "model_name": (1, "string"),
        "model_version": (2, "string"),
        "id": (3, "string"),
        "outputs": (5, "Tensor*"),
        "raw_output_contents": (6, "bytes*"),
    },
}


@cache
def message_class(name: str) -> Any:
    """Return the class of a message; fields that are not in the table are passed over."""
    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(f"inference.{name}"))


@cache
def _pool() -> descriptor_pool.DescriptorPool:
    file = descriptor_pb2.FileDescriptorProto(
        name="open_inference_subset.proto", package="inference", syntax="proto3"
    )
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            base = kind.rstrip("*")
            added = message.field.add(name=field, number=number)
            added.label = _FIELD.LABEL_REPEATED if kind.endswith("*") else _FIELD.LABEL_OPTIONAL
            if base in _SCALARS:
                added.type = _SCALARS[base]
            else:
                added.type, added.type_name = _FIELD.TYPE_MESSAGE, f".inference.{base}"
    # A pool of its own: another library may bring the whole definition under the same names.
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool
