"""``edge-perception play``: plays a recording into ROS at real time."""

from __future__ import annotations

import argparse
import contextlib
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from edge_perception.cli._numbers import number
from edge_perception.core.ros_names import namespace_prefix, topic_problem
from edge_perception.encoders.arrivals import how_to_arrive

if TYPE_CHECKING:
    from edge_perception.recordings.player import PlayReport
    from edge_perception.recordings.reader import Recording
    from edge_perception.recordings.receipts import Receipt
    from edge_perception.recordings.schedule import PlayPlan

NAME = "play"
HELP = "play a recording (MCAP or rosbag2) into ROS at real time"
TRANSPORT = True
CLOCK = "/clock"
WHOLE_S = 1e10  # longer than any recording
_HEAR_S = 2.5  # nodes tell once a second what they got


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "bag", type=Path, help="recording: an .mcap or .db3 file, or a folder of rosbag2"
    )
    parser.add_argument("--rate", type=float, default=1.0, help="speed, 1: real time")
    parser.add_argument("--loop", action="store_true", help="start again at the end, for ever")
    parser.add_argument("--start", type=float, default=0.0, metavar="S", help="skip the first S s")
    parser.add_argument(
        "--duration", type=float, default=WHOLE_S, metavar="S", help="play only S s"
    )
    parser.add_argument("--topics", nargs="+", default=[], help="only these topics")
    parser.add_argument(
        "--cut",
        action="append",
        default=[],
        metavar="NAME:FROM-TO",
        help="silence topics for a while, for example lidar:6-9 (s of the recording); repeatable",
    )
    parser.add_argument("--namespace", default="", help="put in front of every topic")
    parser.add_argument(
        "--wait",
        type=number(0, 3600),
        default=5.0,
        metavar="S",
        help="wait up to S s until every topic has a subscription",
    )
    parser.add_argument(
        "--live",
        choices=("strict", "tolerant"),
        help="wait until the nodes are active, start with the clock standing still, count what "
        "becomes of each frame; strict: few frames on their way, a lost one is an error",
    )
    parser.add_argument(
        "--params-file", type=Path, action="append", default=[], help="of the nodes, for --live"
    )
    parser.add_argument(
        "--remap", action="append", default=[], metavar="FROM:=TO", help="topic, for --live"
    )
    stamps = parser.add_mutually_exclusive_group()
    stamps.add_argument("--restamp", action="store_true", help="shift header stamps to the present")
    stamps.add_argument(
        "--clock",
        type=number(0, 10_000),
        nargs="?",
        const=100.0,
        default=0.0,
        metavar="HZ",
        help="keep the stamps and publish /clock, for nodes with use_sim_time (100 Hz)",
    )


def run(args: argparse.Namespace) -> int:
    """Play, and say what was played."""
    if args.live:
        return _play_live(args)
    _only_live(args)
    prefix = namespace_prefix(args.namespace)
    import rclpy
    from rclpy.signals import SignalHandlerOptions

    from edge_perception.recordings.reader import Recording
    from edge_perception.recordings.schedule import PlayPlan, check_parts, parse_cut

    recording = Recording(args.bag, on_damage=_damaged)
    for text in (*recording.notes, *recording.contradictions):
        print(f"{args.bag}: {text}")
    plan = PlayPlan(
        rate=args.rate,
        loops=0 if args.loop else 1,
        start_s=args.start,
        duration_s=args.duration,
        topics=_topics(recording, args, prefix),
        cuts=tuple(parse_cut(text) for text in args.cut),
    )
    check_parts("--cut", (cut.name for cut in plan.cuts), plan.topics)
    context = rclpy.Context()
    rclpy.init(context=context, signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node("player", context=context)
    try:
        with _spinning(node, context):
            return _play(node, recording, plan, args)
    finally:
        node.destroy_node()
        context.shutdown()


def _only_live(args: argparse.Namespace) -> None:
    """Refuse what would be passed over in silence."""
    from edge_perception.core.errors import ConfigurationError

    for name, given in (("--params-file", args.params_file), ("--remap", args.remap)):
        if given:
            raise ConfigurationError(f"{name}: is of --live only; without it nothing reads it")


def _topics(recording: Recording, args: argparse.Namespace, prefix: str) -> tuple[str, ...]:
    """Return what is played; what is left out is named.

    Raises:
        ConfigurationError: a topic is asked for that the recording lacks, or nothing can be played.
    """
    from edge_perception.core.errors import ConfigurationError, UnknownNameError

    held = {*recording.topics, *(skipped.name for skipped in recording.skipped)}
    for name in args.topics:
        if name not in held:
            raise UnknownNameError(kind="topic", name=name, known=sorted(held))
    wanted = [name for name in recording.topics if not args.topics or name in args.topics]
    for skipped in recording.skipped:
        if not args.topics or skipped.name in args.topics:
            _left_out(skipped.name, skipped.count, skipped.reason)
    topics = tuple(
        name
        for name in wanted
        if _can_be_called(recording, name, prefix) and _is_installed(recording, name)
    )
    topics = _clock(recording, topics, args)
    if not any(recording.count(name) for name in topics):
        raise ConfigurationError(f"{args.bag}: none of its messages can be played")
    return topics


def _can_be_called(recording: Recording, name: str, prefix: str) -> bool:
    """Whether ROS can have a topic of this name: other programs record others too."""
    problem = topic_problem(f"{prefix}/{name.lstrip('/')}")
    if problem:
        _left_out(name, recording.count(name), problem)
    return not problem


def _is_installed(recording: Recording, name: str) -> bool:
    from edge_perception.core.errors import ConfigurationError
    from edge_perception.recordings.definitions import message_class

    try:
        message_class(recording.topics[name].type)
    except ConfigurationError as error:
        _left_out(name, recording.count(name), str(error))
        return False
    return True


def _left_out(name: str, count: int, reason: str) -> None:
    print(f"{name}: {count} messages left out: {reason}")


def _damaged(text: str) -> None:
    print(f"damaged: {text}", flush=True)


def _clock(
    recording: Recording, topics: tuple[str, ...], args: argparse.Namespace
) -> tuple[str, ...]:
    """A recorded /clock is the only one, and none of the present."""
    if CLOCK not in recording.topics:
        return topics
    if args.restamp:
        print(f"{CLOCK} of the recording is left out: restamped messages live in the present")
        return tuple(name for name in topics if name != CLOCK)
    if args.clock:
        print(f"{CLOCK} of the recording is played: its stamps go by it")
        args.clock = 0.0
        return topics if CLOCK in topics else (*topics, CLOCK)
    return topics


@contextlib.contextmanager
def _spinning(node: Any, context: Any) -> Iterator[None]:
    from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor

    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)

    def spin() -> None:
        with contextlib.suppress(ExternalShutdownException):
            executor.spin()

    thread = threading.Thread(target=spin, name="player_spin", daemon=True)
    thread.start()
    try:
        yield
    finally:
        executor.shutdown(timeout_sec=1.0)
        thread.join(1.0)


def _play_live(args: argparse.Namespace) -> int:
    from edge_perception.core.errors import ConfigurationError
    from edge_perception.validation.live import play_live
    from edge_perception.validation.settings import ReplaySettings

    others = ("loop", "start", "topics", "cut", "restamp", "clock")
    given = [name for name in others if getattr(args, name)]
    if args.rate != 1.0 or args.duration != WHOLE_S or given:
        raise ConfigurationError(
            "--live: plays the whole recording in its own time; it goes without --rate, "
            "--duration, " + ", ".join(f"--{name}" for name in others)
        )
    settings = ReplaySettings(
        bag=str(args.bag),
        params_files=tuple(map(str, args.params_file)),
        namespace=args.namespace or None,
        remaps=tuple(args.remap),
    )
    result = play_live(settings, mode=args.live, namespace=args.namespace)
    for name, count in sorted(result.sent.items()):
        lost, skipped = result.lost(name), result.skipped.get(name, 0)
        print(
            f"{name}: {count} frames sent, {result.features[name]} features, "
            f"{result.dropped.get(name, 0)} dropped"
            + (f", {skipped} skipped by load control" if skipped else "")
            + (f", {lost} did not arrive: see `edge-perception transport`" if lost else "")
        )
    print(f"{len(result.records)} fused messages")
    return 0


def _play(node: Any, recording: Recording, plan: PlayPlan, args: argparse.Namespace) -> int:
    """Play, and return the exit status: of a signal that came before the end, as a shell has it.

    What loops for ever has no other end: there a signal is as good as any, once it plays.
    """
    from edge_perception.recordings.player import Player, wait_for
    from edge_perception.recordings.receipts import Receipts
    from edge_perception.recordings.ros_sink import RosSink

    wanted = [recording.topics[name] for name in plan.topics]
    sink = RosSink(node, wanted, namespace=args.namespace, with_clock=args.clock > 0.0)
    names = {topic.name: sink.name_of(topic.name) for topic in wanted}
    receipts = Receipts(node, names.values())
    player = Player(recording, plan, sink, restamp=args.restamp, clock_hz=args.clock)
    came: list[int] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        came.append(number)
        player.stop()

    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        if not wait_for(lambda: player.stopped or not sink.unheard(), timeout_s=args.wait):
            print(f"nobody subscribes to: {', '.join(sink.unheard())}", flush=True)
        if not came:
            receipts.begin(timeout_s=_HEAR_S)
            print(f"playing {recording.path} ({recording.duration_s:.1f} s)", flush=True)
        report = player.run()
        ended = not came
        _say(report, names, receipts.end(timeout_s=_HEAR_S) if report.sent else ())
        return 0 if ended or (args.loop and report.sent) else 128 + came[0]
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        sink.close()


def _say(report: PlayReport, names: Mapping[str, str], receipts: Sequence[Receipt]) -> None:
    for topic, count in sorted(report.sent.items()):
        withheld = report.withheld.get(topic, 0)
        print(f"{topic}: {count} sent" + (f", {withheld} withheld" if withheld else ""))
        for receipt in receipts:
            if receipt.topic != names[topic]:
                continue
            missing = count - receipt.received
            print(
                f"    {receipt.node}: {receipt.received} received"
                + (
                    f", {missing} did not arrive: {how_to_arrive(receipt.topic)}"
                    if missing > 0
                    else ""
                )
            )
    for topic, count in report.other_type.items():
        print(f"{topic}: {count} messages left out: their type is not that of the first")
    if report.skipped_s:
        print(f"{report.skipped_s:.1f} s without any message left out: a jump of the clock")
    if report.late:
        print(
            f"{report.late} sent more than 20 ms late, "
            f"the worst {report.worst_lateness_s * 1e3:.0f} ms"
        )
