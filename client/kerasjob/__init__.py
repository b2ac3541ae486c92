"""KerasJob's SDK: read a job, run it on this machine.

    from kerasjob import load, run_local

    result = run_local(load("kerasjob.yaml").with_workers(2))
    print(result.status.phase)

It never imports TensorFlow: the workers are processes of their own.
"""

from kerasjob.errors import InvalidInput, KerasJobError, SpecChanged, StateInUse
from kerasjob.files import LoadedJob, load
from kerasjob.local.runner import RunResult, run_local

__all__ = [
    "InvalidInput",
    "KerasJobError",
    "LoadedJob",
    "RunResult",
    "SpecChanged",
    "StateInUse",
    "load",
    "run_local",
]
