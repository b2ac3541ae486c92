"""The body on Kubernetes: the only place of the operator that writes.

`kerasjob_core.cluster` says what each call means.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any, NoReturn

from kerasjob_api import constants as c
from kerasjob_api import names
from kerasjob_api.constants import Label, Reason
from kerasjob_api.status import KerasJobStatus
from kerasjob_core.cluster import Conflict, NameTaken, NotFound, QuotaExceeded, Refused, Unavailable
from kerasjob_core.observed import Job, JobRef, Observed, Waiting
from kerasjob_core.plan import ConfirmAbsent, CreateWorker, DeleteJob, DeleteWorker, EnsureBase, Event, PushRing
from kerasjob_core.times import from_rfc3339
from kerasjob_operator import render, tensorboard
from kerasjob_operator.agents import Agents
from kerasjob_operator.api_client import ApiError, KubernetesApi, Resource
from kerasjob_operator.base_check import NETWORK_POLICIES
from kerasjob_operator.events import Events
from kerasjob_operator.job_watch import JOBS
from kerasjob_operator.metrics import DISRUPTIONS, FIRST_STEP_SECONDS, RESTARTS, TRANSITIONS
from kerasjob_operator.pod_watch import PODS
from kerasjob_operator.settings import OperatorSettings
from kerasjob_operator.store import Store

log = logging.getLogger(__name__)

SERVICES = Resource("api/v1", "services")
SECRETS = Resource("api/v1", "secrets")
CONFIG_MAPS = Resource("api/v1", "configmaps")
DEPLOYMENTS = Resource("apis/apps/v1", "deployments")
POD_GROUPS = Resource("apis/scheduling.k8s.io/v1beta1", "podgroups")

# A job that is deleted and applied again meets its old children for a moment. Only longer than this is it worth a word.
EARLIER_JOB_SECONDS = 5.0
TEMPLATES_MAX = 1000
NO_GANGS = (
    "spec.scheduling.gang: Native needs the API scheduling.k8s.io/v1beta1, which this cluster does not serve: it takes"
    " the feature gate GenericWorkload in kube-apiserver, kube-controller-manager and kube-scheduler, and"
    " --runtime-config=scheduling.k8s.io/v1beta1=true. The job waits for it. Without spec.scheduling Kueue, Volcano or"
    " coscheduling can place a job's pods together: by labels, annotations and schedulerName in spec.podTemplate"
)


class KubernetesCluster:
    """Carries out what the brain decided, and keeps the answers in the store."""

    def __init__(self, api: KubernetesApi, store: Store, agents: Agents, settings: OperatorSettings) -> None:
        self._api = api
        self._store = store
        self._agents = agents
        self._settings = settings
        self._events = Events(api)
        self._templates: dict[str, str] = {}  # the pinned pod by job uid

    def observe(self, namespace: str, name: str) -> Observed | None:
        """What the store knows."""
        return self._store.observe((namespace, name))

    async def write_status(self, job: Job, status: KerasJobStatus) -> None:
        """Replaces the status if the job is still the one that was read."""
        patch: list[dict[str, Any]] = [
            # Refused with 422 where the object is another one, with 409 where it has another version.
            {"op": "test", "path": "/metadata/uid", "value": job.ref.uid},
            {"op": "replace", "path": "/metadata/resourceVersion", "value": job.resource_version},
            {"op": "add", "path": "/status", "value": status.model_dump(mode="json", by_alias=True, exclude_none=True)},
        ]
        try:
            body = await self._api.patch(JOBS, job.ref.namespace, job.ref.name, patch, "status")
        except ApiError as error:
            if (error.code == 404 and f'"{job.ref.name}" not found' in error.message) or (
                error.code == 422 and "is invalid" not in error.message  # what a failed test says names no field
            ):
                self._store.drop_job((job.ref.namespace, job.ref.name), job.ref.uid)
                raise NotFound(f"job {job.ref.namespace}/{job.ref.name} is gone") from error
            _raise(error, job)
        self._store.put_job(body)
        if status.phase != job.status.phase:
            log.info("%s/%s: %s", job.ref.namespace, job.ref.name, status.phase)
        _count(job.status, status)

    async def emit(self, job: JobRef, event: Event) -> None:
        """Shows an event; one that is there already is counted on. A lost event is not worth a retry."""
        try:
            await self._events.show(job, event)
        except ApiError as error:
            log.warning("event %s of job %s/%s was not sent: %s", event.reason, job.namespace, job.name, error)

    async def ensure_base(self, job: Job, action: EnsureBase) -> None:
        """Makes the plan, the token, the service, the network policy and, where asked for, the gang and TensorBoard."""
        assert job.spec is not None
        ref, settings = job.ref, self._settings
        spec = render.with_storage(job.spec, settings.s3_endpoint, settings.s3_region, settings.s3_secret_name)
        plan = render.plan(ref, spec, action.image, action.seed, settings.log_format)
        gang = [] if spec.gang_size is None else [(POD_GROUPS, render.pod_group(ref, spec))]
        if job.spec.has_core_objects and not self._store.workers((ref.namespace, ref.name)):  # else it was tried
            pod = render.pod(ref, plan["data"][render.POD_FILE], 0, job.status.incarnation_of(0))
            await self._try_out(job, [*gang, (PODS, pod)])
        wanted = [
            *gang,  # where the cluster knows none, nothing is pinned until it does
            # The plan before the rest: what it says stands, and whose it is tells whose the unreadable Secret is.
            (CONFIG_MAPS, plan),
            (SECRETS, render.token_secret(ref, self._agents.token(ref.uid))),
            (SERVICES, render.service(ref)),
            (NETWORK_POLICIES, render.network_policy(ref, settings.namespace, settings.monitoring_namespace)),
        ]
        if spec.events_uri is not None:
            wanted += [
                (DEPLOYMENTS, tensorboard.deployment(ref, spec, action.image, settings.log_format)),
                (SERVICES, tensorboard.service(ref)),
                (NETWORK_POLICIES, tensorboard.network_policy(ref)),
            ]
        for resource, body in wanted:
            try:
                made = await self._api.create(resource, ref.namespace, body)
            except ApiError as error:
                if error.code != 409 or "AlreadyExists" not in error.reason:
                    self._refused(job, error)
                if resource is SECRETS:
                    continue
                made = await self._must_be_ours(job, resource, body["metadata"]["name"])
            if resource is CONFIG_MAPS:
                self._keep_template(ref.uid, made)
        self._store.set_base_present((ref.namespace, ref.name))
        self._store.set_rejection((ref.namespace, ref.name), None)

    async def _try_out(self, job: Job, objects: list[tuple[Resource, dict[str, Any]]]) -> None:
        """Has the server check the pod before it is pinned: a fault in what the user gave can still be mended then."""
        for resource, body in objects:
            try:
                await self._api.create(resource, job.ref.namespace, body, strict=True, dry_run=True)
            except ApiError as error:
                if error.code != 409:
                    self._refused(job, error)

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
                raise self._name_taken(job, f"pod {name} has another incarnation's labels") from error
            if "deletionTimestamp" in created["metadata"]:
                self._store.put_pod(created)
                raise Unavailable(f"pod {name} of an earlier pass is being deleted") from error
        self._store.put_pod(created)
        self._store.set_rejection((ref.namespace, ref.name), None)

    async def delete_worker(self, job: Job, action: DeleteWorker) -> None:
        """Deletes a pod by name and uid."""
        try:
            answer = await self._api.delete(PODS, job.ref.namespace, action.name, action.uid, force=action.force)
        except ApiError as error:
            if error.code not in (404, 409):  # gone, or another pod has the name by now
                _raise(error, job)
        else:
            if answer.get("kind") == "Pod":
                self._store.put_pod(answer)

    async def delete_job(self, job: Job, action: DeleteJob) -> None:
        """Deletes the job if it is still this one; the garbage collector takes what belongs to it."""
        try:
            answer = await self._api.delete(JOBS, job.ref.namespace, job.ref.name, job.ref.uid)
        except ApiError as error:
            if error.code not in (404, 409):
                _raise(error, job)
            answer = {}
        if answer.get("kind") == c.KIND:  # somebody's finalizer holds it
            self._store.put_job(answer)
        else:
            self._store.drop_job((job.ref.namespace, job.ref.name), job.ref.uid)

    async def confirm_absent(self, job: Job, action: ConfirmAbsent) -> None:
        """Reads the pod once, past every cache."""
        try:
            self._store.put_pod(await self._api.get(PODS, job.ref.namespace, action.name))
        except ApiError as error:
            if error.code != 404:
                _raise(error, job)
            self._store.confirm_absent((job.ref.namespace, job.ref.name), action.name)

    async def push_rings(self, job: Job, actions: Sequence[PushRing]) -> None:
        """Gives the ring to agents."""
        key, unreachable = (job.ref.namespace, job.ref.name), None
        answers = await self._agents.push_rings([(action.endpoint, action.ring) for action in actions])
        for action, answer in zip(actions, answers, strict=True):
            if isinstance(answer, Unavailable):
                unreachable = answer
            else:
                self._store.put_report(key, action.worker, answer)
        if unreachable is not None:
            raise unreachable

    async def _template(self, job: Job) -> str:
        """The pod as it was pinned at the first start, as JSON."""
        if job.ref.uid not in self._templates:
            try:
                plan = await self._must_be_ours(job, CONFIG_MAPS, names.plan_name(job.ref.name))
                self._keep_template(job.ref.uid, plan)
            except NotFound:  # somebody deleted it
                resolved = job.status.resolved
                assert resolved is not None
                await self.ensure_base(job, EnsureBase(resolved.image, resolved.seed))
        return self._templates[job.ref.uid]

    def _keep_template(self, uid: str, plan: dict[str, Any]) -> None:
        self._templates[uid] = plan["data"][render.POD_FILE]
        if len(self._templates) > TEMPLATES_MAX:
            del self._templates[next(iter(self._templates))]  # the oldest; it can be read again

    async def _must_be_ours(self, job: Job, resource: Resource, name: str) -> dict[str, Any]:
        """Reads an object that has a name of ours; raises NameTaken where it is a stranger's."""
        try:
            found = await self._api.get(resource, job.ref.namespace, name)
        except ApiError as error:
            _raise(error, job)
        owners = found["metadata"].get("ownerReferences") or []
        if any(owner.get("uid") == job.ref.uid for owner in owners):
            return found
        text = f"{resource.plural} {name}"
        if any((owner.get("kind"), owner.get("name")) == (c.KIND, job.ref.name) for owner in owners):
            message = f"{text} belongs to an earlier job of this name and is not gone yet"
            if time.time() - job.created_at > EARLIER_JOB_SECONDS:
                self._problem(job, Reason.NAME_CONFLICT, message)
            raise Unavailable(message)
        raise self._name_taken(job, f"{text} exists and does not belong to this job")

    def _name_taken(self, job: Job, message: str) -> NameTaken:
        self._problem(job, Reason.NAME_CONFLICT, f"{message}; rename the job or delete it")
        return NameTaken(message)

    def _problem(self, job: Job, reason: Reason, message: str) -> None:
        self._store.set_rejection((job.ref.namespace, job.ref.name), Waiting(reason, message))

    def _refused(self, job: Job, error: ApiError) -> NoReturn:
        """A creation that failed, by class; what the user can mend is kept for the status."""
        text = error.message
        if error.code == 403 and ("exceeded quota" in text or "status unknown for quota" in text):
            self._problem(job, Reason.QUOTA, text)
            raise QuotaExceeded(text) from error
        if error.code == 404 and 'namespaces "' not in text:  # of all that is made, only this may be unknown
            self._problem(job, Reason.GANGS_NOT_SERVED, NO_GANGS)
            raise Unavailable(NO_GANGS) from error
        if error.code == 403 and "is being terminated" in text:
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
    if after.phase != before.phase:
        TRANSITIONS.labels(after.phase).inc()
    is_first = before.progress is None or before.progress.total_step == 0
    if after.progress is not None and after.progress.total_step > 0 and is_first and after.start_time is not None:
        FIRST_STEP_SECONDS.observe(max(0.0, time.time() - from_rfc3339(after.start_time)))
