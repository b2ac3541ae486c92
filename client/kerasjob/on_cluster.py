"""What the command does for jobs of a cluster, by the user's own kubectl: with their rights, and no more."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from kerasjob.errors import InvalidInput
from kerasjob.local.saved import LISTING
from kerasjob_api.constants import CONTAINER_NAME, TENSORBOARD_PORT, Label
from kerasjob_api.names import plan_name, tensorboard_name

IN_POD = ("python", "-m", LISTING[-1])


def forward_tensorboard(job: str, namespace: str | None, port: int) -> NoReturn:
    """Becomes kubectl, which leads a port of this machine to the job's TensorBoard until it is interrupted.

    Raises InvalidInput where kubectl knows no such job, or there is no kubectl.
    """
    kubectl, name = _kubectl(job, namespace), tensorboard_name(job)
    _answer(job, [*kubectl, "get", "service", name, "--output=name"])
    command = [*kubectl, "port-forward", f"service/{name}", f"{port}:{TENSORBOARD_PORT}"]
    print(f"TensorBoard of {job}: http://localhost:{port} (Ctrl-C ends)", flush=True)
    os.execv(command[0], command)


def list_checkpoints(job: str, namespace: str | None, options: Sequence[str]) -> int:
    """Prints what a job has saved; answers the exit code. Raises InvalidInput where there is no such job.

    A worker that runs is asked. Where none does, the store is read from here, with the keys of this environment.
    """
    kubectl = _kubectl(job, namespace)
    pods = ["get", "pods", f"--selector={Label.JOB}={job}", "--field-selector=status.phase=Running", "--output=name"]
    running = _answer(job, [*kubectl, *pods]).split()
    if running:
        inside = [*kubectl, "exec", running[0], f"--container={CONTAINER_NAME}", "--", *IN_POD]
        return subprocess.run([*inside, *options]).returncode
    plan = _answer(job, [*kubectl, "get", "configmap", plan_name(job), "--output=jsonpath={.data.worker\\.json}"])
    with tempfile.TemporaryDirectory() as name:
        config, token = Path(name, "worker.json"), Path(name, "token")
        config.write_text(plan)
        token.touch()
        ours = {"KERASJOB_CONFIG": str(config), "KERASJOB_SLOT": "0", "KERASJOB_TOKEN_FILE": str(token)}
        keys = {"KERASJOB_S3_DIR": _keys_of_environment(Path(name))}
        print(f"no worker of {job} runs: its store is read from here", file=sys.stderr)
        return subprocess.run([*LISTING, *options], env=os.environ | ours | keys).returncode


def _keys_of_environment(folder: Path) -> str:
    """A folder with the user's keys, as a mounted Secret has them: a job that names one is read with these."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        if name in os.environ:
            Path(folder, name).write_text(os.environ[name])
    return str(folder)


def _kubectl(job: str, namespace: str | None) -> list[str]:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        raise InvalidInput(job, ["there is no kubectl to ask a cluster with"])
    return [kubectl, *(["--namespace", namespace] if namespace is not None else [])]


def _answer(job: str, command: Sequence[str]) -> str:
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode != 0:
        said = run.stderr.strip().splitlines() or [f"it ended with {run.returncode}"]
        raise InvalidInput(job, [f"kubectl says: {said[-1]}"])  # what it logs before is for its own developers
    return run.stdout
