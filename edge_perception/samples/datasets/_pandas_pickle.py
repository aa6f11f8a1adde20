"""Columns of a pickled pandas table, read without pandas and without running what is in the file.

A pickle may name any function of any module and have it called. Here it may name what a table is
made of and nothing else; those names get stand-ins that keep the numbers. Known: tables of pandas
0.25 to 3 with numbers and texts.
"""

from __future__ import annotations

import gzip
import io
import pickle
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.errors import ConfigurationError

MAX_BYTES = 1 << 30  # unpacked; a sweep of 170,000 points takes 8 MB


def read_table(path: Path) -> dict[str, NDArray]:
    """Return the columns of a .pkl or .pkl.gz file by name, (N,) each.

    Raises:
        ConfigurationError: missing, no table, too large, or it names what no table is made of.
    """
    try:
        opened: Any = gzip.open if path.suffix == ".gz" else open
        with opened(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise ConfigurationError(f"{path}: expected at most {MAX_BYTES} bytes unpacked")
        table = _TableUnpickler(io.BytesIO(data)).load()
        if not isinstance(table, _Table):
            raise ConfigurationError(f"expected a pandas table, got {type(table).__name__}")
        return table.columns()
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from error
    except (OSError, EOFError, zlib.error, pickle.UnpicklingError) as error:
        raise ConfigurationError(f"{path}: expected a pickled table: {error}") from error
    except Exception as error:  # whatever broken bytes lead to
        raise ConfigurationError(f"{path}: expected a pickled table: {error!r}") from error


class _Table:
    """A DataFrame."""

    def __init__(self) -> None:
        self._manager: Any = None

    def __setstate__(self, state: Any) -> None:
        self._manager = state.get("_mgr", state.get("_data")) if isinstance(state, dict) else state

    def columns(self) -> dict[str, NDArray]:
        if not isinstance(self._manager, _Manager):
            raise ConfigurationError("expected a table with blocks of columns")
        return self._manager.columns()


class _Manager:
    """A BlockManager: names of columns, and blocks of columns of one type."""

    def __init__(self, blocks: Any = (), axes: Any = ()) -> None:
        self.blocks, self.axes = list(blocks), list(axes)

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, tuple) and len(state) >= 4 and isinstance(state[3], dict):
            inner = next(iter(state[3].values()))  # by version of the format
            self.axes = list(inner["axes"])
            self.blocks = [(block["values"], block["mgr_locs"]) for block in inner["blocks"]]

    def columns(self) -> dict[str, NDArray]:
        names = _values(self.axes[0])
        found: dict[str, NDArray] = {}
        for values, places in self.blocks:
            rows = np.atleast_2d(_values(values))
            where = np.arange(len(names))[places]
            if len(where) != len(rows):
                raise ConfigurationError(f"{len(rows)} columns of a block have {len(where)} names")
            for place, row in zip(where.tolist(), rows, strict=True):
                found[str(names[place])] = row
        return found


class _Index:
    """An Index or RangeIndex: names of columns or rows."""

    def __init__(self, data: Any = None) -> None:
        self.data = data


class _Texts:
    """A StringArray of pandas 3: a type beside an array of texts."""

    def __init__(self, *_kind: Any) -> None:
        self.data: Any = None

    def __setstate__(self, state: Any) -> None:
        parts = state if isinstance(state, tuple) else ()
        self.data = next((part for part in parts if isinstance(part, np.ndarray)), None)


def _texts(_kind: Any, _checksum: Any, state: Any) -> _Texts:
    made = _Texts()
    if state is not None:
        made.__setstate__(state)
    return made


def _values(item: Any) -> NDArray:
    while isinstance(item, _Index | _Texts):
        item = item.data
    if isinstance(item, np.ndarray):
        return item
    raise ConfigurationError(f"expected numbers or texts, got {type(item).__name__}")


def _new_index(_kind: Any, fields: dict[str, Any]) -> _Index:
    if "data" in fields:
        return _Index(fields["data"])
    return _Index(np.arange(fields["start"], fields["stop"], fields["step"]))


def _block(values: Any, places: Any, _ndim: int = 2) -> tuple[Any, Any]:
    return values, places


_INDEX_KINDS = ("Index", "RangeIndex", "Int64Index", "Float64Index", "UInt64Index", "NumericIndex")
_NAMES: dict[tuple[str, str], Any] = {
    ("pandas.core.frame", "DataFrame"): _Table,
    ("pandas", "DataFrame"): _Table,
    ("pandas.core.internals.managers", "BlockManager"): _Manager,
    ("pandas.core.internals", "BlockManager"): _Manager,
    ("pandas.core.indexes.base", "_new_Index"): _new_index,
    ("pandas._libs.internals", "_unpickle_block"): _block,
    ("pandas.core.internals.blocks", "new_block"): _block,
    ("pandas._libs.arrays", "__pyx_unpickle_NDArrayBacked"): _texts,
    ("pandas.arrays", "StringArray"): _Texts,
    ("pandas", "StringDtype"): _Texts,
    ("pandas.core.arrays.string_", "StringArray"): _Texts,
    ("pandas.core.arrays.string_", "StringDtype"): _Texts,
    ("builtins", "slice"): slice,
    ("__builtin__", "slice"): slice,
    **{
        (f"pandas{module}", name): _Index
        for module in ("", ".core.indexes.base", ".core.indexes.range", ".core.indexes.numeric")
        for name in _INDEX_KINDS
    },
}
_NUMPY = ("_reconstruct", "scalar")


def _numpy_name(module: str, name: str) -> Callable | None:
    if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name in _NUMPY:
        return getattr(_multiarray(), name)
    if module in ("numpy.core.numeric", "numpy._core.numeric") and name == "_frombuffer":
        return _from_buffer
    if module == "numpy" and name in ("ndarray", "dtype"):
        return getattr(np, name)
    return None


def _multiarray() -> Any:
    try:
        from numpy._core import multiarray
    except ImportError:  # NumPy 1
        from numpy.core import multiarray  # type: ignore[no-redef]
    return multiarray


def _from_buffer(buffer: Any, dtype: Any, shape: Any, order: str) -> NDArray:
    return np.frombuffer(buffer, dtype=dtype).reshape(shape, order=order)  # type: ignore[call-overload]


class _TableUnpickler(pickle.Unpickler):
    """Knows the names that tables are made of; every other one is refused."""

    def find_class(self, module: str, name: str) -> Any:
        found = _NAMES.get((module, name)) or _numpy_name(module, name)
        if found is None:
            raise ConfigurationError(
                f"names {module}.{name}, which no table of numbers and texts is made of"
            )
        return found
