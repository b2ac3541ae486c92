"""Every string and number that the cluster, the store or another version of ours sees. Pinned by a test."""

from __future__ import annotations

from enum import StrEnum

GROUP = "kerasjob.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "KerasJob"
PLURAL = "kerasjobs"
SHORT_NAME = "kj"

AGENT_PROTOCOL = 1
AGENT_PORT = 8470
# TensorFlow's server of a dead trainer may linger; a new ring revision takes the next port.
TF_PORT_BASE = 8480
TF_PORT_SPAN = 16
OPERATOR_PORT = 8080
TENSORBOARD_PORT = 6006
# Value of `spec.managedBy` that means this operator.
CONTROLLER = f"{GROUP}/operator"

TERMINATION_MESSAGE_MAX_BYTES = 4096
WORKER_REPORT_MAX_BYTES = 64 * 1024
SOURCE_MAX_BYTES = 128 * 1024
RECIPE_MAX_BYTES = 64 * 1024  # as compact JSON
TOKEN_KEY = "token"
CONTAINER_NAME = "trainer"

CONFIG_DIR = "/etc/kerasjob"
CODE_DIR = "/etc/kerasjob/code"
TOKEN_DIR = "/var/run/kerasjob/token"
S3_DIR = "/var/run/kerasjob/s3"
WORK_DIR = "/work"


# What an export is called, by its format: a file, or a directory.
EXPORT_NAMES = {"keras": "model.keras", "saved_model": "saved_model", "weights": "model.weights.h5"}


class Label:
    """Labels of the objects that belong to a job."""

    JOB = f"{GROUP}/job"
    JOB_UID = f"{GROUP}/job-uid"
    SLOT = f"{GROUP}/slot"
    INCARNATION = f"{GROUP}/incarnation"
    TENSORBOARD = f"{GROUP}/tensorboard"  # the job; on what is no worker
    MANAGED_BY = "app.kubernetes.io/managed-by"
    MANAGED_BY_VALUE = "kerasjob"


class SavePhase(StrEnum):
    """Where in a program a checkpoint was taken. In the order in which they come after one and the same step."""

    STEP = "step"
    EPOCH_END = "epochEnd"
    CALL_END = "callEnd"

    @property
    def order(self) -> int:
        return list(SavePhase).index(self)


class Phase(StrEnum):
    """`status.phase`; derived from conditions in one place."""

    PENDING = "Pending"
    STARTING = "Starting"
    RUNNING = "Running"
    RESTARTING = "Restarting"
    SUSPENDED = "Suspended"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    INVALID = "Invalid"


class ConditionType(StrEnum):
    """Types of `status.conditions`."""

    READY = "Ready"  # the ring trains
    COMPLETE = "Complete"  # ended well
    FAILED = "Failed"  # ended badly
    SUSPENDED = "Suspended"
    INVALID = "Invalid"
    CHECKPOINTS_LATE = "CheckpointsLate"  # the store does not take them; training goes on
    PROBLEM = "Problem"  # something is wrong that may still heal (a missing secret, an image that cannot be pulled)
    SPEC_CHANGE_IGNORED = "SpecChangeIgnored"  # what the job was started with stays in force


class WorkerState(StrEnum):
    """`state` of a worker report."""

    STAGING = "staging"
    READY = "ready"
    FORMING = "forming"
    TRAINING = "training"
    LOST = "lost"
    FINISHED = "finished"
    FAILED = "failed"


class Reason(StrEnum):
    """Reasons in conditions, events, failure records and problems."""

    CREATED = "Created"
    WAITING_FOR_WORKERS = "WaitingForWorkers"
    RING_FORMED = "RingFormed"
    RING_GROWS = "RingGrows"
    RING_SHRINKS = "RingShrinks"
    WORKER_LOST = "WorkerLost"
    WORKER_DISRUPTED = "WorkerDisrupted"
    TRAINER_KILLED = "TrainerKilled"
    SUCCEEDED = "ProgramSucceeded"
    USER_ERROR = "UserError"
    BAD_PROGRAM = "BadProgram"
    BAD_DATA = "BadData"
    STORAGE_ERROR = "StorageError"
    IMAGE_PULL = "ImageCannotBePulled"
    CONTAINER_CONFIG = "ContainerConfigError"
    UNSCHEDULABLE = "Unschedulable"
    GANGS_NOT_SERVED = "GangSchedulingNotServed"
    UNREACHABLE = "AgentUnreachable"
    MAX_RESTARTS = "MaxRestartsExceeded"
    MAX_DISRUPTIONS = "MaxDisruptionsExceeded"
    STARTUP_TIMEOUT = "StartupTimeout"
    DEADLINE = "DeadlineExceeded"
    INVALID_SPEC = "InvalidSpec"
    NAME_CONFLICT = "NameConflict"
    QUOTA = "QuotaExceeded"
    REJECTED = "PodRejected"
    OOM = "OutOfMemory"
    STALLED = "Stalled"
    CLUSTER_FAULT = "ClusterFault"
    PREEMPTED = "Preempted"
    SUSPENDED = "Suspended"
    RESUMED = "Resumed"
    SAVED_AGAIN = "CheckpointsSavedAgain"
    BACK_OFF = "BackOff"
    JOB_ENDED = "JobEnded"
    PINNED = "PinnedAtTheStart"
