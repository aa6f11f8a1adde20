"""Names of a sensor's topics under remaps: those that belong to the base topic move with it."""

from __future__ import annotations

from rclpy.node import Node


def input_topic(node: Node, name: str, base: str, *, sibling: bool = False) -> str:
    """Return the name to subscribe to, as image_transport and camera drivers have it.

    A remap of `camera/image_raw` to `/front/image` moves `camera/image_raw/compressed` to
    `/front/image/compressed` and `camera/camera_info` to `/front/camera_info`. A remap of the topic
    itself comes first.

    Args:
        node: has the remaps, and applies them to the name that is returned.
        name: of the topic, before remaps.
        base: of the topic that it belongs to, before remaps.
        sibling: it lies beside the base topic, whatever that is called.
    """
    moved = node.resolve_topic_name(base)
    if name == base or _is_remapped(node, name) or not _is_remapped(node, base):
        return name  # not yet remapped: two cameras that change places would be remapped twice
    if name.startswith(f"{base}/"):
        return moved + name[len(base) :]
    if sibling:
        return f"{moved.rpartition('/')[0]}/{name.rpartition('/')[2]}"
    return name


def _is_remapped(node: Node, name: str) -> bool:
    return bool(node.resolve_topic_name(name) != node.resolve_topic_name(name, only_expand=True))
