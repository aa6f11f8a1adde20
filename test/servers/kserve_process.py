"""A model on KServe's own Python server; started with the Python of .venv-kserve.

Arguments: name, ONNX file, port of HTTP, port of gRPC.
"""

import sys

import onnxruntime as ort
from kserve import InferOutput, InferResponse, Model, ModelServer

TYPES = {"tensor(float)": "FP32", "tensor(int64)": "INT64", "tensor(uint8)": "UINT8"}


class OnnxModel(Model):
    def __init__(self, name, path):
        super().__init__(name)
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = ort.InferenceSession(path, options)
        self.ready = True

    async def get_input_types(self):
        return [_told(node) for node in self.session.get_inputs()]

    async def get_output_types(self):
        return [_told(node) for node in self.session.get_outputs()]

    def predict(self, payload, headers=None, response_headers=None):
        names = [node.name for node in self.session.get_outputs()]
        arrays = self.session.run(names, {item.name: item.as_numpy() for item in payload.inputs})
        outputs = []
        for node, array in zip(self.session.get_outputs(), arrays, strict=True):
            output = InferOutput(name=node.name, shape=list(array.shape), datatype=TYPES[node.type])
            output.set_data_from_numpy(array, binary_data=True)
            outputs.append(output)
        return InferResponse(
            response_id=payload.id or "1", model_name=self.name, infer_outputs=outputs
        )


def _told(node):
    return {"name": node.name, "datatype": TYPES[node.type], "shape": list(node.shape)}


if __name__ == "__main__":
    name, path, http_port, grpc_port = sys.argv[1:]
    ModelServer(
        http_port=int(http_port), grpc_port=int(grpc_port), workers=1, access_log_format=None
    ).start([OnnxModel(name, path)])
