"""A frozen dataclass declared as ROS parameters, once, with unit, range and text.

Field metadata: ``text``, ``unit``, ``min``, ``max``, ``choices``, ``dynamic=True`` for what may
change while the node runs, and ``read_only=True`` for what holds from its start on. What is neither
may change while the node is unconfigured, unless the dataclass (by `held`) or who declares it says
why nothing of it may, except to what is stricter (``stricter="lower"`` or ``"higher"``). A value
that does not fit is refused with the allowed range.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter

from edge_perception.core.errors import ConfigurationError, EdgePerceptionError
from edge_perception.core.schema import check_limits, decode, limits_text, switch_text

C = TypeVar("C")
_ARRAYS = {
    float: Parameter.Type.DOUBLE_ARRAY,
    int: Parameter.Type.INTEGER_ARRAY,
    str: Parameter.Type.STRING_ARRAY,
}


class ParameterSet(Generic[C]):
    """The parameters of one dataclass, below an optional prefix."""

    def __init__(
        self,
        node: Node,
        cls: type[C],
        *,
        prefix: str = "",
        defaults: dict[str, object] | None = None,
        on_change: Callable[[C], None] | None = None,
        configurable: Callable[[], bool] = lambda: False,
        held: Callable[[], str] = lambda: "",
    ) -> None:
        """Declare the parameters and read their first values.

        Args:
            node: the node to declare on.
            cls: frozen dataclass of scalars and tuples of scalars.
            prefix: for example "camera." for the parameters of one source.
            defaults: defaults that replace or complete the dataclass's own.
            on_change: called with the new config after a change was accepted.
            configurable: whether the node reads its configuration before it runs again.
            held: says why what they are at the start of the process holds; empty: it does not.

        Raises:
            ConfigurationError: a value of the parameter file does not fit.
        """
        self._node, self._cls, self._prefix = node, cls, prefix
        self._on_change, self._configurable, self._held = on_change, configurable, held
        self._where = f"{node.get_name()}.{prefix}".rstrip(".")
        self._fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
        self._hints = typing.get_type_hints(cls)
        values = {}
        for name, field in self._fields.items():
            default = (defaults or {}).get(name, _default(field))
            values[name] = self._declare(field, default, self._hints[name])
        self.config: C = decode(cls, values, self._where)
        node.add_on_set_parameters_callback(self._on_set)
        node.add_post_set_parameters_callback(self._on_set_done)

    def _declare(self, field: dataclasses.Field, default: object, hint: object) -> object:
        name = self._prefix + field.name
        if isinstance(default, tuple):
            default = list(default)
        empty = default == []
        if empty:  # rclpy takes an empty list for bytes
            default = _ARRAYS[typing.get_args(hint)[0]]
        descriptor = _descriptor(field, is_float=hint is float, is_int=hint is int)
        given = self._node._parameter_overrides  # rclpy has no other way to them
        if name in given:
            given[name] = _switch(_whole_as_float(given[name], hint), field)
        try:
            value = self._node.declare_parameter(name, default, descriptor).value
            if value is None and empty:
                self._set_empty(name, default, descriptor)
            return _plain(value, hint)
        except InvalidParameterTypeException as error:
            raise ConfigurationError(f"{error}") from error
        except InvalidParameterValueException as error:  # its text does not name the range
            raise ConfigurationError(
                f"{name}: expected {limits_text(field.metadata)}: {error}"
            ) from error

    def _set_empty(self, name: str, kind: Parameter.Type, descriptor: ParameterDescriptor) -> None:
        """Give a list its empty value.

        An unset parameter makes rclpy answer nothing at all to whoever asks for several.
        """
        # The node keeps this very descriptor. Of what is read-only it takes no value any more.
        read_only, descriptor.read_only = descriptor.read_only, False
        result = self._node.set_parameters([Parameter(name, kind, [])])[0]
        assert result.successful, f"{name}: {result.reason}"
        descriptor.read_only = read_only

    def typed(self, parameter: Parameter) -> Parameter:
        """Return an empty list, and whole numbers, with the type that the parameter has."""
        field = self._field_of(parameter)
        if field is not None:
            parameter = _whole_as_float(parameter, self._hints[field.name])
            parameter = _switch(parameter, field)
        kind = None if field is None else _ARRAYS.get(_item(self._hints[field.name]))
        if kind is None or parameter.value is None or not hasattr(parameter.value, "__len__"):
            return parameter
        return parameter if len(parameter.value) else Parameter(parameter.name, kind, [])

    def refusal(self, parameters: list[Parameter]) -> str:
        """Return why these values cannot be set; empty: they can."""
        try:
            for parameter in parameters:
                field = self._field_of(parameter)
                if field is None:
                    continue
                if field.metadata.get("read_only", False):
                    return f"{parameter.name}: read-only, it is set at the start of the process"
                held = getattr(self.config, "held", "") or self._held()
                if held and (problem := self._loosens(field, parameter.value)):
                    return f"{parameter.name}: {problem}: {held} of the process"
                if not field.metadata.get("dynamic", False) and not self._configurable():
                    return (
                        f"{parameter.name}: cannot change while the node runs; "
                        f"set it at start, or after cleanup and before configure"
                    )
                check_limits(parameter.value, field.metadata, parameter.name)
            self._with(parameters)
        except EdgePerceptionError as error:
            return str(error)
        return ""

    def _loosens(self, field: dataclasses.Field, value: object) -> str:
        """Return why a value is not stricter than what holds; empty: it is."""
        way = field.metadata.get("stricter", "")
        if not way or not isinstance(value, (int, float)):
            return "cannot change"
        now = getattr(self.config, field.name)
        if value <= now if way == "lower" else value >= now:
            return ""
        return f"expected at {'most' if way == 'lower' else 'least'} {now:g}, got {value:g}"

    def _on_set(self, parameters: list[Parameter]) -> SetParametersResult:
        reason = self.refusal(parameters)
        return SetParametersResult(successful=not reason, reason=reason)

    def _on_set_done(self, parameters: list[Parameter]) -> None:
        if any(self._field_of(parameter) for parameter in parameters):
            self.config = self._with(parameters)
            if self._on_change is not None:
                self._on_change(self.config)

    def _with(self, parameters: list[Parameter]) -> C:
        values: dict[str, Any] = {name: getattr(self.config, name) for name in self._fields}
        for parameter in parameters:
            field = self._field_of(parameter)
            if field is not None:
                values[field.name] = _plain(parameter.value, self._hints[field.name])
        return decode(self._cls, values, self._where)

    def _field_of(self, parameter: Parameter) -> dataclasses.Field | None:
        if not parameter.name.startswith(self._prefix):
            return None
        return self._fields.get(parameter.name[len(self._prefix) :])


def _whole_as_float(parameter: Parameter, hint: object) -> Parameter:
    """Return 1 as 1.0 where a float is wanted; a replay without ROS reads the same file so."""
    if hint is float and parameter.type_ == Parameter.Type.INTEGER:
        return Parameter(parameter.name, value=float(parameter.value))
    if _item(hint) is float and parameter.type_ == Parameter.Type.INTEGER_ARRAY:
        return Parameter(parameter.name, value=[float(x) for x in parameter.value])
    return parameter


def _switch(parameter: Parameter, field: dataclasses.Field) -> Parameter:
    """Return true as "true" where a field is one of true, false and a third."""
    value = switch_text(parameter.value, field.metadata)
    return parameter if value is parameter.value else Parameter(parameter.name, value=value)


def _default(field: dataclasses.Field) -> object:
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return None


def _item(hint: object) -> Any:
    """Return the type of a tuple's items; None: no tuple."""
    return typing.get_args(hint)[0] if typing.get_origin(hint) is tuple else None


def _plain(value: object, hint: object) -> object:
    """Return ROS arrays as lists, an unset list as empty, and 1 as 1.0 where a float is wanted."""
    if typing.get_origin(hint) is tuple:
        return list(value or [])  # type: ignore[call-overload]
    return value


def _descriptor(field: dataclasses.Field, *, is_float: bool, is_int: bool) -> ParameterDescriptor:
    meta = field.metadata
    unit = f" [{meta['unit']}]" if meta.get("unit") else ""
    constraints = []
    if "choices" in meta:
        constraints.append("one of " + ", ".join(map(str, meta["choices"])))
    if not meta.get("dynamic") and not meta.get("read_only"):
        constraints.append("may be set while the node is unconfigured, and holds from configure on")
    descriptor = ParameterDescriptor(
        name=field.name,
        description=f"{meta.get('text', field.name)}{unit}",
        additional_constraints="; ".join(constraints),
        read_only=meta.get("read_only", False),
    )
    if "min" in meta and "max" in meta:
        if is_float:
            descriptor.floating_point_range = [
                FloatingPointRange(from_value=float(meta["min"]), to_value=float(meta["max"]))
            ]
        elif is_int:
            descriptor.integer_range = [
                IntegerRange(from_value=int(meta["min"]), to_value=int(meta["max"]))
            ]
    return descriptor
