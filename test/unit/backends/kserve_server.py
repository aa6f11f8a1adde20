"""A small server of the protocol over HTTP that does what a test tells it, right or wrong."""

from __future__ import annotations

import gzip
import json
import mmap
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

METADATA = {
    "name": "adder",
    "versions": ["1"],
    "inputs": [{"name": n, "datatype": "FP32", "shape": [2]} for n in ("a", "b")],
    "outputs": [{"name": "c", "datatype": "FP32", "shape": [2]}],
}


class Server:
    """Runs `compute`, which adds `a` and `b`; `answer` may be replaced."""

    def __init__(
        self,
        *,
        binary: bool = True,
        metadata: dict[str, Any] = METADATA,
        compute: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]] = lambda inputs: {
            "c": inputs["a"] + inputs["b"]
        },
    ) -> None:
        self.binary, self.metadata, self._compute = binary, metadata, compute
        self.requests = 0
        self.lengths: list[int] = []  # of what was posted, as it came
        self.said_binary = False  # whether the last request had binary tensors
        self.shares = False  # offers shared memory
        self.regions: dict[str, np.ndarray] = {}
        self.told: list[str] = []  # of regions
        self._wanted = threading.local()  # outputs of the request of a thread
        self.answer: Callable[[Any, dict[str, np.ndarray]], None] = self.right
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                if self.path == "/v2":
                    extensions = ["binary_tensor_data"] if outer.binary else []
                    extensions += ["system_shared_memory"] if outer.shares else []
                    outer.reply(self, {"name": "small", "version": "1", "extensions": extensions})
                else:
                    outer.reply(self, outer.metadata)

            def do_POST(self) -> None:
                data = self.rfile.read(int(self.headers["Content-Length"]))
                outer.lengths.append(len(data))
                if self.headers.get("Content-Encoding") == "gzip":
                    data = gzip.decompress(data)
                if "/systemsharedmemory/" in self.path:
                    outer.region(self, self.path.split("/")[-2:], json.loads(data))
                    return
                outer.requests += 1
                outer.answer(self, outer.inputs(data, self.headers))

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def inputs(self, data: bytes, headers: Any) -> dict[str, np.ndarray]:
        length = int(headers.get("Inference-Header-Content-Length", len(data)))
        header, rest = json.loads(data[:length]), data[length:]
        found = {}
        self._wanted.outputs = header["outputs"]
        self.said_binary = length < len(data)
        for tensor in header["inputs"]:
            size = tensor.get("parameters", {}).get("binary_data_size")
            place = self.place(tensor)
            if place is not None:
                values = place.view("<f4").copy()
            elif size is None:
                values = np.array(tensor["data"], np.float32)
            else:
                values, rest = np.frombuffer(rest[:size], "<f4"), rest[size:]
            found[tensor["name"]] = values.reshape(tensor["shape"])
        return found

    def region(self, handler: Any, what: list[str], said: dict[str, Any]) -> None:
        name, verb = what
        self.told.append(verb)
        if verb == "unregister":
            self.regions.pop(name, None)
        else:
            with open(f"/dev/shm{said['key']}", "r+b") as file:
                self.regions[name] = np.frombuffer(mmap.mmap(file.fileno(), 0), np.uint8)
        self.reply(handler, {})

    def place(self, tensor: dict[str, Any]) -> np.ndarray | None:
        said = tensor.get("parameters", {})
        if "shared_memory_region" not in said:
            return None
        begin = said.get("shared_memory_offset", 0)
        region = self.regions.get(said["shared_memory_region"])  # forgotten: another frame's
        size = said["shared_memory_byte_size"]
        return np.zeros(size, np.uint8) if region is None else region[begin : begin + size]

    def reply(self, handler: Any, document: object, status: int = 200) -> None:
        self.send(handler, json.dumps(document).encode(), status=status)

    def send(self, handler: Any, body: bytes, *, status: int = 200, **headers: str) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    def right(self, handler: Any, inputs: dict[str, np.ndarray]) -> None:
        self.tensors(handler, self._compute(inputs))

    def tensor(self, handler: Any, array: np.ndarray, *, said: int | None = None) -> None:
        """Answer with one output `c`; `said`: another size than it has."""
        self.tensors(handler, {"c": array}, said=said)

    def tensors(
        self, handler: Any, arrays: dict[str, np.ndarray], *, said: int | None = None
    ) -> None:
        outputs, blobs = [], []
        for name, array in arrays.items():
            output: dict[str, Any] = {"name": name, "datatype": "FP32", "shape": list(array.shape)}
            place = next((self.place(w) for w in self._wanted.outputs if w["name"] == name), None)
            if place is not None:
                place[:] = array.astype("<f4").view(np.uint8).ravel()
            elif self.binary:
                blobs.append(array.astype("<f4").tobytes())
                output["parameters"] = {"binary_data_size": said or len(blobs[-1])}
            else:
                output["data"] = array.ravel().tolist()
            outputs.append(output)
        header = json.dumps({"outputs": outputs}).encode()
        told = {"Inference_Header_Content_Length": str(len(header))} if self.binary else {}
        self.send(handler, b"".join((header, *blobs)), **told)
