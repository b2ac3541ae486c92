"""Checkpoints in a store: committed by their manifest, verified before they are used, thinned out. Used by the agent.

The layout is in docs/contracts.md. What has no manifest does not exist. Nothing that a newer ring revision wrote is
ever touched.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kerasjob_api.wire import KeepConfig
from kerasjob_trainer import retention, sharing
from kerasjob_trainer.log import log
from kerasjob_trainer.manifests import FILES, KERAS_FILE, Damaged, Manifest, Saved, is_whole, now, parse
from kerasjob_trainer.outputs import is_archive
from kerasjob_trainer.settings import Settings
from kerasjob_trainer.sharing import Helper
from kerasjob_trainer.store import Store, open_store

# What checkpoints have in common is copied in the store from one to the next; of so many it is sent for one, so that a
# fault of the disk there spoils no more.
_SENT_EVERY = 8


class Checkpoints:
    """One job's checkpoints. Every method raises StoreError where the store fails."""

    def __init__(self, store: Store, job: str, keep: KeepConfig, known: dict[str, Manifest] | None = None) -> None:
        """`known`: manifests by id, which never change; what is read is added."""
        self.store = store
        self.job = job
        self.keep = keep
        self._known = {} if known is None else known

    def uri(self, id_: str) -> str:
        """Where a checkpoint lies, for people."""
        return f"{self.store.uri}checkpoints/{id_}/"

    def keras_uri(self, manifest: Manifest) -> str | None:
        """Where the Keras file of a checkpoint lies; None where it has none."""
        files = [file for file in manifest.files if file["name"] == KERAS_FILE]
        return f"{self.store.uri}{_key(manifest.id, files[0])}" if files else None

    def probe(self) -> None:
        """Looks whether the store can be read. Raises StoreError with words for the user."""
        self.store.entries("manifests/")

    def manifests(self) -> list[Manifest]:
        """All that is committed, the newest first. A manifest that cannot be read is passed over."""
        found = []
        for entry in self.store.entries("manifests/"):
            id_ = entry.key.removeprefix("manifests/").removesuffix(".json")
            try:
                if id_ not in self._known:
                    self._known[id_] = self._manifest(id_)
                found.append(self._known[id_])
            except Damaged as error:
                log.warning("%s; it is passed over", error)
        return sorted(found, key=lambda m: m.order, reverse=True)

    def newest(self) -> Manifest | None:
        """The newest that is committed, whether its files are whole or not."""
        return next(iter(self.manifests()), None)

    def claim(self, revision: int) -> None:
        """Notes that a ring revision has begun. Raises Superseded where a newer one has."""
        rings = {int(entry.key.rpartition("/")[2].removesuffix(".json")) for entry in self.store.entries("rings/")}
        if max(rings, default=0) > revision:
            raise Superseded(revision, max(rings))
        if revision not in rings:
            data = {"version": 1, "job": self.job, "ringRevision": revision, "begunAt": now()}
            self.store.put_if_absent(_ring_key(revision), json.dumps(data).encode())
            self.store.delete([_ring_key(old) for old in rings])

    def commit(self, saved: Saved, revision: int, helpers: Sequence[Helper] = ()) -> Manifest | None:
        """Uploads the files, then the manifest. None where another writer has committed something else by the
        same id. `revision`: of the ring that does this, which may go on from the state of one before. Raises Superseded
        where that is over. `helpers`: other workers, which hold the same state."""
        id_, files = saved.id, saved.files.records()
        self.claim(revision)
        # Several workers may have the same step to save: what one has committed is never written to by another.
        if (content := self.store.get(f"manifests/{id_}.json")) is not None:
            return _same(id_, content, files)
        for file in files:
            self._put(saved, file, helpers)
        self.claim(revision)
        for file in self._missing(id_, files):
            self._put(saved, file, helpers)
        data = {
            "version": 1,
            "job": self.job,
            "ringRevision": saved.revision,
            "parent": saved.parent,
            "step": saved.step,
            "position": saved.position,
            "savedAt": now(),
            "files": files,
            "keep": list(saved.keep),
            "metrics": saved.metrics,
        }
        if not self.store.put_if_absent(f"manifests/{id_}.json", json.dumps(data, indent=1).encode()):
            return _same(id_, self.store.get(f"manifests/{id_}.json"), files)
        return Manifest(id_, saved.revision, saved.step, data)

    def _put(self, saved: Saved, file: dict[str, Any], helpers: Sequence[Helper]) -> None:
        path, name = saved.files.paths[file["name"]], file["name"]
        if not (is_archive(name) and self._is_copied(file, saved.id, path)):
            sharing.put(self.store, _key(saved.id, file), path, saved.id, name, helpers if name == FILES[0] else ())

    def _missing(self, id_: str, files: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Files that are not there any more: the leader of a newer ring has taken them for left over."""
        stored = {entry.key: entry.num_bytes for entry in self.store.entries(f"checkpoints/{id_}/")}
        return [file for file in files if stored.get(_key(id_, file)) != file["bytes"]]

    def _is_copied(self, file: dict[str, Any], id_: str, path: Path) -> bool:
        """Whether a file is that of a checkpoint before, which the store has been told to copy."""
        others = [one for one in self._known.values() if file in one.files]
        if len(others) % _SENT_EVERY == 0:
            return False
        newest = max(others, key=lambda manifest: manifest.order)
        return self.store.copy(_key(newest.id, file), _key(id_, file), path)

    def thin_out(self, revision: int) -> list[str]:
        """Deletes what does not stay by `retention.kept`; answers the ids.

        Only what ring revision `revision` or an older one wrote: a late leader of an old ring must not touch the work
        of its successor. Files without a manifest are deleted once their ring revision is over.
        """
        entries = self.store.entries("checkpoints/")  # first: what is committed from now on is not among them
        manifests = self.manifests()
        kept = set(retention.kept(manifests, self.keep))
        committed = {m.id for m in manifests}
        doomed = [m.id for m in manifests if m.id not in kept and m.revision <= revision]
        orphans = {id_ for e in entries if (id_ := e.key.split("/")[1]) not in committed | kept}
        orphans = {id_ for id_ in orphans if (r := _revision(id_)) is not None and r < revision}
        if doomed:
            self.store.delete([f"manifests/{id_}.json" for id_ in doomed])  # first: what is half deleted has none
        gone = {*doomed, *orphans}
        keys = [e.key for e in entries if e.key.split("/")[1] in gone]
        if keys:
            self.store.delete(keys)
        self.store.delete_unfinished()
        return sorted(gone)

    def newest_whole(self, target: Path) -> Manifest | None:
        """Brings the newest checkpoint that verifies, and those it needs, below `target`; None where there is none."""
        for manifest in self.manifests():
            try:
                self.fetch(manifest.id, target, manifest)
            except Damaged as error:
                log.warning("checkpoint %s is damaged and passed over for the one before: %s", manifest.id, error)
            else:
                return manifest
        return None

    def fetch(self, id_: str, target: Path, manifest: Manifest | None = None) -> Manifest:
        """Brings one checkpoint and those it needs below `target`, verified. Raises StoreError, also for damage."""
        manifest = manifest or self._manifest(id_)
        self._fetch_files(manifest, target)
        for needed in manifest.keep:
            self.fetch_needed(needed, target)
        return manifest

    def fetch_needed(self, id_: str, target: Path) -> None:
        """Brings one checkpoint that another one needs; what it needed itself may be gone. Raises StoreError."""
        if not (target / id_).is_dir():
            self._fetch_files(self._manifest(id_), target)

    def _manifest(self, id_: str) -> Manifest:
        return parse(id_, self.store.get(f"manifests/{id_}.json"))

    def _fetch_files(self, manifest: Manifest, target: Path) -> None:
        for file in manifest.files:
            path = target / manifest.id / file["name"]
            if not self.store.get_file(_key(manifest.id, file), path):
                raise Damaged(f"{manifest.id}/{file['name']} is missing")
            if not is_whole(path, file):
                path.unlink()
                raise Damaged(f"{manifest.id}/{file['name']} is not what was saved (size or SHA-256 differ)")

    def done(self) -> dict[str, Any] | None:
        """The record that the program has ended well; None before."""
        content = self.store.get("done.json")
        if content is None:
            return None
        data = json.loads(content)
        return data if isinstance(data, dict) else None

    def commit_done(self, revision: int, histories: list[Any], results: dict[str, Any], export: str | None) -> None:
        """Records that the program has ended well. The first record stands."""
        data = {
            "version": 1,
            "job": self.job,
            "ringRevision": revision,
            "finishedAt": now(),
            "histories": histories,
            "results": results,
            "export": export,
        }
        if not self.store.put_if_absent("done.json", json.dumps(data, indent=1).encode()):
            log.warning("done.json is there already; it stands")


def open_checkpoints(settings: Settings, known: dict[str, Manifest] | None = None) -> Checkpoints:
    """The checkpoints of the agent's job. Opened for each use: the keys may have been renewed. Raises StoreError."""
    config = settings.config
    assert config.checkpoint is not None
    store = open_store(f"{config.checkpoint.uri.rstrip('/')}/{config.uid}/", config.s3, settings.s3_dir)
    return Checkpoints(store, config.uid, config.checkpoint.keep, known)


def claim(settings: Settings, revision: int) -> None:
    """Before all that a ring's leader writes besides checkpoints. Raises Superseded where a newer ring has begun, and
    StoreError. Without `spec.checkpoint` there is no store that would know."""
    if settings.config.checkpoint is not None:
        open_checkpoints(settings).claim(revision)


class Superseded(Exception):
    """A newer ring has begun: whoever still acts for the one before, `revision`, must end."""

    def __init__(self, revision: int, newer: int) -> None:
        super().__init__(f"ring revision {revision} is over: {newer} has begun")
        self.revision = revision


def _key(id_: str, file: dict[str, Any]) -> str:
    """Where a file of a checkpoint lies: another content has another place."""
    return f"checkpoints/{id_}/{file['sha256'][:16]}-{file['name']}"


def _ring_key(revision: int) -> str:
    return f"rings/{revision:08}.json"


def _same(id_: str, content: bytes | None, files: list[dict[str, Any]]) -> Manifest | None:
    """What is committed by this id, where it is the state that was to be; None, with a word in the log, where not."""

    def state(all_files: list[dict[str, Any]]) -> list[str]:
        return [file["sha256"] for file in all_files if file["name"] == FILES[0]]

    try:
        committed = parse(id_, content)
    except Damaged as error:
        log.error("%s; what was to be saved by this id is given up", error)
        return None
    if state(committed.files) == state(files):
        return committed
    log.error("checkpoint %s is committed already, with another state; ours is given up", id_)
    return None


def _revision(id_: str) -> int | None:
    _, _, text = id_.rpartition("-r")
    return int(text) if text.isdigit() else None
