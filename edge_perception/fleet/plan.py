"""What a robot makes of the signed documents of a registry: what to take, and what to leave."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edge_perception.core.errors import RegistryError
from edge_perception.fleet.documents import (
    ANY_DEVICE,
    STOPPED,
    ChannelDocument,
    ChannelEntry,
    ReleaseDocument,
    Rollout,
    RolloutsDocument,
    channel_path,
    parse,
    rollouts_path,
)
from edge_perception.fleet.membership import Device, may_take, rollout_of
from edge_perception.fleet.trusted import Reader
from edge_perception.releases.store import ReleaseStore


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be done after a poll."""

    offers: tuple[ReleaseDocument, ...] = ()  # that may serve here and do not yet
    retreats: Mapping[str, str] = field(default_factory=dict)  # why, by digest that serves
    waiting: Mapping[str, str] = field(default_factory=dict)  # why not, by name and version


class Planner:
    """One robot's; decides by the documents and its store alone.

    Args:
        device: who it is.
        store: what serves here, what is in quarantine, and how old a release may be.
        team: whose releases.
        channel: which of them.
    """

    def __init__(self, device: Device, store: ReleaseStore, *, team: str, channel: str) -> None:
        self._device, self._store = device, store
        self._channel, self._rollouts = channel_path(team, channel), rollouts_path(team)

    def plan(self, read: Reader) -> Plan:
        """Say what is to be done by what a registry says.

        Raises:
            RegistryError: a document is missing, or is not what another says of it.
        """
        channel, rollouts = self._channel_of(read), self._rollouts_of(read)
        serving = set(self._store.slots.get("current").values())
        entries, waiting = self._choose(channel, rollouts)
        offers = tuple(
            self._document(read, entry) for entry in entries if entry.manifest_sha256 not in serving
        )
        retreats = {
            sha256: f"rollout {rollout.id} was stopped: {rollout.reason}"
            for sha256 in serving
            if (rollout := self._rollout_that_brought(sha256, rollouts)) is not None
            and rollout.state == STOPPED
        }
        return Plan(offers=offers, retreats=retreats, waiting=waiting)

    def follow(self, read: Reader) -> None:
        """Read all that a decision needs, so that it is verified together."""
        entries, _ = self._choose(self._channel_of(read), self._rollouts_of(read))
        for entry in entries:
            self._document(read, entry)

    def _choose(
        self, channel: ChannelDocument, rollouts: RolloutsDocument
    ) -> tuple[list[ChannelEntry], dict[str, str]]:
        """Return the newest of each name that may serve here, and why those above it may not.

        What is held back, stopped or in quarantine does not keep an older one away that is newer
        than what serves: another robot may have been away when that one was new.
        """
        chosen: dict[str, ChannelEntry] = {}
        waiting: dict[str, str] = {}
        for entry in self._suitable(channel):
            if entry.name in chosen:
                continue
            why = self._why_not(entry, rollouts)
            if why:
                waiting[f"{entry.name} {entry.version}"] = why
            else:
                chosen[entry.name] = entry
        return list(chosen.values()), waiting

    def _suitable(self, channel: ChannelDocument) -> list[ChannelEntry]:
        """Return what this hardware may serve, the newest first, and its own class before any."""
        floors = self._store.notes.floors()
        found = [
            entry
            for entry in channel.entries
            if entry.device_class in (ANY_DEVICE, self._device.device_class)
            and entry.release >= floors.get(entry.name, 0)
        ]
        return sorted(found, key=self._rank, reverse=True)

    def _rank(self, entry: ChannelEntry) -> tuple[int, bool]:
        return (entry.release, entry.device_class != ANY_DEVICE)

    def _why_not(self, entry: ChannelEntry, rollouts: RolloutsDocument) -> str:
        quarantined = self._store.notes.quarantined(entry.manifest_sha256)
        if quarantined:
            return f"in quarantine: {quarantined}"
        return may_take(rollout_of(rollouts, entry.name, entry.version), self._device)

    def _rollout_that_brought(self, sha256: str, rollouts: RolloutsDocument) -> Rollout | None:
        """Return the newest rollout of a release that serves."""
        named = ("", "")
        if self._store.shelf.has(sha256):
            manifest = self._store.shelf.bundle(sha256).manifest
            named = (manifest.name, manifest.version)  # of a variant that was added later
        for rollout in reversed(rollouts.rollouts):
            if sha256 in rollout.manifests or (rollout.name, rollout.version) == named:
                return rollout
        return None

    def _channel_of(self, read: Reader) -> ChannelDocument:
        data = read(self._channel)
        if data is None:
            raise RegistryError(f"{self._channel}: not in the registry")
        return parse(ChannelDocument, data, self._channel)

    def _rollouts_of(self, read: Reader) -> RolloutsDocument:
        data = read(self._rollouts)
        return RolloutsDocument() if data is None else parse(RolloutsDocument, data, self._rollouts)

    def _document(self, read: Reader, entry: ChannelEntry) -> ReleaseDocument:
        data = read(entry.document)
        if data is None:
            raise RegistryError(f"{entry.document}: not in the registry")
        document = parse(ReleaseDocument, data, entry.document)
        if document.manifest_sha256 != entry.manifest_sha256:
            raise RegistryError(f"{entry.document}: is of another release than the channel says")
        return document
