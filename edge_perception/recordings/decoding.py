"""Messages of a recording without ROS: decoded with the definitions the recording carries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from rosbags.interfaces import Nodetype
from rosbags.typesys import (
    Stores,
    TypesysError,
    get_types_from_idl,
    get_types_from_msg,
    get_typestore,
)

from edge_perception.core.errors import InvalidFrameError
from edge_perception.core.share import share_file

_PACKAGE = "edge_perception"


def package_typestore() -> Any:
    """Return the types of ROS 2 Jazzy and those of this package's own `msg` folder."""
    store = get_typestore(Stores.ROS2_JAZZY)
    types: dict = {}
    for path in sorted(share_file("msg").glob("*.msg")):
        text = path.read_text(encoding="utf-8")
        types.update(get_types_from_msg(text, f"{_PACKAGE}/msg/{path.stem}"))
    store.register(types)
    return store


@dataclass(frozen=True, kw_only=True)
class FieldKind:
    """Type of one field of a message."""

    name: str  # of the base type, or of the message type
    is_base: bool
    is_list: bool = False


class MessageDecoder:
    """Decodes CDR with the recording's own definitions, and the installed ones where it has none.

    Args:
        definitions: format (ros2msg, ros2idl) and text by type name; a type that is known already
            is kept only if the text is the same.
    """

    def __init__(self, definitions: Mapping[str, tuple[str, str]] | None = None) -> None:
        self._store = package_typestore()
        self._unreadable: dict[str, str] = {}
        self._fields: dict[str, tuple[dict[str, Any], list[tuple[str, FieldKind]]]] = {}
        for name, (kind, text) in (definitions or {}).items():
            self._register(name, kind, text)

    def knows(self, type_name: str) -> bool:
        """Whether messages of this type can be decoded."""
        return type_name in self._store.fielddefs and type_name not in self._unreadable

    def why_unknown(self, type_name: str) -> str:
        """Return why a type cannot be decoded."""
        return self._unreadable.get(type_name, "the recording carries no definition of it")

    def prepare(self, type_names: Iterable[str]) -> None:
        """Make the decoders of these types now, and not with their first messages."""
        for name in type_names:
            self._store.get_msgdef(name)

    def decode(self, data: bytes, type_name: str) -> Any:
        """Return a message as an object with the fields of its definition.

        Raises:
            InvalidFrameError: the bytes do not fit the definition.
        """
        try:
            return self._store.deserialize_cdr(data, type_name)
        except Exception as error:  # the generated code raises whatever broken bytes lead to
            raise InvalidFrameError(
                f"{type_name}: {len(data)} bytes do not fit its definition: {error!r}"
            ) from error

    def encode(self, message: Any, type_name: str) -> bytes:
        """Return the CDR bytes of a message."""
        return bytes(self._store.serialize_cdr(message, type_name))

    def message(self, type_name: str, **fields: Any) -> Any:
        """Return a new message."""
        return self._store.types[type_name](**fields)

    def fields(self, type_name: str) -> tuple[dict[str, Any], list[tuple[str, FieldKind]]]:
        """Return the constants and the fields of a type."""
        if type_name not in self._fields:
            constants, fields = self._store.fielddefs[type_name]
            self._fields[type_name] = (
                {name: value for name, _, value in constants},
                [(name, _kind(desc)) for name, desc in fields],
            )
        return self._fields[type_name]

    def definition(self, type_name: str) -> str:
        """Return the full `ros2msg` definition of a type."""
        return str(self._store.generate_msgdef(type_name, ros_version=2)[0])

    def _register(self, name: str, kind: str, text: str) -> None:
        if not text.strip():
            return
        try:
            is_idl = kind == "ros2idl"
            types = get_types_from_idl(text) if is_idl else get_types_from_msg(text, name)
            for type_name, fields in types.items():
                if type_name not in self._store.fielddefs:
                    self._store.register({type_name: fields})
                elif self._store.fielddefs[type_name][1] != fields[1]:
                    self._replace(type_name, fields)
        except (TypesysError, ValueError, KeyError) as error:
            self._unreadable[name] = f"its definition cannot be read: {error}"

    def _replace(self, type_name: str, fields: Any) -> None:
        """Take the recording's version of a type: its bytes follow that one."""
        self._store.types.pop(type_name, None)
        self._store.fielddefs.pop(type_name, None)
        self._store.cache.clear()
        self._store.register({type_name: fields})


def _kind(desc: Any) -> FieldKind:
    node, detail = desc
    if node in (Nodetype.ARRAY, Nodetype.SEQUENCE):
        return replace(_kind(detail[0]), is_list=True)
    name = detail[0] if node == Nodetype.BASE else detail
    return FieldKind(name=name, is_base=node == Nodetype.BASE)
