"""What the API server's answers become, by class, and what the user gets to see of them."""

import pytest
from tests.unit.operator.test_store import KEY, job, pod

from kerasjob_api.status import KerasJobStatus
from kerasjob_core.cluster import Conflict, NameTaken, NotFound, QuotaExceeded, Refused, Unavailable
from kerasjob_core.plan import ConfirmAbsent, CreateWorker, DeleteJob, DeleteWorker, EnsureBase, Event
from kerasjob_operator.agents import Agents
from kerasjob_operator.api_client import ApiError
from kerasjob_operator.kubernetes_cluster import KubernetesCluster
from kerasjob_operator.settings import OperatorSettings
from kerasjob_operator.store import Store

RESOLVED = {"image": "i", "seed": 1}


class FakeApi:
    """An API server that fails where it is told to; else it keeps what is made."""

    def __init__(self):
        self.errors = {}
        self.objects = {}
        self.asked = []

    def _fail(self, verb, plural):
        self.asked.append((verb, plural))
        if (error := self.errors.get((verb, plural))) is not None:
            raise error

    async def create(self, resource, _namespace, body, strict=False, dry_run=False):
        self._fail("create" if not dry_run else "dry run", resource.plural)
        if dry_run:
            return body
        key = (resource.plural, body["metadata"]["name"])
        if key in self.objects:
            raise ApiError(409, "AlreadyExists", "already exists")
        body["metadata"] |= {"uid": f"uid-{len(self.objects)}", "resourceVersion": "50"}
        self.objects[key] = body
        return body

    async def get(self, resource, _namespace, name):
        self._fail("get", resource.plural)
        if (resource.plural, name) not in self.objects:
            raise ApiError(404, "NotFound", f'{resource.plural} "{name}" not found')
        return self.objects[resource.plural, name]

    async def patch(self, resource, _namespace, name, patch, subresource=None):
        self._fail("patch", resource.plural if subresource is None else f"{resource.plural}/{subresource}")
        if (body := self.objects.get((resource.plural, name))) is not None:
            body.update({change["path"][1:]: change["value"] for change in patch})

    async def delete(self, resource, _namespace, name, _uid, *, force=False):
        self._fail("delete", resource.plural)
        return self.objects.pop((resource.plural, name), {"kind": "Status"})


@pytest.fixture
def api():
    return FakeApi()


@pytest.fixture
def store():
    store = Store("image")
    store.put_job(job(resolved=RESOLVED))
    return store


@pytest.fixture
def cluster(api, store):
    return KubernetesCluster(api, store, Agents(b"key"), OperatorSettings())


def seen(store):
    return store.observe(KEY).job


async def test_a_pod_that_the_server_would_refuse_pins_nothing(cluster, api, store):
    store.put_job(job(2, generation=2, spec={"env": [{"name": "A"}], "program": {"script": "t.py"}}, resolved=RESOLVED))
    api.errors["dry run", "pods"] = ApiError(422, "Invalid", "spec.containers[0].env[0].nmae: unknown field")
    with pytest.raises(Refused):
        await cluster.ensure_base(seen(store), EnsureBase("image", 1))
    assert store.observe(KEY).rejection.reason == "PodRejected"
    assert api.objects == {}
    api.errors.clear()
    await cluster.ensure_base(seen(store), EnsureBase("image", 1))
    assert store.observe(KEY).base_present


async def test_a_pod_of_ours_alone_is_not_tried_out(cluster, api, store):
    await cluster.ensure_base(seen(store), EnsureBase("image", 1))
    assert ("dry run", "pods") not in api.asked


async def test_a_base_that_is_made_again_tries_no_pod_out(cluster, api, store):
    """The job's own pods may have used up a quota, which would be said of a job that runs."""
    store.put_job(job(2, generation=2, spec={"env": [{"name": "A"}], "program": {"script": "t.py"}}, resolved=RESOLVED))
    store.put_pod(pod())
    await cluster.ensure_base(seen(store), EnsureBase("image", 1))
    assert ("dry run", "pods") not in api.asked
    assert ("networkpolicies", "m") in api.objects


NOT_SERVED = [
    ApiError(404, "", "404 page not found\n"),
    ApiError(404, "NotFound", "the server could not find the requested resource"),
]


@pytest.mark.parametrize("error", NOT_SERVED, ids=["version", "resource"])
@pytest.mark.parametrize("more", [{}, {"env": [{"name": "A"}]}], ids=["plain", "tried out"])
async def test_where_gangs_are_not_served_nothing_is_made_until_they_are(cluster, api, store, error, more):
    spec = {"program": {"script": "t.py"}, "scheduling": {"gang": "Native"}} | more
    store.put_job(job(2, generation=2, spec=spec, resolved=RESOLVED))
    api.errors |= {("create", "podgroups"): error, ("dry run", "podgroups"): error}
    with pytest.raises(Unavailable):
        await cluster.ensure_base(seen(store), EnsureBase("image", 1))
    rejection = store.observe(KEY).rejection
    assert rejection.reason == "GangSchedulingNotServed"
    assert "GenericWorkload" in rejection.message
    assert (api.objects, ("dry run", "pods") in api.asked) == ({}, False)
    api.errors.clear()
    await cluster.ensure_base(seen(store), EnsureBase("image", 1))
    assert ("podgroups", "m") in api.objects
    assert store.observe(KEY).rejection is None


async def test_a_job_without_a_gang_asks_for_none(cluster, api, store):
    await cluster.ensure_base(seen(store), EnsureBase("image", 1))
    assert ("create", "podgroups") not in api.asked


async def test_an_event_that_is_said_again_is_counted(cluster, api, store):
    event = Event("Warning", "StorageError", "no such bucket")
    for _ in range(3):
        await cluster.emit(seen(store).ref, event)
    await cluster.emit(seen(store).ref, Event("Warning", "StorageError", "another one"))
    events = [body for (plural, _), body in api.objects.items() if plural == "events"]
    assert [(e["message"], e["count"]) for e in events] == [("no such bucket", 3), ("another one", 1)]


async def test_a_job_whose_time_is_over_is_gone_at_once_here_too(cluster, api, store):
    await cluster.delete_job(seen(store), DeleteJob())
    assert store.observe(KEY) is None


FORBIDDEN = 'pods "m-0-0" is forbidden: '


@pytest.mark.parametrize(
    ("error", "raised", "reason"),
    [
        (ApiError(403, "Forbidden", FORBIDDEN + "exceeded quota: q, used: pods=3"), QuotaExceeded, "QuotaExceeded"),
        (ApiError(403, "Forbidden", FORBIDDEN + 'violates PodSecurity "restricted:latest"'), Refused, "PodRejected"),
        (ApiError(403, "Forbidden", 'admission webhook "no.example" denied the request: no'), Refused, "PodRejected"),
        (ApiError(422, "Invalid", "spec.containers[0].image: Required value"), Refused, "PodRejected"),
        (ApiError(400, "BadRequest", 'strict decoding error: unknown field "spec.x"'), Refused, "PodRejected"),
        (ApiError(403, "Forbidden", FORBIDDEN + "unable to create: namespace is being terminated"), NotFound, None),
        (ApiError(404, "NotFound", 'namespaces "default" not found'), NotFound, None),
        (ApiError(403, "Forbidden", FORBIDDEN + 'User "x" cannot create resource "pods"'), Unavailable, None),
        (ApiError(409, "Conflict", "Operation cannot be fulfilled on resourcequotas"), Conflict, None),
        (ApiError(429, "TooManyRequests", "slow down", 7.0), Unavailable, None),
        (ApiError(500, "InternalError", "failed calling webhook"), Unavailable, None),
        (ApiError(0, "Unreachable", "refused"), Unavailable, None),
    ],
)
async def test_a_pod_that_is_not_made(cluster, api, store, error, raised, reason):
    await cluster.ensure_base(seen(store), EnsureBase("image", 1))
    api.errors["create", "pods"] = error
    with pytest.raises(raised) as caught:
        await cluster.create_worker(seen(store), CreateWorker(0, 0))
    rejection = store.observe(KEY).rejection
    assert (rejection.reason if rejection else None) == reason
    if reason:
        assert error.message in rejection.message
    if raised is Unavailable:
        assert caught.value.retry_after == error.retry_after


async def test_a_refusal_is_forgotten_once_a_pod_is_made(cluster, api, store):
    await cluster.ensure_base(seen(store), EnsureBase("image", 1))
    api.errors["create", "pods"] = ApiError(403, "Forbidden", "exceeded quota")
    with pytest.raises(QuotaExceeded):
        await cluster.create_worker(seen(store), CreateWorker(0, 0))
    api.errors.clear()
    await cluster.create_worker(seen(store), CreateWorker(0, 0))
    assert store.observe(KEY).rejection is None
    assert [worker.name for worker in store.observe(KEY).workers] == ["m-0-0"]


def owned_by(*owners, **metadata):
    return {"metadata": {"name": "m", "ownerReferences": list(owners)} | metadata}


@pytest.mark.parametrize(
    ("owner", "raised", "reason"),
    [
        ((), NameTaken, "NameConflict"),
        (({"kind": "Deployment", "name": "m", "uid": "x"},), NameTaken, "NameConflict"),
        (({"kind": "KerasJob", "name": "m", "uid": "earlier"},), Unavailable, "NameConflict"),
    ],
)
async def test_a_name_that_is_taken(cluster, api, store, owner, raised, reason):
    api.objects["services", "m"] = owned_by(*owner)
    with pytest.raises(raised):
        await cluster.ensure_base(seen(store), EnsureBase("image", 1))
    assert store.observe(KEY).rejection.reason == reason
    assert not store.observe(KEY).base_present


async def test_the_base_may_be_made_again_and_its_secret_is_never_read(cluster, api, store):
    for _ in range(2):
        await cluster.ensure_base(seen(store), EnsureBase("image", 1))
    assert ("get", "secrets") not in api.asked
    assert len(api.objects) == 4


async def test_a_pod_of_an_earlier_pass_is_taken_over_and_one_that_goes_is_waited_for(cluster, api, store):
    await cluster.ensure_base(seen(store), EnsureBase("image", 1))
    await cluster.create_worker(seen(store), CreateWorker(0, 0))
    await cluster.create_worker(seen(store), CreateWorker(0, 0))
    assert len(store.observe(KEY).workers) == 1
    api.objects["pods", "m-0-0"]["metadata"] |= {"deletionTimestamp": "2026-01-01T00:00:00Z", "resourceVersion": "51"}
    with pytest.raises(Unavailable):
        await cluster.create_worker(seen(store), CreateWorker(0, 0))
    assert store.observe(KEY).workers[0].deleting


async def test_the_plan_is_read_by_another_operator_alone(cluster, api, store):
    await cluster.ensure_base(seen(store), EnsureBase("image", 1))
    await cluster.create_worker(seen(store), CreateWorker(0, 0))
    assert ("get", "configmaps") not in api.asked
    another = KubernetesCluster(api, store, Agents(b"key"), OperatorSettings(default_image="newer"))
    await another.create_worker(seen(store), CreateWorker(1, 0))
    assert ("get", "configmaps") in api.asked
    first, second = (api.objects["pods", name]["spec"]["containers"] for name in ("m-0-0", "m-1-0"))
    assert first[0]["image"] == second[0]["image"] == "image"


async def test_a_plan_that_somebody_deleted_is_made_again(cluster, api, store):
    await cluster.ensure_base(seen(store), EnsureBase("image", 1))
    del api.objects["configmaps", "m-plan"]
    cluster = KubernetesCluster(api, store, Agents(b"key"), OperatorSettings())  # another operator's
    await cluster.create_worker(seen(store), CreateWorker(0, 0))
    assert ("configmaps", "m-plan") in api.objects


@pytest.mark.parametrize(
    ("error", "raised", "known"),
    [
        (ApiError(409, "Conflict", "the object has been modified"), Conflict, True),
        (ApiError(404, "NotFound", 'kerasjobs.kerasjob.dev "m" not found'), NotFound, False),
        (ApiError(404, "NotFound", "the server could not find the requested resource"), NotFound, True),
        (ApiError(403, "Forbidden", "cannot patch"), Unavailable, True),
        (ApiError(503, "ServiceUnavailable", "no"), Unavailable, True),
    ],
)
async def test_a_status_that_is_not_written(cluster, api, store, error, raised, known):
    api.errors["patch", "kerasjobs/status"] = error
    with pytest.raises(raised):
        await cluster.write_status(seen(store), KerasJobStatus())
    assert (store.observe(KEY) is not None) == known


@pytest.mark.parametrize("code", [404, 409])
async def test_a_pod_that_is_gone_needs_no_deletion(cluster, api, store, code):
    api.errors["delete", "pods"] = ApiError(code, "x", "x")
    await cluster.delete_worker(seen(store), DeleteWorker("m-0-0", "p"))


async def test_absence_is_confirmed_by_not_found_alone(cluster, api, store):
    store.put_pod(pod())
    api.errors["get", "pods"] = ApiError(500, "x", "x")
    with pytest.raises(Unavailable):
        await cluster.confirm_absent(seen(store), ConfirmAbsent("m-0-0"))
    assert store.observe(KEY).workers
    api.errors.clear()
    await cluster.confirm_absent(seen(store), ConfirmAbsent("m-0-0"))
    assert store.observe(KEY).confirmed_absent == {"m-0-0"}
    assert store.observe(KEY).workers == ()
