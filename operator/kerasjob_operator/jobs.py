"""KerasJobs as the records that the brain reads. Called by the store."""

from __future__ import annotations

import logging
from typing import Any

from pydantic import ValidationError

from kerasjob_api.constants import PLURAL
from kerasjob_api.names import is_job_name
from kerasjob_api.spec import KerasJobSpec
from kerasjob_api.status import KerasJobStatus
from kerasjob_core.observed import Job, JobRef
from kerasjob_core.times import from_rfc3339
from kerasjob_core.validate import parse_spec, without_faults
from kerasjob_operator.metrics import UNREADABLE
from kerasjob_operator.slim import slim

log = logging.getLogger(__name__)


def job(body: dict[str, Any], old: Job | None = None) -> Job:
    """A KerasJob as a record. The spec is read again only where its generation changed."""
    metadata = body["metadata"]
    generation = int(metadata.get("generation", 1))
    spec: KerasJobSpec | None
    if old is not None and old.generation == generation:
        spec, faults = old.spec, old.faults
    else:
        spec, faults = _spec(body)
        if not faults and not is_job_name(metadata["name"]):
            faults = (f"metadata.name: {metadata['name']!r} cannot name a service and pods",)
    return Job(
        ref=JobRef(metadata["namespace"], metadata["name"], metadata["uid"]),
        generation=generation,
        resource_version=metadata["resourceVersion"],
        created_at=from_rfc3339(metadata["creationTimestamp"]),
        spec=spec,
        status=_status(body.get("status") or {}),
        faults=faults,
        deleting="deletionTimestamp" in metadata,
    )


def _spec(body: dict[str, Any]) -> tuple[KerasJobSpec | None, tuple[str, ...]]:
    try:
        spec, faults = parse_spec(body.get("spec"))
        if spec is None:
            spec = without_faults(body.get("spec"))
    except Exception as error:
        # A hole in our own checks: the user is told, and all other jobs go on.
        UNREADABLE.labels(PLURAL).inc()
        log.exception("the spec of %s/%s cannot be read", body["metadata"]["namespace"], body["metadata"]["name"])
        return None, (f"spec: the operator cannot read it: {type(error).__name__}: {error!s:.200}",)
    return None if spec is None else slim(spec), faults


def _status(data: dict[str, Any]) -> KerasJobStatus:
    try:
        return slim(KerasJobStatus.model_validate(data))
    except ValidationError:
        return KerasJobStatus()  # written by a stranger: what is there is looked at afresh
