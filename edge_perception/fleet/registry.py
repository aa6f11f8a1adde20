"""The owner's side of a registry: a TUF repository of releases on any static place.

```
metadata/N.root.json, N.targets.json, N.snapshot.json, N.TEAM.json, timestamp.json
targets/TEAM/HASH.NAME.json    documents: a release, a channel, the rollouts of a team
pieces/HA/HASH                 archives and deltas in pieces, named by their hashes
```
Everything of a change is written before `timestamp.json`, which is replaced only where it is still
the one that the change began with: a change is there as a whole, or not at all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

from edge_perception.core.errors import FleetError, RegistryError
from edge_perception.core.extras import extra
from edge_perception.fleet.documents import (
    MOST_DOCUMENT_BYTES,
    TIMESTAMP_DAYS,
    ChannelDocument,
    ChannelEntry,
    ReleaseDocument,
    RolloutsDocument,
    channel_path,
    encode,
    parse,
    release_path,
    rollouts_path,
)
from edge_perception.fleet.keys import KeyFolder
from edge_perception.fleet.places import ObjectPlace, read

CHANNELS = ("dev", "beta", "stable")
EXPIRY_DAYS = {
    "root": 365,
    "targets": 180,
    "team": 180,
    "snapshot": 14,
    "timestamp": TIMESTAMP_DAYS,
}
_TOP = ("targets", "snapshot", "timestamp")
_MOST_METADATA_BYTES = 5_000_000


class Registry:
    """Reads a registry, collects changes, and publishes them in one step."""

    def __init__(
        self,
        place: ObjectPlace,
        keys: KeyFolder | None,
        now: datetime,
        *,
        roles: dict[str, Any] | None = None,
    ) -> None:
        """Open a registry.

        Args:
            place: where it is.
            keys: to publish; None: only to look.
            now: wall clock, UTC.
            roles: of one that is to be made; None: it is read.

        Raises:
            RegistryError: there is none, or it is damaged.
        """
        with extra("fleet"):
            from tuf.api import metadata as tuf
        self._tuf, self._place, self.keys, self._now = tuf, place, keys, now
        self._changed: set[str] = set()
        self._etag = ""
        self._new: set[str] = set()  # roles that were not published yet
        self._old_root: set[str] = set()
        self.roles: dict[str, Any] = roles or {}  # signed parts by role
        if roles is None:
            self._load()
        else:
            self._changed, self._new = {"root", "targets"}, set(roles)

    # -- looking --

    @property
    def teams(self) -> list[str]:
        """The teams that may release."""
        delegations = self.roles["targets"].delegations
        return sorted(delegations.roles) if delegations and delegations.roles else []

    def who_signs(self) -> list[dict[str, Any]]:
        """Return the roles with their keys, threshold and expiry."""
        rows = []
        for role, signed in self.roles.items():
            by = self.roles["root"] if role in ("root", *_TOP) else self.roles["targets"]
            who = by.get_delegated_role(role)
            rows.append(
                {
                    "role": role,
                    "threshold": f"{who.threshold} of {len(who.keyids)}",
                    "keys": " ".join(key[:16] for key in who.keyids),
                    "version": signed.version,
                    "expires": signed.expires.isoformat(),
                }
            )
        return rows

    def document(self, kind: type[Any], path: str) -> Any:
        """Return a document of a team, verified by its hash; None: there is none."""
        info = self._team(path).targets.get(path)
        if info is None:
            return None
        data = read(self._place, _target(path, info.hashes["sha256"]), info.length)
        if hashlib.sha256(data).hexdigest() != info.hashes["sha256"]:
            raise RegistryError(f"{path}: changed in the registry")
        return parse(kind, data, path)

    def channel(self, team: str, channel: str) -> ChannelDocument:
        """Return what a channel offers."""
        if channel not in CHANNELS:
            raise RegistryError(f"channel: expected one of {', '.join(CHANNELS)}, got '{channel}'")
        found = self.document(ChannelDocument, channel_path(team, channel))
        return found or ChannelDocument(channel=channel)

    def rollouts(self, team: str) -> RolloutsDocument:
        """Return the rollouts of a team."""
        return self.document(RolloutsDocument, rollouts_path(team)) or RolloutsDocument()

    def releases(self, team: str) -> list[ReleaseDocument]:
        """Return all releases of a team."""
        paths = [
            path
            for path, info in self._role(team).targets.items()
            if (info.unrecognized_fields.get("custom") or {}).get("kind") == "release"
        ]
        return [self.document(ReleaseDocument, path) for path in sorted(paths)]

    def classes(self, team: str, name: str, version: str) -> frozenset[str]:
        """Return the hardware that there is a variant of a release for."""
        found = [d for d in self.releases(team) if (d.name, d.version) == (name, version)]
        return frozenset(document.device_class for document in found)

    # -- changing: nothing is there before `publish` --

    def put(self, path: str, document: Any, custom: Mapping[str, Any]) -> None:
        """Add or replace a document."""
        if len(data := encode(document)) > MOST_DOCUMENT_BYTES:
            raise RegistryError(f"{path}: expected at most {MOST_DOCUMENT_BYTES} bytes")
        info = self._tuf.TargetFile.from_data(path, data, ["sha256"])
        info.unrecognized_fields["custom"] = dict(custom)
        self._place.write(_target(path, info.hashes["sha256"]), data)
        self._team(path).targets[path] = info
        self._changed.add(path.split("/")[0])

    def add(self, team: str, document: ReleaseDocument, channel: str) -> None:
        """Add a release to a channel; what was released under this version stays what it is."""
        path = release_path(team, document)
        before = self.document(ReleaseDocument, path)
        if before is not None and before.manifest_sha256 != document.manifest_sha256:
            raise RegistryError(
                f"{document.name} {document.version} {document.device_class}: released before with "
                f"manifest {before.manifest_sha256[:12]}; a change needs a version of its own"
            )
        self.put(path, document, {"kind": "release"})
        self._enter(team, document, channel)
        self._join_rollout(team, document)

    def _join_rollout(self, team: str, document: ReleaseDocument) -> None:
        """Let the rollout of a release know of a variant that comes later, too."""
        rollouts = self.rollouts(team)
        sha256, of = document.manifest_sha256, (document.name, document.version)
        joined = tuple(
            replace(r, manifests=(*r.manifests, sha256))
            if (r.name, r.version) == of and sha256 not in r.manifests
            else r
            for r in rollouts.rollouts
        )
        if joined != rollouts.rollouts:
            self.put_rollouts(team, replace(rollouts, rollouts=joined))

    def promote(self, team: str, name: str, version: str, channel: str) -> list[ReleaseDocument]:
        """Let a channel offer all variants of a release."""
        found = [d for d in self.releases(team) if (d.name, d.version) == (name, version)]
        if not found:
            known = ", ".join(sorted({f"{d.name} {d.version}" for d in self.releases(team)}))
            raise RegistryError(f"unknown release '{name} {version}'; known: {known or 'none'}")
        for document in found:
            self._enter(team, document, channel)
        return found

    def retire(self, team: str, name: str, version: str, channel: str = "") -> int:
        """Take a release out of a channel, or of all; return how many entries went."""
        gone = 0
        for one in (channel,) if channel else CHANNELS:
            document = self.channel(team, one)
            kept = tuple(e for e in document.entries if (e.name, e.version) != (name, version))
            if len(kept) < len(document.entries):
                gone += len(document.entries) - len(kept)
                self._put_channel(team, replace(document, entries=kept))
        if not gone:
            raise RegistryError(f"{name} {version}: in no channel{' ' * bool(channel)}{channel}")
        return gone

    def put_rollouts(self, team: str, document: RolloutsDocument) -> None:
        """Replace the rollouts of a team."""
        self.put(rollouts_path(team), document, {"kind": "rollouts"})

    def add_team(self, team: str, signers: Sequence[Any], threshold: int) -> None:
        """Let a team release what is named after it, or replace its keys."""
        if team in ("root", *_TOP) or not team.replace("_", "").replace("-", "").isalnum():
            raise RegistryError(f"team: expected a plain name, got '{team}'")
        if not 1 <= threshold <= len(signers):
            raise RegistryError(f"threshold: expected 1 to {len(signers)}, got {threshold}")
        targets = self.roles["targets"]
        if targets.delegations is None:
            targets.delegations = self._tuf.Delegations(keys={}, roles={})
        old = targets.delegations.roles.get(team)
        if old is not None:
            for key in list(old.keyids):
                targets.revoke_key(key, team)
        targets.delegations.roles[team] = self._tuf.DelegatedRole(
            name=team, keyids=[], threshold=threshold, terminating=True, paths=[f"{team}/*"]
        )
        for signer in signers:
            targets.add_key(signer.public_key, team)
        if team not in self.roles:
            self.roles[team] = self._tuf.Targets()
            self._new.add(team)
        self._changed |= {"targets", team}

    def rotate(self, role: str, signers: Sequence[Any], threshold: int) -> None:
        """Replace the keys of a top role; root's need the old ones beside them to be signed."""
        root = self.roles["root"]
        if role not in root.roles:
            raise RegistryError(f"role: expected one of {', '.join(root.roles)}, got '{role}'")
        if not 1 <= threshold <= len(signers):
            raise RegistryError(f"threshold: expected 1 to {len(signers)}, got {threshold}")
        for key in list(root.roles[role].keyids):
            root.revoke_key(key, role)
        for signer in signers:
            root.add_key(signer.public_key, role)
        root.roles[role].threshold = threshold
        self._changed |= {"root", *((role,) if role != "root" else ())}

    # -- publishing --

    def publish(self) -> int:
        """Sign and write what was changed; return the version of the new timestamp.

        Without a change only the times of expiry are renewed.

        Raises:
            RegistryError: a key is missing, or somebody else published meanwhile.
        """
        if self.keys is None:
            raise RegistryError("keys: expected the folder of the keys, to sign")
        if "root" in self._changed:
            self._write("root")
        for role in sorted(self._changed - {"root", "snapshot", "timestamp"}):
            self._write(role)
            self.roles["snapshot"].meta[f"{role}.json"] = self._tuf.MetaFile(
                self.roles[role].version
            )
        self._write("snapshot")
        timestamp = self.roles["timestamp"]
        timestamp.snapshot_meta = self._tuf.MetaFile(self.roles["snapshot"].version)
        timestamp.version += "timestamp" not in self._new
        self._new.discard("timestamp")
        data = self._signed("timestamp")
        self._place.replace("metadata/timestamp.json", data, self._etag)
        self._changed.clear()
        self._etag = self._read_etag()
        return int(timestamp.version)

    def _write(self, role: str) -> None:
        signed = self.roles[role]
        signed.version += role not in self._new
        self._new.discard(role)
        # What a publisher that was cut off left is not in any snapshot; roots have no gaps.
        while role != "root" and self._place.has(f"metadata/{signed.version}.{role}.json"):
            signed.version += 1
        data = self._signed(role)
        self._place.write(f"metadata/{signed.version}.{role}.json", data)

    def _signed(self, role: str) -> bytes:
        signed = self.roles[role]
        signed.expires = self._now.replace(microsecond=0) + timedelta(
            days=EXPIRY_DAYS.get(role, EXPIRY_DAYS["team"])
        )
        metadata = self._tuf.Metadata(signed)
        assert self.keys is not None
        wanted = self._keyids(role)
        for signer in self.keys.signers(role):
            if signer.public_key.keyid in wanted:
                metadata.sign(signer, append=True)
        self._check(role, metadata)
        return bytes(metadata.to_bytes())

    def _keyids(self, role: str) -> set[str]:
        if role == "root":  # a rotation is signed by those before, too
            return set(self.roles["root"].roles["root"].keyids) | self._old_root
        if role in _TOP:
            return set(self.roles["root"].roles[role].keyids)
        return set(self.roles["targets"].delegations.roles[role].keyids)

    def _check(self, role: str, metadata: Any) -> None:
        """Refuse to write what no robot would take."""
        by = self.roles["root"] if role in ("root", *_TOP) else self.roles["targets"]
        result = by.get_verification_result(role, metadata.signed_bytes, metadata.signatures)
        if not result.verified:
            raise RegistryError(
                f"{role}: expected {result.threshold} signatures, got {len(result.signed)}: keys "
                "are missing"
            )

    # -- loading --

    def _load(self) -> None:
        try:
            data, self._etag = self._timestamp()
        except FileNotFoundError:
            raise RegistryError(
                f"{self._place.url}: no registry; `registry init` makes one"
            ) from None
        root, number = None, 1
        while self._place.has(f"metadata/{number}.root.json"):
            root = self._metadata(f"metadata/{number}.root.json")
            number += 1
        if root is None:
            raise RegistryError(f"{self._place.url}: no root")
        self.roles["root"] = root
        self._old_root = set(root.roles["root"].keyids)
        timestamp = self._tuf.Metadata.from_bytes(data).signed
        self.roles["timestamp"] = timestamp
        self._load_role("snapshot", timestamp.snapshot_meta.version)
        for name, meta in self.roles["snapshot"].meta.items():
            self._load_role(name.removesuffix(".json"), meta.version)

    def _load_role(self, role: str, version: int) -> None:
        self.roles[role] = self._metadata(f"metadata/{version}.{role}.json")

    def _metadata(self, path: str) -> Any:
        try:
            data = read(self._place, path, _MOST_METADATA_BYTES)
            return self._tuf.Metadata.from_bytes(data).signed
        except FileNotFoundError:
            raise RegistryError(f"{self._place.url}: {path} is missing") from None
        except FleetError:
            raise
        except Exception as error:  # of tuf's parsers
            raise RegistryError(f"{self._place.url}: {path}: {error}") from error

    def _timestamp(self) -> tuple[bytes, str]:
        found = self._place.read_if_changed("metadata/timestamp.json", "", _MOST_METADATA_BYTES)
        assert found is not None
        return found

    def _read_etag(self) -> str:
        return self._timestamp()[1]

    # -- parts --

    def _role(self, team: str) -> Any:
        if team not in self.teams:
            raise RegistryError(f"unknown team '{team}'; known: {', '.join(self.teams) or 'none'}")
        return self.roles[team]

    def _team(self, path: str) -> Any:
        return self._role(path.split("/")[0])

    def _enter(self, team: str, document: ReleaseDocument, channel: str) -> None:
        before = self.channel(team, channel)
        entry = ChannelEntry(
            name=document.name,
            role=document.role,
            version=document.version,
            release=document.release,
            device_class=document.device_class,
            manifest_sha256=document.manifest_sha256,
            document=release_path(team, document),
        )
        others = tuple(e for e in before.entries if e.document != entry.document)
        self._put_channel(team, replace(before, entries=(*others, entry)))

    def _put_channel(self, team: str, document: ChannelDocument) -> None:
        self.put(channel_path(team, document.channel), document, {"kind": "channel"})


def make_registry(
    place: ObjectPlace, keys: KeyFolder, now: datetime, *, root_keys: int = 1, threshold: int = 1
) -> bytes:
    """Make an empty registry and its keys; return its first root, which robots are given.

    Raises:
        RegistryError: there is one.
    """
    with extra("fleet"):
        from tuf.api import metadata as tuf
    if place.has("metadata/1.root.json"):
        raise RegistryError(f"{place.url}: holds a registry already")
    if not 1 <= threshold <= root_keys:
        raise RegistryError(f"threshold: expected 1 to {root_keys}, got {threshold}")
    root = tuf.Root(consistent_snapshot=True)
    for role in ("root", *_TOP):
        for signer in keys.make(role, root_keys if role == "root" else 1):
            root.add_key(signer.public_key, role)
    root.roles["root"].threshold = threshold
    roles = {
        "root": root,
        "targets": tuf.Targets(),
        "snapshot": tuf.Snapshot(),
        "timestamp": tuf.Timestamp(),
    }
    registry = Registry(place, keys, now, roles=roles)
    registry.publish()
    return read(place, "metadata/1.root.json", _MOST_METADATA_BYTES)


def utc_now() -> datetime:
    """Return the wall clock."""
    return datetime.now(timezone.utc)


def _target(path: str, sha256: str) -> str:
    folder, name = path.split("/")
    return f"targets/{folder}/{sha256}.{name}"
