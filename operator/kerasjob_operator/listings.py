"""Of which namespaces all jobs and pods are known. One that cannot be listed takes no other one down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kerasjob_operator.job_watch import JOBS, JobWatch
from kerasjob_operator.metrics import LAST_RESYNC, NAMESPACE_LISTED
from kerasjob_operator.pod_watch import PODS, PodWatch


@dataclass(frozen=True)
class Scope:
    """One namespace, or all (None)."""

    namespace: str | None
    jobs: JobWatch
    pods: PodWatch

    @property
    def is_listed(self) -> bool:
        """Whether all was listed once: before that, what is not known may well be there."""
        return self.jobs.listed.is_set() and self.pods.listed.is_set()

    @property
    def is_refused(self) -> bool:
        """Whether the server does not let it be listed: to start this process again would not help."""
        return self.jobs.refused or self.pods.refused

    @property
    def last_listing(self) -> float:
        """When all was listed last, by the monotonic clock."""
        return min(self.jobs.last_listing, self.pods.last_listing)


class Listings:
    """All that is watched."""

    def __init__(self, scopes: Sequence[Scope]) -> None:
        self._scopes = {scope.namespace: scope for scope in scopes}
        for scope in scopes:
            gauge = NAMESPACE_LISTED.labels(scope.namespace or "*")
            gauge.set_function(lambda scope=scope: float(scope.is_listed and not scope.is_refused))  # type: ignore[misc]
        LAST_RESYNC.labels(JOBS.plural).set_function(lambda: min(scope.jobs.listed_at for scope in scopes))
        LAST_RESYNC.labels(PODS.plural).set_function(lambda: min(scope.pods.listed_at for scope in scopes))

    def knows(self, namespace: str) -> bool:
        """Whether all of a namespace was listed."""
        scope = self._scopes.get(namespace) or self._scopes.get(None)
        return scope is not None and scope.is_listed

    @property
    def last(self) -> float:
        """When all was listed last that can be, by the monotonic clock."""
        return min(scope.last_listing for scope in self._listable)

    @property
    def are_deaf(self) -> bool:
        """Whether no watch of jobs tells what there is."""
        return all(scope.jobs.hearing.is_deaf for scope in self._listable)

    @property
    def are_ready(self) -> bool:
        """Whether all jobs are watched that can be."""
        return all(scope.is_listed and scope.jobs.is_ready for scope in self._listable)

    @property
    def _listable(self) -> Sequence[Scope]:
        return [s for s in self._scopes.values() if not s.is_refused] or list(self._scopes.values())
