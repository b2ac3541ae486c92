"""The store: older news is ignored, a full listing heals what was lost, a new job of an old name starts afresh."""

import dataclasses

import pytest

from kerasjob_api.wire import WorkerReport
from kerasjob_core.observed import Waiting
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
                "kerasjob.dev/job": "m", "kerasjob.dev/job-uid": job_uid, "kerasjob.dev/slot": str(slot),
                "kerasjob.dev/incarnation": str(incarnation),
            },
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


def test_a_full_listing_drops_what_is_gone(store, changes):
    store.put_job(job())
    store.put_pod(pod())
    store.replace_all([job()], [])
    assert store.observe(KEY).workers == ()
    store.replace_all([], [])
    assert store.observe(KEY) is None
    assert KEY in changes


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


def test_a_confirmed_absence_ends_when_the_pod_is_seen(store):
    store.put_job(job())
    store.confirm_absent(KEY, "m-0-0")
    assert store.observe(KEY).confirmed_absent == {"m-0-0"}
    store.put_pod(pod())
    assert store.observe(KEY).confirmed_absent == frozenset()
