"""Runs Keras's own tests, from the installed package, in one process and on two workers, with and without the repairs.

python -m tests.keras_own [--write FILE] [PART OF A FILE'S NAME ...]

On two workers each of two processes runs the same tests in the same order inside the strategy's scope; after a failure
both begin anew with the next one. Ends with 1 where a test fails that has no reason in `reasons.py`.
"""

import argparse
import contextlib
import io
import json
import sys
import tempfile
import types
from collections import Counter
from pathlib import Path
from unittest import mock

import keras
import pytest
import tensorflow as tf
from keras.src.testing import TestCase
from tests.fidelity import harness
from tests.fidelity.harness import PLAIN, RowFailed, Shape, run
from tests.keras_own.reasons import REASONS

from kerasjob_trainer.trainer.strategy import enter_scope

ROOT = Path(keras.__file__).parent / "src"
FILES = [
    *(f"callbacks/{path.name}" for path in sorted((ROOT / "callbacks").glob("*_test.py"))),
    *(f"optimizers/{k}_test.py" for k in ("optimizer", "sgd", "adam", "adamw", "rmsprop", "loss_scale_optimizer")),
    "layers/normalization/batch_normalization_test.py",
    *(f"layers/regularization/{path.name}" for path in sorted((ROOT / "layers/regularization").glob("*_test.py"))),
    "trainers/trainer_test.py",
]
WAYS = {
    "one process": PLAIN,
    "two workers unrepaired": Shape(2, repaired=False),
    "two workers repaired": Shape(2),
}
SECONDS_PER_TEST = 90.0


class Recorder:
    """Writes the outcome of each test as it comes; stops after a failure."""

    def __init__(self, path):
        self._path = path

    def pytest_runtest_logreport(self, report):
        if report.when == "call" or report.outcome != "passed":
            why = "" if report.passed else str(report.longrepr)[-1500:]
            with self._path.open("a") as file:
                file.write(json.dumps([report.nodeid, report.outcome, why]) + "\n")


def tests_of(file, folder):
    """Names of the tests of a file, in its order."""

    class Names:
        found = ()

        def pytest_collection_modifyitems(self, items):
            self.found = [item.nodeid.partition("::")[2] for item in items]

    def collect(_):
        names = Names()
        with contextlib.redirect_stdout(io.StringIO()):
            pytest.main([*OPTIONS, "--collect-only", str(ROOT / file)], plugins=[names])
        return {"names": json.dumps(names.found)}

    (result,) = run(collect, PLAIN, folder)
    return json.loads(result["names"])


OPTIONS = ["-c", "/dev/null", "-p", "no:cacheprovider", "--import-mode=importlib", "-q", "-x", "-p", "no:asyncio"]


def outcomes(file, names, shape, folder):
    """Outcome and words of each test of a file."""
    found = {}
    remaining = list(names)
    while remaining:

        def row(_, wanted=tuple(remaining)):
            keras.config.set_floatx("float32")
            _keep_the_scope()
            where = [f"{ROOT / file}::{name}" for name in wanted]
            pytest.main([*OPTIONS, "--rootdir", ".", *where], plugins=[Recorder(Path("outcomes"))])
            return {}

        harness.DEADLINE_SECONDS = SECONDS_PER_TEST + 8.0 * len(remaining)
        words = ""
        try:
            run(row, shape, folder)
        except RowFailed as error:
            words = str(error)
        done = [_read(folder / str(rank) / "outcomes") for rank in range(shape.workers)]
        for name in list(remaining):
            here = [outcome[name] for outcome in done if name in outcome]
            failed = [why for outcome, why in here if outcome == "failed"]
            if len(here) == shape.workers and not failed:
                found[name] = here[0]
                remaining.remove(name)
                continue
            # The one that did not end on all workers, or failed on one.
            found[name] = ("failed", failed[0] if failed else f"does not end, or ends the process: {words[-600:]}")
            remaining.remove(name)
            break
    return found


def _keep_the_scope():
    """Keras's tests begin with `clear_session`, which leaves the strategy's scope where our repair is not applied."""
    if not tf.distribute.has_strategy():
        return
    strategy, set_up = tf.distribute.get_strategy(), TestCase.setUp

    def setUp(self):
        set_up(self)
        if not tf.distribute.has_strategy():
            enter_scope(strategy)

    TestCase.setUp = setUp


def _read(path):
    if not path.exists():
        return {}
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return {node.partition("::")[2]: (outcome, why) for node, outcome, why in lines}


def main():
    import kerasjob_trainer.trainer.main  # noqa: F401

    parser = argparse.ArgumentParser(prog="python -m tests.keras_own")
    parser.add_argument("--write", type=Path)
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("files", nargs="*")
    options = parser.parse_args()
    # Imported by Keras's tests for another backend, and not used with this one.
    sys.modules.setdefault("jax", mock.MagicMock(spec=types.ModuleType("jax")))
    table, failures = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for file in FILES:
            if options.files and not any(part in file for part in options.files):
                continue
            names = tests_of(file, Path(folder) / "names")
            ways = {way: outcomes(file, names, WAYS[way], Path(folder) / "run") for way in options.ways.split(",")}
            table[file] = {way: Counter(outcome for outcome, _ in found.values()) for way, found in ways.items()}
            print(file, {way: dict(counts) for way, counts in table[file].items()}, flush=True)
            alone, repaired = ways.get("one process"), ways.get("two workers repaired", {})
            for name, (outcome, why) in repaired.items():
                if outcome == "failed" and (alone is None or alone[name][0] == "passed"):
                    failures[f"{file}::{name}"] = why
                    print("  FAILS", name, "|", why.strip().splitlines()[-1][:300] if why.strip() else "", flush=True)
            if options.write is not None:
                options.write.write_text(_document(table, failures))
    unexplained = [name for name in failures if not _reason(name)]
    print(f"{len(failures)} fail on two workers and not in one process, {len(unexplained)} without a reason")
    return 1 if unexplained else 0


def _reason(name):
    return next((reason for part, reason in REASONS.items() if part in name), "")


def _document(table, failures):
    ways = list(WAYS)
    lines = [
        "# Keras's own tests on two workers",
        "",
        f"The test files of Keras {keras.__version__} that its package carries, for trainers, callbacks, optimizers,",
        "BatchNormalization and what drops or adds noise. `make test-keras` runs them and writes this page: in one",
        "process, on two workers as TensorFlow and Keras are, and on two workers with our repairs. Each cell: passed /",
        "failed / skipped. They look at shapes more than at values; values are compared by [the table](fidelity.md).",
        "",
        "| file | " + " | ".join(ways) + " |",
        "|---|" + "---|" * len(ways),
    ]
    total = {way: Counter() for way in ways}
    for file, counts in table.items():
        for way in ways:
            total[way] += counts[way]
        lines.append(f"| {file} | " + " | ".join(_cell(counts[way]) for way in ways) + " |")
    lines.append("| **all** | " + " | ".join(_cell(total[way]) for way in ways) + " |")
    lines += ["", "## What fails on two workers and not in one process", ""]
    for name in failures:
        lines.append(f"* `{name}`: {_reason(name) or 'not explained'}")
    if not failures:
        lines.append("Nothing.")
    return "\n".join(lines) + "\n"


def _cell(counts):
    return f"{counts['passed']} / {counts['failed']} / {counts['skipped']}"


if __name__ == "__main__":
    sys.exit(main())
