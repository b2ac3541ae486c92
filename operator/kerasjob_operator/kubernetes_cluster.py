"""The body on Kubernetes: the only place of the operator that writes.

`kerasjob_core.cluster` says what each call means.
"""

from __future__ import annotations

import json
import logging
import time
from datetime import UTC, datetime
from typing import Any, NoReturn

from kerasjob_api import constants as c
from kerasjob_api import names
from kerasjob_api.constants import Label, Reason
from kerasjob_api.status import KerasJobStatus
from kerasjob_core.cluster import Conflict, NameTaken, NotFound, QuotaExceeded, Refused, Unavailable
from kerasjob_core.observed import Job, JobRef, Observed, Waiting
from kerasjob_core.plan import ConfirmAbsent, CreateWorker, DeleteWorker, EnsureBase, Event, PushRing
from kerasjob_operator import render
from kerasjob_operator.agents import Agents
from kerasjob_operator.api_client import ApiError, KubernetesApi, Resource
from kerasjob_operator.metrics import DISRUPTIONS, RESTARTS
from kerasjob_operator.settings import OperatorSettings
from kerasjob_operator.store import Store

log = logging.getLogger(__name__)

JOBS = Resource(f"apis/{c.GROUP}/{c.VERSION}", c.PLURAL)
PODS = Resource("api/v1", "pods")
SERVICES = Resource("api/v1", "services")
SECRETS = Resource("api/v1", "secrets")
CONFIG_MAPS = Resource("api/v1", "configmaps")
EVENTS = Resource("api/v1", "events")
NETWORK_POLICIES = Resource("apis/networking.k8s.io/v1", "networkpolicies")


class KubernetesCluster:
    """Carries out what the brain decided, and keeps the answers in the store."""

    def __init__(self, api: KubernetesApi, store: Store, agents: Agents, settings: OperatorSettings) -> None:
        self._api = api
        self._store = store
        self._agents = agents
        self._settings = settings
        self._templates: dict[str, dict[str, Any]] = {}  # the pinned pod by job uid

    def observe(self, namespace: str, name: str) -> Observed | None:
        """What the store knows."""
        return self._store.observe((namespace, name))

    async def write_status(self, job: Job, status: KerasJobStatus) -> None:
        """Replaces the status if the job is still the one that was read."""
        patch: list[dict[str, Any]] = [
            # The server refuses the patch with 409 where the object has another version.
            {"op": "replace", "path": "/metadata/resourceVersion", "value": job.resource_version},
            {"op": "add", "path": "/status", "value": status.model_dump(mode="json", by_alias=True, exclude_none=True)},
        ]
        try:
            body = await self._api.patch_status(JOBS, job.ref.namespace, job.ref.name, patch)
        except ApiError as error:
            _raise(error, job)
        self._store.put_job(body)
        _count(job.status, status)

    async def emit(self, job: JobRef, event: Event) -> None:
        """Shows an event. A lost event is not worth a retry."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{job.name}.{time.time_ns():x}", "namespace": job.namespace},
            "involvedObject": {
                "apiVersion": c.API_VERSION,
                "kind": c.KIND,
                "namespace": job.namespace,
                "name": job.name,
                "uid": job.uid,
            },
            "type": event.type,
            "reason": event.reason,
            "message": event.message[:1024],
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
            "source": {"component": "kerasjob-operator"},
        }
        try:
            await self._api.create(EVENTS, job.namespace, body)
        except ApiError as error:
            log.warning("event %s of job %s/%s was not sent: %s", event.reason, job.namespace, job.name, error)

    async def ensure_base(self, job: Job, action: EnsureBase) -> None:
        """Makes the plan, the token, the service and the network policy."""
        assert job.spec is not None
        ref, settings = job.ref, self._settings
        wanted = [
            # The plan first: what it says stands, and whose it is tells whose the unreadable Secret is.
            (CONFIG_MAPS, render.plan(ref, job.spec, action.image, action.seed)),
            (SECRETS, render.token_secret(ref, self._agents.token(ref.uid))),
            (SERVICES, render.service(ref)),
            (NETWORK_POLICIES, render.network_policy(ref, settings.namespace, settings.monitoring_namespace)),
        ]
        for resource, body in wanted:
            try:
                await self._api.create(resource, ref.namespace, body)
            except ApiError as error:
                if error.code != 409 or "AlreadyExists" not in error.reason:
                    self._refused(job, error)
                if resource is not SECRETS:
                    await self._must_be_ours(job, resource, body["metadata"]["name"])
        self._store.set_base_present((ref.namespace, ref.name))
        self._store.set_rejection((ref.namespace, ref.name), None)

    async def create_worker(self, job: Job, action: CreateWorker) -> None:
        """Makes a pod from the pinned plan."""
        ref = job.ref
        body = render.pod(ref, await self._template(job), action.slot, action.incarnation)
        name = body["metadata"]["name"]
        try:
            created = await self._api.create(PODS, ref.namespace, body, strict=True)
        except ApiError as error:
            if error.code != 409 or "AlreadyExists" not in error.reason:
                self._refused(job, error)
            created = await self._must_be_ours(job, PODS, name)
            if created["metadata"].get("labels", {}).get(Label.INCARNATION) != str(action.incarnation):
                self._name_taken(job, f"pod {name} has another incarnation's labels")
            if "deletionTimestamp" in created["metadata"]:
                self._store.put_pod(created)
                raise Unavailable(f"pod {name} of an earlier pass is being deleted") from error
        self._store.put_pod(created)
        self._store.set_rejection((ref.namespace, ref.name), None)

    async def delete_worker(self, job: Job, action: DeleteWorker) -> None:
        """Deletes a pod by name and uid."""
        try:
            await self._api.delete(PODS, job.ref.namespace, action.name, action.uid)
        except ApiError as error:
            if error.code not in (404, 409):  # gone, or another pod has the name by now
                _raise(error, job)

    async def confirm_absent(self, job: Job, action: ConfirmAbsent) -> None:
        """Reads the pod once, past every cache."""
        try:
            self._store.put_pod(await self._api.get(PODS, job.ref.namespace, action.name))
        except ApiError as error:
            if error.code != 404:
                _raise(error, job)
            self._store.confirm_absent((job.ref.namespace, job.ref.name), action.name)

    async def push_ring(self, job: Job, action: PushRing) -> None:
        """Gives the ring to an agent."""
        report = await self._agents.push_ring(action.endpoint, action.ring)
        self._store.put_report((job.ref.namespace, job.ref.name), action.worker, report)

    async def _template(self, job: Job) -> dict[str, Any]:
        if job.ref.uid not in self._templates:
            live = {known.ref.uid for known in self._store.jobs()}
            self._templates = {uid: template for uid, template in self._templates.items() if uid in live}
            plan = await self._must_be_ours(job, CONFIG_MAPS, names.plan_name(job.ref.name))
            self._templates[job.ref.uid] = json.loads(plan["data"][render.POD_FILE])
        return self._templates[job.ref.uid]

    async def _must_be_ours(self, job: Job, resource: Resource, name: str) -> dict[str, Any]:
        """Reads an object that has a name of ours; raises NameTaken where it is a stranger's."""
        try:
            found = await self._api.get(resource, job.ref.namespace, name)
        except ApiError as error:
            _raise(error, job)
        owners = [owner.get("uid") for owner in found["metadata"].get("ownerReferences") or []]
        if job.ref.uid not in owners:
            if "deletionTimestamp" in found["metadata"] or owners:
                # Most often the child of a deleted job of the same name, soon collected.
                self._problem(job, Reason.NAME_CONFLICT, f"{resource.plural} {name} belongs to another owner")
                raise Unavailable(f"{resource.plural} {name} belongs to another owner")
            self._name_taken(job, f"{resource.plural} {name} exists and does not belong to this job")
        return found

    def _name_taken(self, job: Job, message: str) -> NoReturn:
        self._problem(job, Reason.NAME_CONFLICT, f"{message}; rename the job or delete it")
        raise NameTaken(message)

    def _problem(self, job: Job, reason: Reason, message: str) -> None:
        self._store.set_rejection((job.ref.namespace, job.ref.name), Waiting(reason, message))

    def _refused(self, job: Job, error: ApiError) -> NoReturn:
        """A creation that failed, by class; what the user can mend is kept for the status."""
        text = error.message
        if error.code == 403 and "exceeded quota" in text:
            self._problem(job, Reason.QUOTA, text)
            raise QuotaExceeded(text) from error
        if error.code == 403 and ("is being terminated" in text or "because it is being terminated" in text):
            raise NotFound(text) from error
        if error.code == 403 and "cannot create resource" in text:
            log.error("the operator's own rights are not enough: %s", text)
            raise Unavailable(text) from error
        if error.code in (400, 403, 422):
            self._problem(job, Reason.REJECTED, text)
            raise Refused(text) from error
        _raise(error, job)


def _raise(error: ApiError, job: Job) -> NoReturn:
    """An API error by class."""
    text = f"job {job.ref.namespace}/{job.ref.name}: {error}"
    if error.code == 404:
        raise NotFound(text) from error
    if error.code == 409:
        raise Conflict(text) from error
    if error.code == 403:
        log.error("the operator's own rights are not enough: %s", error.message)
    if error.code == 422:
        raise Refused(text) from error
    raise Unavailable(text, error.retry_after) from error


def _count(before: KerasJobStatus, after: KerasJobStatus) -> None:
    reason = after.last_failure.reason if after.last_failure is not None else ""
    if after.restarts > before.restarts:
        RESTARTS.labels(reason).inc(after.restarts - before.restarts)
    if after.disruptions > before.disruptions:
        DISRUPTIONS.labels(reason).inc(after.disruptions - before.disruptions)
