"""What the store knows against what is true, however the news comes: late, twice, out of order, or not at all.

A watch tells in order, until it breaks; answers to writes come when they come; a listing is of a moment and is heard of
later.
"""

import copy
import os
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kerasjob_operator.listing import Listing
from kerasjob_operator.store import Store

KEY = ("default", "m")
SLOTS = st.integers(0, 2)
KINDS = st.sampled_from(["job", "pod"])


@dataclass
class Channel:
    """A watch of one kind: what it has yet to tell; None while it is broken."""

    events: list | None = field(default_factory=list)

    @property
    def broken(self):
        return self.events is None


class StoreMachine(RuleBasedStateMachine):
    """The API server, its watches, and the store that listens."""

    @initialize()
    def begin(self):
        self.version = 0
        self.objects = {}  # what is true: by kind and name
        self.watches = {"job": Channel(), "pod": Channel()}
        self.answers = []  # of writes, to be heard in any order
        self.listings = []  # (kind, objects, version), to be heard in their order
        self.seen = {}  # the newest version of each uid that the store has shown
        self.changed = set()
        self.store = Store("image", self.changed.add)

    # What happens in the cluster.

    def write(self, kind, name, body):
        self.version += 1
        body["metadata"]["resourceVersion"] = str(self.version)
        new = (kind, name) not in self.objects
        self.objects[kind, name] = body
        self.tell(kind, "ADDED" if new else "MODIFIED", body)

    def tell(self, kind, what, body):
        if not self.watches[kind].broken:
            self.watches[kind].events.append((what, copy.deepcopy(body)))

    @rule(answered=st.booleans())
    def make_or_change_the_job(self, answered):
        body = self.objects.get(("job", "m")) or job(f"job-{self.version}")
        body = copy.deepcopy(body)
        body["status"] = {"restarts": self.version}
        self.write("job", "m", body)
        if answered:
            self.answers.append(("job", copy.deepcopy(body)))

    @rule(slot=SLOTS, answered=st.booleans())
    def make_or_change_a_pod(self, slot, answered):
        owner = self.objects.get(("job", "m"))
        if owner is None:
            return
        body = self.objects.get(("pod", slot)) or pod(f"pod-{self.version}", slot, owner["metadata"]["uid"])
        body = copy.deepcopy(body)
        body["status"]["podIP"] = f"10.0.0.{self.version % 250}"
        self.write("pod", slot, body)
        if answered:
            self.answers.append(("pod", copy.deepcopy(body)))

    @rule(kind=KINDS, slot=SLOTS)
    def delete(self, kind, slot):
        body = self.objects.pop((kind, "m" if kind == "job" else slot), None)
        if body is not None:
            self.version += 1
            self.tell(kind, "DELETED", {**body, "metadata": {**body["metadata"], "resourceVersion": str(self.version)}})

    # How it is heard of.

    @rule(kind=KINDS, times=st.integers(1, 3), again=st.booleans())
    def a_watch_tells(self, kind, times, again):
        for _ in range(times):
            if not self.watches[kind].broken and self.watches[kind].events:
                what, body = self.watches[kind].events.pop(0)
                for _ in range(1 + again):
                    self.hear(kind, what, body)

    @precondition(lambda self: self.answers)
    @rule(index=st.integers(0, 50))
    def an_answer_comes(self, index):
        kind, body = self.answers.pop(index % len(self.answers))
        self.hear(kind, "MODIFIED", body)

    @rule(kind=KINDS)
    def a_watch_breaks(self, kind):
        self.watches[kind].events = None

    @rule(kind=KINDS)
    def all_is_listed(self, kind):
        there = [copy.deepcopy(body) for (k, _), body in self.objects.items() if k == kind]
        self.listings.append((kind, there, self.version))
        if self.watches[kind].broken:
            self.watches[kind].events = []  # it goes on from here, where the listing is heard of first

    @precondition(lambda self: self.listings)
    @rule()
    def a_listing_is_heard_of(self):
        kind, bodies, version = self.listings.pop(0)
        for body in bodies:
            self.hear(kind, "MODIFIED", body)
        listing = Listing(frozenset(body["metadata"]["uid"] for body in bodies), version)
        if kind == "job":
            while self.answers:  # a request takes seconds, a listing comes every few minutes
                self.hear(self.answers[0][0], "MODIFIED", self.answers.pop(0)[1])
            self.store.keep_jobs(listing)
            self.store.forget_the_gone()
        else:
            self.store.keep_pods(listing)

    def hear(self, kind, what, body):
        uid = body["metadata"]["uid"]
        if kind == "job" and what == "DELETED":
            self.store.drop_job(KEY, uid)
        elif kind == "job":
            self.store.put_job(body)
        elif what == "DELETED":
            self.store.drop_pod(KEY, body["metadata"]["name"], uid)
        else:
            self.store.put_pod(body)

    # What must hold.

    def shown(self):
        """What the store shows: versions by uid."""
        observed = self.store.observe(KEY)
        if observed is None:
            return {}
        pods = self.store._entries[KEY].pods
        versions = {worker.uid: pods[worker.name].version for worker in observed.workers}
        return versions | {observed.job.ref.uid: int(observed.job.resource_version)}

    @invariant()
    def nothing_goes_back(self):
        for uid, version in self.shown().items():
            assert version >= self.seen.get(uid, 0), "an older state is never shown after a newer one"
            self.seen[uid] = version

    def teardown(self):
        """In the end all is heard of: by watches that never broke, or by a listing of what is."""
        while self.listings:
            self.a_listing_is_heard_of()
        for kind, watch in self.watches.items():
            if watch.broken:
                self.all_is_listed(kind)
                self.a_listing_is_heard_of()
            self.a_watch_tells(kind, len(watch.events), False)
        while self.answers:
            self.an_answer_comes(0)
        self.nothing_goes_back()
        owner = self.objects.get(("job", "m"))
        uid = owner["metadata"]["uid"] if owner is not None else None
        pods = [
            b for (k, _), b in self.objects.items() if k == "pod" and b["metadata"]["ownerReferences"][0]["uid"] == uid
        ]
        true = [body for body in (owner, *pods) if body is not None]
        versions = {body["metadata"]["uid"]: int(body["metadata"]["resourceVersion"]) for body in true}
        assert self.shown() == (versions if owner is not None else {})


def job(uid):
    return {
        "metadata": {
            "namespace": "default", "name": "m", "uid": uid, "generation": 1,
            "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": {"program": {"source": "pass"}},
        "status": {},
    }  # fmt: skip


def pod(uid, slot, owner):
    labels = {"kerasjob.dev/job": "m", "kerasjob.dev/slot": str(slot), "kerasjob.dev/incarnation": "0"}
    return {
        "metadata": {
            "namespace": "default", "name": f"m-{slot}-0", "uid": uid, "labels": labels,
            "ownerReferences": [{"kind": "KerasJob", "name": "m", "uid": owner}],
        },
        "status": {"phase": "Running"},
    }  # fmt: skip


TestStore = StoreMachine.TestCase
TestStore.settings = settings(
    settings.get_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci")), max_examples=1000, stateful_step_count=40
)
