"""Reading a file: every fault at once, each with its path or its line."""

import pytest

from kerasjob import InvalidInput, load
from kerasjob.cli import main

GOOD = """
apiVersion: kerasjob.dev/v1alpha1
kind: KerasJob
metadata: {name: mnist}
spec:
  workers: 2
  program: {script: train.py}
"""


@pytest.fixture
def write(tmp_path):
    def write_(text, name="job.yaml"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write_


def faults(path):
    with pytest.raises(InvalidInput) as caught:
        load(path)
    return caught.value.faults


def test_a_good_file(write):
    job = load(write(GOOD))
    assert (job.name, job.namespace, job.spec.workers, job.spec.program.script) == ("mnist", "default", 2, "train.py")


def test_every_fault_at_once(write):
    text = GOOD.replace("workers: 2", "worker: 2\n  seed: many").replace("kind: KerasJob", "kind: Job")
    text = text.replace("metadata: {name: mnist}", "metadata: {name: Mnist, lables: {}}")
    assert [fault.split(";")[0] for fault in sorted(faults(write(text)))] == [
        "kind: expected KerasJob, got Job",
        "metadata.lables: unknown field",
        "metadata.name: expected at most 46 characters of a-z, 0-9 and -, the first a letter, the last no -",
        "spec.seed: input should be a valid integer, unable to parse string as an integer, got 'many'",
        "spec.worker: unknown field",
    ]
    assert "spec.worker: unknown field; did you mean 'workers'?" in faults(write(text))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a: [1", "line 1, column"),
        ("\n\na: b: c", "line 3, column 5: no valid YAML"),
        (GOOD + "spec: {}", "line 8, column 1: no valid YAML: 'spec' is given twice"),
        ("", "the file is empty"),
        ("- 1", "expected an object with apiVersion, kind, metadata, spec; got [1]"),
        ("apiVersion: kerasjob.dev/v1alpha1\nkind: KerasJob\nmetadata: {name: a}", "spec: required, but not given"),
        (GOOD + "---" + GOOD, "expected exactly one KerasJob, found 2 in 2 documents"),
        (GOOD.replace("metadata: {name: mnist}", "metadata: {}"), "metadata.name: required, but not given"),
        (GOOD.replace("metadata: {name: mnist}", "metadata: x"), "metadata.name: required, but not given"),
        (GOOD.replace("program: {script: train.py}", "program: {}"), "spec.program: exactly one of"),
        (GOOD.replace("spec:\n", "spec: 5\nstatus:\n"), "spec: input should be"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(write, text, fault):
    assert any(found.startswith(fault) for found in faults(write(text))), faults(write(text))


def test_a_key_beside_a_merge_takes_the_place_of_the_merged_one(write):
    text = GOOD + "  resources: {limits: &all {cpu: 1, memory: 2}, requests: {<<: *all, memory: 1}}\n"
    resources = load(write(text)).spec.resources
    assert (resources.limits, resources.requests) == ({"cpu": 1, "memory": 2}, {"cpu": 1, "memory": 1})
    assert any("'cpu' is given twice" in fault for fault in faults(write(text.replace("{<<", "{cpu: 1, cpu: 2, <<"))))


def test_other_kinds_beside_the_job_mean_nothing_here(write):
    config_map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: code}\n---"
    assert load(write(config_map + GOOD)).name == "mnist"


def test_a_file_that_is_not_there(tmp_path):
    assert faults(tmp_path / "none.yaml") == ("No such file or directory",)


def test_a_script_becomes_a_job(write):
    job = load(write("print(1)", "My Train.py"))
    assert (job.name, job.spec.workers, job.spec.program.script) == ("my-train", 1, "My Train.py")
    assert job.with_workers(3).spec.workers == 3


def test_the_number_of_workers_is_checked(write):
    with pytest.raises(InvalidInput, match=r"--workers: spec.workers: .*greater than or equal to 1, got 0"):
        load(write(GOOD)).with_workers(0)


def test_validate_says_yes_or_all_faults(write, capsys):
    assert main(["validate", str(write(GOOD))]) == 0
    assert "KerasJob mnist is valid" in capsys.readouterr().out
    bad = write(GOOD.replace("workers: 2", "worker: 2").replace("kind: KerasJob", "kind: KerasJobs"))
    assert main(["validate", str(bad)]) == 2
    shown = capsys.readouterr().err
    assert "kind: expected KerasJob, got KerasJobs" in shown
    assert "spec.worker: unknown field; did you mean 'workers'?" in shown


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (
            "a: &a [x, x]\n"
            + "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdef", "bcdefg", strict=True)),
            "more than",
        ),
        ("a: &a [1, *a]", "recursive"),
        ("a: " + "[" * 5000, "nested too deeply"),
    ],
    ids=["aliases of aliases", "an alias within itself", "very deep"],
)
def test_a_file_that_grows_when_it_is_read_is_refused(write, text, fault):
    (said,) = faults(write(text))
    assert fault in said
