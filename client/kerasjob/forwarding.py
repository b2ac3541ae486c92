"""Leads a port of this machine to something of a job's on a cluster, by kubectl. Called by the command."""

from __future__ import annotations

import shutil
import subprocess

from kerasjob.errors import InvalidInput
from kerasjob_api.constants import TENSORBOARD_PORT
from kerasjob_api.names import tensorboard_name


def forward_tensorboard(job: str, namespace: str | None, port: int) -> int:
    """Serves until it is interrupted; answers kubectl's exit code. Raises InvalidInput where there is no kubectl."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        raise InvalidInput(job, ["no job of this name was run here, and there is no kubectl to ask a cluster with"])
    where = ["-n", namespace] if namespace is not None else []
    service = f"service/{tensorboard_name(job)}"
    print(f"TensorBoard of {job}: http://localhost:{port} (Ctrl-C ends)")
    return subprocess.run([kubectl, *where, "port-forward", service, f"{port}:{TENSORBOARD_PORT}"]).returncode
