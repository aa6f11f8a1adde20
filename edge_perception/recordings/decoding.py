"""Messages of a recording without ROS: decoded with the definitions the recording carries.

A definition may be missing, broken, or of another message than the one that was recorded. The
bytes decide: of a standard type the built-in definition is taken where they fit it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from rosbags.interfaces import Nodetype
from rosbags.typesys import (
    Stores,
    get_types_from_idl,
    get_types_from_msg,
    get_typestore,
)

from edge_perception.core.errors import InvalidFrameError
from edge_perception.core.share import share_file

_PACKAGE = "edge_perception"
_DIRECTIVE = re.compile(r"^[ \t]*#[^\n]*$", re.MULTILINE)
_IDL_FILES = re.compile(r"^={10,}\r?\n(?:IDL: [^\n]*\n)?", re.MULTILINE)


def package_typestore() -> Any:
    """Return the types of ROS 2 Jazzy and those of this package's own `msg` folder."""
    store = get_typestore(Stores.ROS2_JAZZY)
    types: dict = {}
    for path in sorted(share_file("msg").glob("*.msg")):
        text = path.read_text(encoding="utf-8")
        types.update(get_types_from_msg(text, f"{_PACKAGE}/msg/{path.stem}"))
    store.register(types)
    return store


@cache
def _built_in() -> Any:
    return package_typestore()


@dataclass(frozen=True, kw_only=True)
class FieldKind:
    """Type of one field of a message."""

    name: str  # of the base type, or of the message type
    is_base: bool
    is_list: bool = False


class MessageDecoder:
    """Decodes CDR with the recording's own definitions and the built-in ones.

    Args:
        definitions: format (ros2msg, ros2idl) and text by type name.
    """

    def __init__(self, definitions: Mapping[str, tuple[str, str]] | None = None) -> None:
        self._recorded: Any = None  # a store with the recording's definitions, where they differ
        self._differ: set[str] = set()  # types of both whose fields are not the same
        self._unreadable: dict[str, str] = {}
        self._chosen: dict[str, Any] = {}  # store by type, once bytes have told
        self._fields: dict[str, tuple[dict[str, Any], list[tuple[str, FieldKind]]]] = {}
        self.notes: list[str] = []  # which definitions were not followed
        for name, (kind, text) in (definitions or {}).items():
            self._register(name, kind, text)

    def knows(self, type_name: str) -> bool:
        """Whether messages of this type can be decoded."""
        return any(_can_decode(store, type_name) for store in self._stores(type_name))

    def why_unknown(self, type_name: str) -> str:
        """Return why a type cannot be decoded."""
        return self._unreadable.get(type_name, "the recording carries no definition of it")

    def prepare(self, type_names: Iterable[str]) -> None:
        """Make the decoders of these types now, and not with their first messages."""
        for name in type_names:
            for store in self._stores(name):
                _can_decode(store, name)

    def decode(self, data: bytes, type_name: str) -> Any:
        """Return a message as an object with the fields of its definition.

        Raises:
            InvalidFrameError: the bytes do not fit the definition.
        """
        reasons: list[Exception] = []
        for store in self._stores(type_name):
            try:
                message = store.deserialize_cdr(data, type_name)
            except Exception as error:  # generated code raises whatever broken bytes lead to
                reasons.append(error)
                continue
            if type_name not in self._chosen:
                self._choose(type_name, store)
            return message
        reason = reasons[0] if reasons else KeyError(self.why_unknown(type_name))
        raise InvalidFrameError(
            f"{type_name}: {len(data)} bytes do not fit its definition: {reason!r}"
        ) from reason

    def encode(self, message: Any, type_name: str) -> bytes:
        """Return the CDR bytes of a message."""
        return bytes(self._store(type_name).serialize_cdr(message, type_name))

    def message(self, type_name: str, **fields: Any) -> Any:
        """Return a new message."""
        return self._store(type_name).types[type_name](**fields)

    def fields(self, type_name: str) -> tuple[dict[str, Any], list[tuple[str, FieldKind]]]:
        """Return the constants and the fields of a type."""
        if type_name not in self._fields:
            constants, fields = self._store(type_name).fielddefs[type_name]
            self._fields[type_name] = (
                {name: value for name, _, value in constants},
                [(name, _kind(desc)) for name, desc in fields],
            )
        return self._fields[type_name]

    def definition(self, type_name: str) -> str:
        """Return the full `ros2msg` definition of a type."""
        return str(self._store(type_name).generate_msgdef(type_name, ros_version=2)[0])

    # -- which definition --

    def _store(self, type_name: str) -> Any:
        return self._stores(type_name)[0]

    def _stores(self, type_name: str) -> tuple[Any, ...]:
        """Return the stores that may know a type, the likeliest first.

        Types of this package have changed, so the recording knows best. The standard ones have
        not: a recording that tells them otherwise was converted badly.
        """
        chosen = self._chosen.get(type_name)
        if chosen is not None:
            return (chosen,)
        built_in = _built_in()
        if self._recorded is None or not self._differ.intersection(self._parts(type_name)):
            store = built_in if type_name in built_in.fielddefs else self._recorded
            return (store,) if store is not None else ()
        if type_name not in built_in.fielddefs:
            return (self._recorded,)
        ours = type_name.startswith(f"{_PACKAGE}/")
        return (self._recorded, built_in) if ours else (built_in, self._recorded)

    def _choose(self, type_name: str, store: Any) -> None:
        stores = self._stores(type_name)
        self._chosen[type_name] = store
        if len(stores) > 1 and store is _built_in():
            self.notes.append(
                f"{type_name}: the recording's definition is not the standard one, which its "
                "messages fit: the built-in one is used"
            )

    def _parts(self, type_name: str) -> Iterator[str]:
        """Yield a type and all it is made of, as the recording defines them."""
        seen, waiting = {type_name}, [type_name]
        while waiting:
            name = waiting.pop()
            yield name
            for _, desc in self._recorded.fielddefs.get(name, ((), ()))[1]:
                kind = _kind(desc)
                if not kind.is_base and kind.name not in seen:
                    seen.add(kind.name)
                    waiting.append(kind.name)

    def _register(self, name: str, kind: str, text: str) -> None:
        if not text.strip():
            return
        try:
            for type_name, fields in _types_from(kind, text, name).items():
                self._add(type_name, fields)
        except Exception as error:  # a parser of what others wrote raises what it likes
            said = " ".join(str(error).split()) or type(error).__name__
            self._unreadable[name] = f"its definition cannot be read: {said:.200}"
            if name in _built_in().fielddefs:
                self.notes.append(f"{name}: {self._unreadable[name]}: the built-in one is used")

    def _add(self, type_name: str, fields: Any) -> None:
        """Take the recording's version of a type where it is new or another one."""
        known = _built_in().fielddefs.get(type_name)
        if known is not None and known[1] == fields[1]:
            return
        if self._recorded is None:
            self._recorded = package_typestore()
        store = self._recorded
        store.types.pop(type_name, None)
        store.fielddefs.pop(type_name, None)
        store.cache.clear()
        store.register({type_name: fields})
        self._differ.add(type_name)


def _types_from(kind: str, text: str, name: str) -> dict[str, Any]:
    """Return the fields of a type and all it is made of.

    rosbag2 joins files of IDL as those of messages: lines of equals signs and the name between.
    What a file includes is beside it, and the parser knows no line of a preprocessor.
    """
    if kind != "ros2idl":
        return dict(get_types_from_msg(text, name))
    found: dict[str, Any] = {}
    for part in _IDL_FILES.split(_DIRECTIVE.sub("", text)):
        if part.strip():
            found |= get_types_from_idl(part)
    return found


def _can_decode(store: Any, type_name: str) -> bool:
    """Whether a type and all it is made of are known."""
    if type_name not in store.fielddefs:
        return False
    try:
        store.get_msgdef(type_name)
    except Exception:  # of a part that is not defined, by generated code
        return False
    return True


def _kind(desc: Any) -> FieldKind:
    node, detail = desc
    if node in (Nodetype.ARRAY, Nodetype.SEQUENCE):
        return replace(_kind(detail[0]), is_list=True)
    name = detail[0] if node == Nodetype.BASE else detail
    return FieldKind(name=name, is_base=node == Nodetype.BASE)
