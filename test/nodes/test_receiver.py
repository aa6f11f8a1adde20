"""Data topics are taken beside the executor."""

import threading

import pytest
from harness import wait_until
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from std_msgs.msg import String

from edge_perception.nodes.topics.receiver import Receiver

RELIABLE = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
BEST_EFFORT = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)


class Box:
    """What came, and a way to wait for it."""

    def __init__(self):
        self.items, self._changed = [], threading.Condition()

    def add(self, item):
        with self._changed:
            self.items.append(item)
            self._changed.notify_all()

    def wait(self, count):
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.items) >= count, 60.0), self.items


@pytest.fixture
def receiver(harness):
    """Give a receiver on the driver's node, whose executor is not running."""
    errors = Box()
    made = Receiver(harness.driver, on_error=errors.add)
    made.errors = errors
    yield made
    made.stop()


def subscribe(receiver, callback, qos=RELIABLE):
    receiver.subscribe("std_msgs/msg/String", "words", callback, qos, on_refused=callback)
    receiver.start()


def publisher(harness, count=1, qos=RELIABLE):
    made = harness.driver.create_publisher(String, "words", qos)
    wait_until(lambda: made.get_subscription_count() == count, f"{count} subscriptions")
    return made


def test_messages_come_while_no_executor_spins(harness, receiver):
    words = Box()
    subscribe(receiver, lambda message: words.add(message.data))
    words_out = publisher(harness)
    for index in range(5):
        words_out.publish(String(data=str(index)))
    words.wait(5)
    assert words.items == list("01234")


def test_a_callback_that_raises_costs_its_own_message_only(harness, receiver):
    words = Box()

    def on_word(message):
        if message.data == "bad":
            raise ValueError(message.data)
        words.add(message.data)

    subscribe(receiver, on_word)
    words_out = publisher(harness)
    for text in ("one", "bad", "two"):
        words_out.publish(String(data=text))
    words.wait(2)
    receiver.errors.wait(1)
    assert words.items == ["one", "two"]
    assert [repr(error) for error in receiver.errors.items] == ["ValueError('bad')"]


def test_an_incompatible_publisher_is_still_told(harness, receiver):
    told = Box()
    receiver.subscribe(
        "std_msgs/msg/String", "words", lambda _: None, RELIABLE, on_refused=lambda _: None
    )
    for handler in receiver._readers[0].subscription.event_handlers:
        handler.callback = told.add
    receiver.start()
    harness.driver.create_publisher(String, "words", BEST_EFFORT)
    told.wait(1)
    assert told.items[0].total_count == 1


VOLATILE, KEPT = DurabilityPolicy.VOLATILE, DurabilityPolicy.TRANSIENT_LOCAL


@pytest.mark.parametrize(("first", "beside"), [(VOLATILE, KEPT), (KEPT, VOLATILE)])
def test_both_durabilities_are_heard_once_both_are_offered(harness, receiver, first, beside):
    def qos(durability):
        return QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE, durability=durability)

    words, out = Box(), {}
    out[KEPT] = harness.driver.create_publisher(String, "words", qos(KEPT))
    out[KEPT].publish(String(data="before"))
    receiver.subscribe(
        "std_msgs/msg/String", "words", lambda message: words.add(message.data), qos(first),
        on_refused=words.add, beside=beside,
    )  # fmt: skip
    receiver.look()
    receiver.start()
    out[VOLATILE] = harness.driver.create_publisher(String, "words", qos(VOLATILE))

    def heard():
        receiver.look()
        return out[KEPT].get_subscription_count() == 2 and "before" in words.items

    wait_until(heard, "what was kept comes, and both subscriptions are there")
    wait_until(out[VOLATILE].get_subscription_count, "who keeps nothing is heard")
    out[VOLATILE].publish(String(data="now"))
    words.wait(words.items.index("before") + 2)
    assert set(words.items) == {"before", "now"}
    assert receiver.arrivals()["/words"].received <= 2  # what both hear counts once


def test_a_stopped_receiver_has_unsubscribed(harness, receiver):
    subscribe(receiver, lambda _: None)
    words_out = publisher(harness)
    receiver.stop()
    wait_until(lambda: words_out.get_subscription_count() == 0, "no subscription")


def test_the_executor_leaves_the_topics_to_it(harness, receiver):
    threads = Box()
    subscribe(receiver, lambda _: threads.add(threading.current_thread().name))
    harness.start()
    words_out = publisher(harness)
    for _ in range(20):
        words_out.publish(String(data="x"))
    threads.wait(20)
    assert set(threads.items) == {f"{harness.driver.get_name()}_receive"}
