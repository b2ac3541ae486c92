"""The store: older news is ignored, a full listing heals what was lost, a new job of an old name starts afresh."""

import dataclasses
import time

import pytest

from kerasjob_api.wire import WorkerReport
from kerasjob_core.observed import Waiting
from kerasjob_operator.listing import Listing
from kerasjob_operator.store import Store

KEY = ("default", "m")


def job(version=1, uid="u1", generation=1, spec=None, **status):
    return {
        "metadata": {
            "namespace": "default", "name": "m", "uid": uid, "resourceVersion": str(version),
            "generation": generation, "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": {"program": {"source": "pass"}} if spec is None else spec,
        "status": status,
    }  # fmt: skip


def pod(version=1, uid="p1", slot=0, incarnation=0, job_uid="u1", phase="Running"):
    return {
        "metadata": {
            "namespace": "default", "name": f"m-{slot}-{incarnation}", "uid": uid, "resourceVersion": str(version),
            "labels": {
                "kerasjob.dev/job": "m", "kerasjob.dev/job-uid": "u1", "kerasjob.dev/slot": str(slot),
                "kerasjob.dev/incarnation": str(incarnation),
            },
            "ownerReferences": [{"kind": "KerasJob", "name": "m", "uid": job_uid}],
        },
        "status": {"phase": phase},
    }  # fmt: skip


@pytest.fixture
def changes():
    return []


@pytest.fixture
def store(changes):
    return Store("image", changes.append)


def test_an_older_version_is_ignored(store, changes):
    store.put_job(job(5, phase="Running"))
    store.put_job(job(4, phase="Pending"))
    assert store.observe(KEY).job.status.phase == "Running"
    assert changes == [KEY]


def test_versions_compare_as_numbers(store):
    store.put_job(job(9))
    store.put_job(job(10, phase="Running"))
    assert store.observe(KEY).job.status.phase == "Running"


def test_a_job_of_the_same_name_starts_afresh(store):
    store.put_job(job(1))
    store.set_base_present(KEY)
    store.put_pod(pod())
    store.put_job(job(7, uid="u2"))
    observed = store.observe(KEY)
    assert not observed.base_present
    assert observed.workers == ()  # the old job's pod is not this one's


def test_a_copy_of_a_pod_is_no_worker(store):
    store.put_job(job())
    copy = pod()
    copy["metadata"]["name"] = "m-0-0-debug"
    store.put_pod(copy)
    without_owner = pod(slot=1)
    del without_owner["metadata"]["ownerReferences"]
    store.put_pod(without_owner)
    assert store.observe(KEY).workers == ()


def test_a_report_is_kept_with_its_pod_and_an_older_revision_is_not(store):
    store.put_job(job())
    store.put_pod(pod())
    new = WorkerReport(slot=0, incarnation=0, revision=2, state="training")
    store.put_report(KEY, "m-0-0", new)
    store.put_report(KEY, "m-0-0", dataclasses.replace(new, revision=1))
    store.put_pod(pod(2))
    assert store.observe(KEY).workers[0].report == new
    store.put_pod(pod(3, uid="p2"))
    assert store.observe(KEY).workers[0].report is None


def list_all(store, version, jobs, pods):
    """What a full listing of both brings."""
    for body in jobs:
        store.put_job(body)
    store.keep_jobs(Listing(frozenset(body["metadata"]["uid"] for body in jobs), version))
    for body in pods:
        store.put_pod(body)
    store.keep_pods(Listing(frozenset(body["metadata"]["uid"] for body in pods), version))
    store.forget_the_gone()


def test_a_full_listing_drops_what_is_gone(store, changes):
    store.put_job(job())
    store.put_pod(pod())
    list_all(store, 5, [job()], [])
    assert store.observe(KEY).workers == ()
    list_all(store, 6, [], [])
    assert store.observe(KEY) is None
    assert KEY in changes


def test_what_came_after_a_listing_was_made_is_not_dropped_by_it(store):
    store.put_job(job(8))
    store.put_pod(pod(9))
    list_all(store, 7, [], [])
    assert len(store.observe(KEY).workers) == 1


def test_what_went_after_a_listing_was_made_is_not_brought_back_by_it(store):
    store.put_job(job())
    store.put_pod(pod())
    store.drop_pod(KEY, "m-0-0", "p1")
    store.drop_job(KEY, "u1")
    list_all(store, 7, [job()], [pod()])
    assert store.observe(KEY) is None
    assert store.jobs() == []
    store.put_job(job(9, uid="u2"))
    assert store.observe(KEY).workers == ()


def ended(version=2, uid="p1", slot=0):
    body = pod(version, uid, slot, phase="Failed")
    body["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:30Z"
    return body


def test_the_last_word_of_a_pod_that_ends_and_goes_in_one_breath_is_seen_by_one_pass(store, changes):
    store.put_job(job())
    store.put_pod(pod())
    store.observe(KEY)
    store.put_pod(ended())
    store.drop_pod(KEY, "m-0-0", "p1")
    assert [worker.has_ended for worker in store.workers(KEY)] == [True]  # who only asks takes nothing away
    changes.clear()
    assert [worker.has_ended for worker in store.observe(KEY).workers] == [True]
    assert changes == [KEY], "the next pass finds it gone"
    assert store.observe(KEY).workers == ()


def test_a_pod_whose_end_was_seen_is_gone_at_once(store):
    store.put_job(job())
    store.put_pod(ended())
    store.observe(KEY)
    store.put_pod(ended(3))
    store.drop_pod(KEY, "m-0-0", "p1")
    assert store.observe(KEY).workers == ()


def test_an_operator_that_passes_over_nothing_keeps_no_last_words(store):
    store.put_job(job())
    for slot in (0, 1):
        store.put_pod(ended(uid=f"p{slot}", slot=slot))
        store.drop_pod(KEY, f"m-{slot}-0", f"p{slot}")
    store.keep_pods(Listing(frozenset(), 5))
    assert store.workers(KEY) == []
    store.put_pod(ended(6, "p2"))
    store.drop_pod(KEY, "m-0-0", "p2")
    store.drop_job(KEY, "u1")
    assert not store._entries


def test_nothing_stays_of_what_is_gone(store):
    store.put_job(job())
    store.drop_job(KEY, "u1")
    store.set_rejection(KEY, Waiting("QuotaExceeded", "the pass was under way when the job went"))
    for version in (2, 3, 4):
        list_all(store, version, [], [])
    assert (store._entries, store._gone._now, store._gone._before) == ({}, set(), set())


def test_a_pod_shows_that_the_base_is_there(store):
    store.put_job(job())
    assert not store.observe(KEY).base_present
    store.put_pod(pod())
    assert store.observe(KEY).base_present


def test_a_refusal_whose_numbers_alone_change_is_no_news(store, changes):
    store.put_job(job())
    changes.clear()
    store.set_rejection(KEY, Waiting("QuotaExceeded", "used: pods=3, request 7f3c9a1be0d24c58"))
    store.set_rejection(KEY, Waiting("QuotaExceeded", "used: pods=4, request 9f3c9a1be0d24c51"))
    assert changes == [KEY]
    store.set_rejection(KEY, Waiting("QuotaExceeded", "used: memory=4"))
    store.set_rejection(KEY, None)
    assert changes == [KEY] * 3


def test_a_rejection_is_forgotten_with_the_spec_that_caused_it(store):
    store.put_job(job())
    store.set_rejection(KEY, Waiting("PodRejected", "no"))
    store.put_job(job(2))
    assert store.observe(KEY).rejection is not None
    store.put_job(job(3, generation=2))
    assert store.observe(KEY).rejection is None


def test_all_faults_of_a_spec_are_kept(store):
    store.put_job(job(spec={"workers": 0, "program": {}, "checkpoint": {"uri": "gs://x"}}))
    observed = store.observe(KEY)
    assert observed.job.spec is None
    assert len(observed.job.faults) == 3
    assert any("expected s3://bucket/… or a directory" in fault for fault in observed.job.faults)


def test_of_a_spec_with_faults_is_kept_what_is_left_without_them(store):
    template = {"spec": {"hostPID": True}}
    store.put_job(job(spec={"program": {"script": "a.py"}, "suspend": True, "podTemplate": template}))
    (known,) = store.jobs()
    assert known.spec.suspend
    assert [fault.split(":")[0] for fault in known.faults] == ["spec.podTemplate.spec.hostPID"]


def test_a_confirmed_absence_ends_when_the_pod_is_seen(store):
    store.put_job(job())
    store.confirm_absent(KEY, "m-0-0")
    assert store.observe(KEY).confirmed_absent == {"m-0-0"}
    store.put_pod(pod())
    assert store.observe(KEY).confirmed_absent == frozenset()


def test_what_a_user_waits_for_is_urgent_and_a_new_job_is_not(store):
    assert not store.is_urgent(KEY)
    store.put_job(job())
    assert not store.is_urgent(KEY)
    store.put_job(job(2, generation=2, observedGeneration=1))
    assert store.is_urgent(KEY)
    store.put_job(job(3, generation=2, observedGeneration=2))
    assert not store.is_urgent(KEY)
    suspended = {"program": {"source": "pass"}, "suspend": True}
    store.put_job(job(4, generation=3, spec=suspended, observedGeneration=3))
    assert not store.is_urgent(KEY), "it has no pods"
    store.put_pod(pod())
    assert store.is_urgent(KEY), "a thousand pods take several passes"
    going = job(5, generation=3, observedGeneration=3)
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    store.put_job(going)
    assert store.is_urgent(KEY)


def made(version=1, uid="p1", **status):
    body = pod(version, uid, phase="Pending")
    body["spec"], body["status"] = {"nodeName": "n"}, {"phase": "Pending", **status}
    return body


MOUNT = Waiting("FailedMount", 'MountVolume.SetUp failed for volume "x" : secret "y" not found')


def test_why_a_volume_cannot_be_mounted_stays_until_the_pod_comes_on(store, changes):
    store.put_job(job())
    store.put_pod(made())
    assert store.pods_being_made() == {"p1": (KEY, "m-0-0")}
    changes.clear()
    for _ in range(3):
        store.put_trouble(KEY, "m-0-0", "p1", MOUNT)
    assert changes == [KEY]
    store.put_pod(made(2))
    assert store.observe(KEY).workers[0].waiting == MOUNT
    assert store.observe(KEY).base_present
    store.put_pod(made(3, conditions=[{"type": "PodReadyToStartContainers", "status": "True"}]))
    assert store.observe(KEY).workers[0].waiting is None
    assert store.pods_being_made() == {}
    store.put_trouble(KEY, "m-0-0", "p1", MOUNT)
    assert store.observe(KEY).workers[0].waiting is None, "it came too late"


@pytest.mark.parametrize("name", ["m-plan", "m-token-u1"])
def test_what_is_ours_and_cannot_be_mounted_is_made_again(store, name):
    store.put_job(job())
    store.put_pod(made())
    store.set_base_present(KEY)
    store.put_trouble(KEY, "m-0-0", "p1", Waiting("FailedMount", f'object "{name}" not found'))
    assert not store.observe(KEY).base_present
    store.set_base_present(KEY)
    assert store.observe(KEY).base_present


def test_a_base_that_a_listing_does_not_find_is_missed_once(store, changes):
    store.put_job(job())
    assert store.miss_base(set(), time.monotonic()) == [], "nothing was made of it yet"
    store.put_pod(pod())
    changes.clear()
    assert store.miss_base({"u1"}, time.monotonic()) == []
    assert store.miss_base(set(), time.monotonic(), "another") == []
    assert store.miss_base(set(), time.monotonic()) == [KEY]
    assert store.miss_base(set(), time.monotonic()) == []
    assert changes == [KEY]
    assert not store.observe(KEY).base_present
    began = time.monotonic()
    store.set_base_present(KEY)
    assert store.miss_base(set(), began) == [], "it was made while the listing was under way"
