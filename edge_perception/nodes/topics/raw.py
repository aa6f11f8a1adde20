"""Subscriptions that get serialised messages and read them in place."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from rclpy.callback_groups import CallbackGroup
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.serialization import deserialize_message
from rclpy.subscription import Subscription

from edge_perception.cdr import CdrError, CdrReader, UnsupportedCdrError
from edge_perception.nodes.topics.message_types import message_type


def subscribe(
    node: Node,
    type_name: str,
    topic: str,
    callback: Callable[[Any], None],
    qos: QoSProfile,
    *,
    on_refused: Callable[[CdrError], None],
    overriding: QoSOverridingOptions | None = None,
    callback_group: CallbackGroup | None = None,
    event_callbacks: SubscriptionEventCallbacks | None = None,
) -> Subscription:
    """Subscribe; the callback gets views of the buffer with the message's attributes.

    Types that are not read in place are subscribed typed, and a single buffer of an unusual
    encoding is deserialised as rclpy does it.

    Args:
        node: the node.
        type_name: such as ``sensor_msgs/msg/Image``.
        topic: name of the topic.
        callback: takes a message or a view of one.
        qos: profile of the subscription.
        on_refused: takes the error of a buffer that is no message of the type.
        overriding: policies that parameters ``qos_overrides.<topic>.subscription.*`` may change.
        callback_group: of the subscription; the node's own when not given.
        event_callbacks: of its QoS events.

    Raises:
        ConfigurationError: no such type is installed.
    """
    message_class = message_type(type_name)
    try:
        reader(type_name)
    except UnsupportedCdrError as error:
        node.get_logger().info(f"{topic}: typed subscription, {error}")
        return node.create_subscription(
            message_class, topic, callback, qos,
            qos_overriding_options=overriding, callback_group=callback_group,
            event_callbacks=event_callbacks,
        )  # fmt: skip

    def on_buffer(buffer: Any) -> None:
        try:
            message = read(type_name, buffer)
        except CdrError as error:
            on_refused(error)
            return
        callback(message)

    return node.create_subscription(
        message_class, topic, on_buffer, qos, raw=True,
        qos_overriding_options=overriding, callback_group=callback_group,
        event_callbacks=event_callbacks,
    )  # fmt: skip


@cache
def reader(type_name: str) -> CdrReader:
    """Return the reader of a type; made once a process.

    Raises:
        UnsupportedCdrError: the type has fields that are not read in place.
    """
    return CdrReader(type_name, message_type)


def read(type_name: str, buffer: Any) -> Any:
    """Return a message, or a view of one, of serialised bytes.

    Args:
        type_name: of the message.
        buffer: bytes, or any buffer of them that nobody changes.

    Raises:
        CdrError: it is no message of the type.
    """
    try:
        return reader(type_name)(buffer)
    except UnsupportedCdrError:
        return typed(type_name, buffer)


def typed(type_name: str, buffer: Any) -> Any:
    """Return a message deserialised as rclpy does it.

    Raises:
        CdrError: it is no message of the type.
    """
    try:
        return deserialize_message(bytes(buffer), message_type(type_name))
    except Exception as error:  # the middleware raises bare exceptions of several types
        raise CdrError(f"{type_name}: cannot be deserialised: {error}") from error
