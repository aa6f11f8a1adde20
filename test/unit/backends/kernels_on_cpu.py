"""Runs the kernels of a `DeviceProgram` on the CPU: the same .cu, compiled by the host's C++.

Blocks and threads are loops, in an order that a GPU might have too. The threads of a single block,
which wait for each other, are real ones. What differs from a GPU: there is one memory, nothing of a
loop happens at once, and the compiler is another one.
"""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_perception.backends.device_program import DeviceProgram

BLOCK = 64  # threads; another number than on the GPU, which must not matter

SHIM = r"""
#include <barrier>
#include <cstring>
#include <thread>
#include <utility>
#include <vector>
#define __global__
#define __device__
struct Index { unsigned x; };
static thread_local Index blockIdx, threadIdx, blockDim;
static std::barrier<> *together;
static void __syncthreads() { together->arrive_and_wait(); }
static float __int_as_float(int bits) { float f; std::memcpy(&f, &bits, 4); return f; }
static int __float_as_int(float f) { int bits; std::memcpy(&bits, &f, 4); return bits; }
template <class T> static T atomicAdd(T *at, T value) {
  return __atomic_fetch_add(at, value, __ATOMIC_SEQ_CST);
}
template <class Better> static unsigned exchange(unsigned *at, unsigned value, Better better) {
  unsigned before = __atomic_load_n(at, __ATOMIC_SEQ_CST);
  bool done = false;
  while (!done && better(value, before))
    done = __atomic_compare_exchange_n(at, &before, value, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
  return before;
}
static unsigned atomicMin(unsigned *at, unsigned value) {
  return exchange(at, value, [](unsigned a, unsigned b) { return a < b; });
}
static unsigned atomicMax(unsigned *at, unsigned value) {
  return exchange(at, value, [](unsigned a, unsigned b) { return a > b; });
}
template <class... A, std::size_t... I>
static void call(void (*kernel)(A...), void **at, std::index_sequence<I...>) {
  kernel(reinterpret_cast<A>(at[I])...);
}
template <class... A>
static int launch(void (*kernel)(A...), void **at, int pointers, int blocks, int threads) {
  if (pointers != (int)sizeof...(A)) return 1;
  const auto thread = [=](unsigned block, unsigned number) {
    blockIdx = {block}, threadIdx = {number}, blockDim = {(unsigned)threads};
    call(kernel, at, std::index_sequence_for<A...>{});
  };
  if (blocks > 1) {
    for (int block = blocks - 1; block >= 0; --block)
      for (int number = 0; number < threads; ++number) thread(block, number);
    return 0;
  }
  std::barrier<> barrier(threads);
  together = &barrier;
  std::vector<std::thread> all;
  for (int number = 0; number < threads; ++number) all.emplace_back(thread, 0, number);
  for (auto &each : all) each.join();
  return 0;
}
"""
START = """
extern "C" int start_{name}(void **at, int pointers, int blocks, int threads) {{
  return launch({name}, at, pointers, blocks, threads);
}}
"""
KERNEL = re.compile(r"__global__ void (\w+)")
# As for src/*.c: no contracted multiply-adds.
FLAGS = ("-std=c++20", "-O2", "-ffp-contract=off", "-Wall", "-Wno-unused-function", "-pthread")


@cache
def library(source: str) -> ctypes.CDLL:
    """Compile a source for the CPU; skips the test where there is no C++ compiler."""
    with TemporaryDirectory() as folder:
        return ctypes.CDLL(str(compiled(source, Path(folder))))


def compiled(source: str, folder: Path) -> Path:
    """Compile a source into a library there; skips as `library`."""
    compiler = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler here")
    path = folder / "kernels.cpp"
    starts = (START.format(name=name) for name in KERNEL.findall(source))
    path.write_text(SHIM + source + "".join(starts))
    made = path.with_suffix(".so")
    command = [compiler, *FLAGS, "-shared", "-fPIC", "-o", str(made), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return made


def start(source: str, kernel: str, blocks: int, threads: int, addresses: Sequence[int]) -> None:
    """Run one kernel over memory at these addresses; those of one block as real threads."""
    at = (ctypes.c_void_p * len(addresses))(*addresses)
    function = getattr(library(source), f"start_{kernel}")
    assert function(at, len(addresses), blocks, threads) == 0, f"{kernel}: other pointers"


class OnCpu:
    """A program at work on the CPU, in memory that keeps what the frame before left."""

    def __init__(self, program: DeviceProgram, shape: tuple[int, ...]) -> None:
        """Allocate; `shape` is of the graph input, float32."""
        self._program = program
        self.input = np.full(shape, np.nan, np.float32)
        self._memory: dict[str, NDArray] = {program.input: self.input}
        self._memory |= {name: array.copy() for name, array in program.constants.items()}
        for info in (*program.arrays, *program.results):
            size = tuple(program.most if size < 0 else size for size in info.shape)
            self._memory[info.name] = np.zeros(size, info.dtype)
        for name, size_bytes in program.scratch.items():
            self._memory[name] = np.full(size_bytes, 0xA5, np.uint8)

    def __call__(self, arrays: Mapping[str, NDArray]) -> dict[str, NDArray]:
        """Run a frame; `input` is filled, the results are returned."""
        program = self._program
        for info in program.arrays:
            self._memory[info.name][: len(arrays[info.name])] = arrays[info.name]
        for launch in program.launches:
            addresses = [self._memory[name].ctypes.data for name in launch.arguments]
            blocks = 1 if launch.one_block else max(-(-launch.threads // BLOCK), 2)
            start(program.source, launch.kernel, blocks, BLOCK, addresses)
        found = {info.name: self._memory[info.name].copy() for info in program.results}
        counts = {name: int(found[by][0]) for name, by in program.counted_by.items()}
        return {name: array[: counts.get(name)] for name, array in found.items()}
