"""The `kerasjob` command: a table of contents. Exit codes: 0 well, 1 the job failed, 2 bad input, 130 interrupted."""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from kerasjob import on_cluster
from kerasjob.errors import InvalidInput, KerasJobError
from kerasjob.files import load, recipe_in
from kerasjob.local.outcome import status_line
from kerasjob.local.runner import run_local
from kerasjob.local.saved import list_checkpoints, show_tensorboard
from kerasjob.local.state import JobDir, job_names
from kerasjob.recipes import keras_faults
from kerasjob_api.constants import TENSORBOARD_PORT

BAD_INPUT = 2
STATUS_COLUMNS = ("NAME", "PHASE", "WORKERS", "EPOCH", "STEP", "LOSS", "ETA", "RESTARTS")
RUN_HELP = """\
Runs a KerasJob on this machine: the operator's own decisions, with processes in the place of pods.

FILE is a KerasJob in YAML, or a Python script. What a cluster would give is found here like this:
  program      the folder of FILE is the code (spec.program.code); a relative script is looked up there
  s3:// URIs   a directory: the one of --map, else STATE/s3/BUCKET/KEY; with --s3 the real S3
               (spec.storage.s3.endpoint, credentials from the environment)
  data[].path  kept where it lies in a directory that you can write; else the copy goes to the worker's own
               directory, with a warning (keras.datasets finds its files either way; a recipe's paths follow)
  checkpoint   where none is given: STATE/checkpoints, so that a job can always go on
  image, resources, volumes, scheduling, podTemplate, suspend, managedBy, cleanPodPolicy and
  ttlSecondsAfterFinished mean nothing here

Ctrl-C stops the job once it has saved; the same command goes on. Ctrl-C again kills it.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; answers its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = _parser().parse_args(given)
    try:
        return int(options.call(options, given))
    except KerasJobError as error:
        print(error, file=sys.stderr)
        return BAD_INPUT


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="kerasjob", description="Distributed training for Keras on Kubernetes.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser(
        "run",
        help="run a job on this machine",
        description=RUN_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    run.add_argument("file", metavar="FILE", help="a KerasJob in YAML, or a Python script")
    run.add_argument("--workers", type=int, metavar="N", help="number of workers (default: the file's; 1 for a script)")
    _add_state(run)
    run.add_argument(
        "--map",
        action="append",
        default=[],
        metavar="s3://BUCKET/PREFIX=DIR",
        help="a directory that takes the place of an S3 prefix; may be given more than once",
    )
    run.add_argument("--s3", action="store_true", help="what is not mapped is read from and written to the real S3")
    run.add_argument("--fresh", action="store_true", help="begin anew under a new uid; what was saved stays")
    run.add_argument("--logs", choices=("leader", "all"), default="leader", help="whose output is shown")
    run.set_defaults(call=_run)

    validate = commands.add_parser("validate", help="check a file; says all that is wrong with it")
    validate.add_argument("file", metavar="FILE", help="a KerasJob in YAML")
    validate.set_defaults(call=_validate)

    status = commands.add_parser("status", help="show the jobs that were run on this machine")
    status.add_argument("name", nargs="?", metavar="NAME", help="all that is known of one job, as JSON")
    _add_state(status)
    status.set_defaults(call=_status)

    checkpoints = commands.add_parser(
        "checkpoints",
        help="list what a job has saved",
        description="Lists what a job has saved, the newest first. A job that was run on this machine is looked for"
        " first; else it is one of the cluster that kubectl talks to: a worker is asked, or, where none runs, the store"
        " is read from here with the keys of this environment (AWS_ACCESS_KEY_ID, …).",
    )
    checkpoints.add_argument("name", metavar="NAME", help="the job")
    _add_namespace(checkpoints)
    checkpoints.add_argument("--json", action="store_true", help="all that is known, as JSON")
    _add_state(checkpoints)
    checkpoints.set_defaults(call=_checkpoints)

    tensorboard = commands.add_parser(
        "tensorboard",
        help="show a job's TensorBoard",
        description="Shows what a job with spec.tensorBoard writes for TensorBoard, also while it trains, at"
        " http://localhost:PORT. A job that was run on this machine is looked for first; else it is one of the cluster"
        " that kubectl talks to.",
    )
    tensorboard.add_argument("name", metavar="NAME", help="the job")
    _add_namespace(tensorboard)
    tensorboard.add_argument("--port", type=int, default=TENSORBOARD_PORT, help="port on this machine (default: 6006)")
    _add_state(tensorboard)
    tensorboard.set_defaults(call=_tensorboard)

    commands.add_parser("version", help="say which version this is").set_defaults(call=_version)
    return parser


def _add_namespace(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-n", "--namespace", help="of a job on a cluster (default: kubectl's)")


def _add_state(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--state", type=Path, default=Path(".kerasjob"), metavar="DIR", help="where jobs are kept (default: .kerasjob)"
    )


def _run(options: argparse.Namespace, given: list[str]) -> int:
    job = load(options.file)
    if options.workers is not None:
        job = job.with_workers(options.workers)
    again = shlex.join(["kerasjob", *(word for word in given if word != "--fresh")])
    result = run_local(
        job,
        state=options.state,
        maps=options.map,
        use_s3=options.s3,
        fresh=options.fresh,
        logs=options.logs,
        again=again,
    )
    return result.exit_code


def _validate(options: argparse.Namespace, given: list[str]) -> int:
    recipe = recipe_in(options.file)
    faults = keras_faults(recipe) if recipe is not None else []
    try:
        job = load(options.file)
    except InvalidInput as error:
        raise InvalidInput(options.file, list(dict.fromkeys([*error.faults, *(faults or [])]))) from error
    if faults:
        raise InvalidInput(options.file, faults)
    unseen = "; names and arguments of the recipe were not checked: Keras is not installed here"
    print(f"{options.file}: KerasJob {job.name} is valid{unseen if faults is None else ''}")
    return 0


def _status(options: argparse.Namespace, given: list[str]) -> int:
    if options.name is not None:
        print((_known_job(options).path / "job.json").read_text())
        return 0
    rows = [STATUS_COLUMNS, *(_row(options.state, name) for name in job_names(options.state))]
    widths = [max(len(row[i]) for row in rows) for i in range(len(STATUS_COLUMNS))]
    for row in rows:
        print("   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


def _checkpoints(options: argparse.Namespace, given: list[str]) -> int:
    more = ["--json"] if options.json else []
    if _is_local(options):
        return list_checkpoints(JobDir(options.state, options.name), more)
    with _of_a_cluster(options):
        return on_cluster.list_checkpoints(options.name, options.namespace, more)


def _tensorboard(options: argparse.Namespace, given: list[str]) -> int:
    if _is_local(options):
        show_tensorboard(JobDir(options.state, options.name), options.port)
    with _of_a_cluster(options):
        on_cluster.forward_tensorboard(options.name, options.namespace, options.port)


@contextlib.contextmanager
def _of_a_cluster(options: argparse.Namespace) -> Iterator[None]:
    """A job that was not found there may be one of here whose name was misspelt."""
    try:
        yield
    except InvalidInput as error:
        if options.namespace is not None:
            raise
        known = ", ".join(job_names(options.state)) or "none"
        words = f"no job of this name was run here (known: {known}), and on a cluster:"
        raise InvalidInput(options.name, [f"{words} {fault}" for fault in error.faults]) from error


def _is_local(options: argparse.Namespace) -> bool:
    return options.namespace is None and options.name in job_names(options.state)


def _known_job(options: argparse.Namespace) -> JobDir:
    names = job_names(options.state)
    if options.name not in names:
        known = ", ".join(names) or "none"
        raise InvalidInput(str(options.state), [f"no job {options.name!r} here; known: {known}"])
    return JobDir(options.state, options.name)


def _row(state: Path, name: str) -> tuple[str, ...]:
    directory = JobDir(state, name)
    job = directory.read()
    assert job is not None
    return tuple(status_line(job, directory.is_held()))


def _version(options: argparse.Namespace, given: list[str]) -> int:
    print(importlib.metadata.version("kerasjob"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
