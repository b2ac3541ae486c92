"""What the operator knows, in memory: jobs, workers, agents' reports.

Filled by handlers, resync and the answers to our own writes.

Holds small records, never whole pods. Decides nothing and does no I/O. Everything in it can be had again from the
cluster: a restarted operator begins with an empty store.
"""

from __future__ import annotations

import secrets
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from kerasjob_api.names import pod_name
from kerasjob_api.wire import WorkerReport
from kerasjob_core.conditions import is_finished
from kerasjob_core.observed import Job, Observed, Waiting, Worker
from kerasjob_operator import jobs, pods, refusals
from kerasjob_operator.gone import Gone
from kerasjob_operator.listing import Listing

Key = tuple[str, str]


@dataclass
class _Pod:
    worker: Worker
    job_uid: str
    version: int
    is_being_made: bool = False
    is_news: bool = False  # it has ended, and no pass has seen how
    is_gone: bool = False  # it stays until one has


@dataclass
class _Entry:
    job: Job | None = None
    version: int = 0
    base_present: bool | None = None  # None: not known, but a pod is made after it
    base_since: float = 0.0  # by the monotonic clock
    rejection: Waiting | None = None
    confirmed_absent: set[str] = field(default_factory=set)
    pods: dict[str, _Pod] = field(default_factory=dict)


class Store:
    """Jobs by (namespace, name). `on_change` is called with the key of every job about which something new is known."""

    def __init__(self, default_image: str, on_change: Callable[[Key], None] = lambda _key: None) -> None:
        self._default_image = default_image
        self._entries: dict[Key, _Entry] = defaultdict(_Entry)
        self._gone = Gone()
        self.on_change = on_change

    def observe(self, key: Key) -> Observed | None:
        """What is known of a job, for a pass over it; None where there is no such job. A pod that has ended and gone in
        one breath is known for one pass: its last word is all that tells of a failure, or of the last checkpoint."""
        observed = self._observed(key)
        if observed is not None:
            for pod in list(self._entries[key].pods.values()):
                pod.is_news = False
                if pod.is_gone:
                    self.drop_pod(key, pod.worker.name, pod.worker.uid)
        return observed

    def _observed(self, key: Key) -> Observed | None:
        entry = self._entries.get(key)
        if entry is None or entry.job is None:
            return None
        uid = entry.job.ref.uid
        workers = tuple(pod.worker for pod in entry.pods.values() if pod.job_uid == uid)
        return Observed(
            job=entry.job,
            workers=workers,
            # A restarted operator need not ask for every job's again.
            base_present=bool(workers) if entry.base_present is None else entry.base_present,
            rejection=entry.rejection,
            confirmed_absent=frozenset(entry.confirmed_absent),
            seed=0 if entry.job.status.resolved is not None else secrets.randbelow(2**31),
            image=self._default_image,
        )

    def job(self, key: Key) -> Job | None:
        """A job by its name."""
        entry = self._entries.get(key)
        return entry.job if entry is not None else None

    def jobs(self) -> list[Job]:
        """All jobs. From any thread: one look at what there is."""
        return [entry.job for entry in list(self._entries.values()) if entry.job is not None]

    def workers(self, key: Key) -> list[Worker]:
        """The workers of a job."""
        observed = self._observed(key)
        return list(observed.workers) if observed is not None else []

    def is_urgent(self, key: Key) -> bool:
        """Whether somebody waits for the job's next pass: it was changed, and that has not been looked at yet, or is
        suspended and still has pods. A new job is none: thousands may come at once."""
        entry = self._entries.get(key)
        if entry is None or entry.job is None:
            return False
        job = entry.job
        if job.spec is not None and job.spec.suspend:
            return any(pod.job_uid == job.ref.uid and not pod.worker.deleting for pod in entry.pods.values())
        return job.deleting or 0 < job.status.observed_generation < job.generation

    def put_job(self, body: dict[str, Any]) -> None:
        """A KerasJob as the API server has it. Older than what is known: ignored."""
        metadata = body["metadata"]
        if self._gone.has(metadata["namespace"], metadata["uid"]):
            return
        key = (metadata["namespace"], metadata["name"])
        entry, version = self._entries[key], int(metadata["resourceVersion"])
        old = entry.job
        if version <= entry.version:
            return  # also of an earlier job of this name: versions are of the whole cluster
        if old is not None and old.ref.uid != metadata["uid"]:
            entry.base_present, entry.rejection, old = None, None, None
            entry.confirmed_absent.clear()
        if old is not None and old.generation != metadata.get("generation", 1):
            entry.rejection = None  # another spec may be accepted
        entry.job, entry.version = jobs.job(body, old), version
        self.on_change(key)

    def drop_job(self, key: Key, uid: str) -> None:
        """The job is gone."""
        self._gone.add(key[0], uid)
        entry = self._entries.get(key)
        if entry is None or entry.job is None or entry.job.ref.uid != uid:
            return
        entry.job, entry.base_present, entry.rejection = None, None, None
        entry.confirmed_absent.clear()
        entry.pods = {name: pod for name, pod in entry.pods.items() if not pod.is_gone}
        self._forget_if_empty(key)

    def put_pod(self, body: dict[str, Any]) -> None:
        """A pod of ours as the API server has it. Older than what is known: ignored."""
        key = pods.job_of(body)
        metadata = body["metadata"]
        if key is None or self._gone.has(metadata["namespace"], metadata["uid"]):
            return
        entry, version = self._entries[key], int(metadata["resourceVersion"])
        old = entry.pods.get(metadata["name"])
        if old is not None and version <= old.version:
            return
        known = old.worker if old is not None and old.worker.uid == metadata["uid"] else None
        record = pods.worker(body, known)
        if record is None or record.name != pod_name(key[1], record.slot, record.incarnation):
            return  # a copy of one of ours, by `kubectl debug` for example
        is_being_made = pods.is_being_made(body)
        if is_being_made and record.waiting is None and known is not None and refusals.is_of_mounts(known.waiting):
            record = replace(record, waiting=known.waiting)
        is_news = record.has_ended and (known is None or not known.has_ended or (old is not None and old.is_news))
        entry.pods[record.name] = _Pod(record, pods.owner(metadata), version, is_being_made, is_news)
        entry.confirmed_absent.discard(record.name)
        if old is None or old.worker != record:
            self.on_change(key)

    def drop_pod(self, key: Key, name: str, uid: str) -> None:
        """A pod is gone."""
        self._gone.add(key[0], uid)
        entry = self._entries.get(key)
        if entry is None or name not in entry.pods or entry.pods[name].worker.uid != uid:
            return
        if entry.pods[name].is_news and not entry.pods[name].is_gone and entry.job is not None:
            entry.pods[name].is_gone = True
        else:
            del entry.pods[name]
            self._forget_if_empty(key)
        self.on_change(key)

    def put_report(self, key: Key, pod: str, report: WorkerReport) -> None:
        """What an agent said. Answers may overtake each other: a later ring revision stands."""
        entry = self._entries.get(key)
        known = entry.pods.get(pod) if entry is not None else None
        if known is None or (report.slot, report.incarnation) != (known.worker.slot, known.worker.incarnation):
            return
        old = known.worker.report
        if old is not None and report.revision < old.revision:
            return
        if old != report or known.worker.silent_since is not None:
            known.worker = replace(known.worker, report=report, silent_since=None)
            self.on_change(key)

    def put_silence(self, key: Key, pod: str, now: float) -> None:
        """An agent does not answer. What counts is since when one does not that has answered before, us or the kubelet:
        a pod that is ready and does not answer cannot be reached from here."""
        entry = self._entries.get(key)
        known = entry.pods.get(pod) if entry is not None else None
        if known is None or known.worker.silent_since is not None:
            return
        if known.worker.report is not None or known.worker.ready:
            known.worker = replace(known.worker, silent_since=now)
            self.on_change(key)

    def set_base_present(self, key: Key) -> None:
        """What pods need is there."""
        entry = self._entries[key]
        entry.base_present, entry.base_since = True, time.monotonic()

    def miss_base(self, there: set[str], began: float, namespace: str | None = None) -> list[Key]:
        """After a listing, begun at a time, of what jobs' pods need: the jobs, by uid, that have it. Those that should
        have it and do not are made due."""
        missing = []
        for key, entry in self._of(namespace):
            observed = self._observed(key)
            if observed is None or not observed.base_present or is_finished(observed.job.status):
                continue
            if observed.job.ref.uid not in there and entry.base_since < began:
                entry.base_present = False
                self.on_change(key)
                missing.append(key)
        return missing

    def pods_being_made(self) -> dict[str, tuple[Key, str]]:
        """Job and name, by uid, of pods that wait for their node."""
        return {
            pod.worker.uid: (key, name)
            for key, entry in self._entries.items()
            for name, pod in entry.pods.items()
            if pod.is_being_made
        }

    def put_trouble(self, key: Key, name: str, uid: str, trouble: Waiting) -> None:
        """Why a pod's volumes cannot be mounted."""
        entry = self._entries.get(key)
        known = entry.pods.get(name) if entry is not None else None
        if entry is None or known is None or known.worker.uid != uid or not known.is_being_made:
            return
        if refusals.say_the_same(known.worker.waiting, trouble):
            return
        known.worker = replace(known.worker, waiting=trouble)
        if entry.job is not None and refusals.names_ours(trouble.message, entry.job.ref):
            entry.base_present = False  # ours, that somebody deleted
        self.on_change(key)

    def set_rejection(self, key: Key, rejection: Waiting | None) -> None:
        """Why the last creation was refused; None: it was not. Each change is a pass and a write of the status, and the
        pass meets the same refusal again."""
        entry = self._entries[key]
        if not refusals.say_the_same(entry.rejection, rejection):
            entry.rejection = rejection
            self.on_change(key)

    def confirm_absent(self, key: Key, pod: str) -> None:
        """A direct read did not find the pod."""
        entry = self._entries[key]
        known = entry.pods.pop(pod, None)
        if known is not None:
            self._gone.add(key[0], known.worker.uid)
        entry.confirmed_absent.add(pod)
        self.on_change(key)

    def keep_jobs(self, listing: Listing, namespace: str | None = None) -> None:
        """After a full listing of jobs, of a namespace or of all, was put: what is older than it and not in it is gone,
        even if no event said so. All of them are looked at again."""
        for key, entry in self._of(namespace):
            job = entry.job
            if job is not None and job.ref.uid not in listing.uids and entry.version <= listing.version:
                self.drop_job(key, job.ref.uid)
            elif job is not None:
                self.on_change(key)
            elif not entry.pods:
                self._entries.pop(key, None)

    def keep_pods(self, listing: Listing, namespace: str | None = None) -> None:
        """The same of pods."""
        for key, entry in self._of(namespace):
            for pod in list(entry.pods.values()):
                # An operator that does not lead passes over no job.
                if pod.is_gone or (pod.worker.uid not in listing.uids and pod.version <= listing.version):
                    self.drop_pod(key, pod.worker.name, pod.worker.uid)

    def forget_the_gone(self, namespace: str | None = None) -> None:
        """After a full listing of a namespace or of all: what went before the one before cannot come back."""
        self._gone.listed(namespace)

    def look_again(self) -> None:
        """Makes all jobs due."""
        for key, entry in self._entries.items():
            if entry.job is not None:
                self.on_change(key)

    def _of(self, namespace: str | None) -> list[tuple[Key, _Entry]]:
        return [(key, entry) for key, entry in self._entries.items() if namespace in (None, key[0])]

    def _forget_if_empty(self, key: Key) -> None:
        entry = self._entries[key]
        if entry.job is None and not entry.pods:
            del self._entries[key]
