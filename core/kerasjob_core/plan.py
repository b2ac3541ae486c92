"""What `decide` answers: frozen data, compared with `==` in tests, carried out by `apply`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from kerasjob_api.status import KerasJobStatus
from kerasjob_api.wire import Ring
from kerasjob_core.observed import Endpoint


@dataclass(frozen=True)
class EnsureBase:
    """Make what the pods need: service, network policy, token secret, the pinned plan. Idempotent."""

    image: str
    seed: int


@dataclass(frozen=True)
class CreateWorker:
    """Make the pod of one incarnation of a slot. Idempotent: its name says both."""

    slot: int
    incarnation: int


@dataclass(frozen=True)
class DeleteWorker:
    """Delete a pod; the uid is a precondition. `force`: its node does not, and will not."""

    name: str
    uid: str
    force: bool = False


@dataclass(frozen=True)
class DeleteJob:
    """Delete the KerasJob itself, once its time after the end is over."""


@dataclass(frozen=True)
class ConfirmAbsent:
    """Read once, directly, whether a pod is really gone before its loss is believed."""

    name: str


@dataclass(frozen=True)
class PushRing:
    """Give the ring to one worker's agent."""

    worker: str
    endpoint: Endpoint
    ring: Ring


Action = EnsureBase | CreateWorker | DeleteWorker | DeleteJob | ConfirmAbsent | PushRing


# What one pass does at the most: other jobs wait for it.
ACTIONS_MAX = 64


def in_turn(actions: Iterable[Action], requeue_after: float | None) -> tuple[tuple[Action, ...], float | None]:
    """The actions of one pass, deletions first, which free what others wait for; and when to look again, which is at
    once where there were too many."""
    ordered = sorted(actions, key=lambda action: not isinstance(action, DeleteWorker))
    return tuple(ordered[:ACTIONS_MAX]), 0.0 if len(ordered) > ACTIONS_MAX else requeue_after


@dataclass(frozen=True)
class Event:
    """A Kubernetes Event, sent only after the status was written."""

    type: str  # Normal | Warning
    reason: str
    message: str


@dataclass(frozen=True)
class Plan:
    """Everything one pass does: the status first, then events, then actions.

    status: None where it is unchanged. requeue_after: seconds until the job must be looked at again, events apart.
    """

    status: KerasJobStatus | None = None
    events: tuple[Event, ...] = ()
    actions: tuple[Action, ...] = field(default=())
    requeue_after: float | None = None
