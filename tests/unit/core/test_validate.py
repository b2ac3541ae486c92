"""What is wrong with a spec beyond its types, said where the server's rules are not asked."""

import pytest

from kerasjob_core.validate import parse_spec, without_faults

PROGRAM = {"program": {"script": "train.py"}}
BOARD = "spec.tensorBoard: needs spec.checkpoint or a uri of its own: event files are kept there, got neither"
KEY = "spec.storage.s3.kmsKeyId: is for encryption aws:kms or aws:kms:dsse, got it with"


@pytest.mark.parametrize(
    ("spec", "faults"),
    [
        ({"tensorBoard": {}}, (BOARD,)),
        ({"tensorBoard": {"enabled": False}}, ()),
        ({"tensorBoard": {"uri": "/events"}}, ()),
        ({"tensorBoard": {}, "checkpoint": {"uri": "/saved"}}, ()),
        ({"storage": {"s3": {"kmsKeyId": "k"}}}, (f"{KEY} no encryption",)),
        ({"storage": {"s3": {"kmsKeyId": "k", "encryption": "AES256"}}}, (f"{KEY} AES256",)),
        ({"storage": {"s3": {"kmsKeyId": "k", "encryption": "aws:kms"}}}, ()),
        ({"tensorBoard": {}, "storage": {"s3": {"kmsKeyId": "k"}}}, (BOARD, f"{KEY} no encryption")),
    ],
)
def test_what_belongs_together_is_given_together(spec, faults):
    found, said = parse_spec(PROGRAM | spec)
    assert said == faults
    assert (found is None) == bool(faults)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "//",
        "/.",
        "/..",
        "/data/../etc",
        "/data/..",
        "/proc",
        "/./proc/",
        "//usr/lib/python3",
        "/var/run/x",
        "/lib64",
    ],
)
def test_data_has_a_directory_of_its_own(path):
    found, (said,) = parse_spec(PROGRAM | {"data": [{"uri": "s3://bucket/x/", "path": path}]})
    assert found is None
    assert said.startswith("spec.data[0].path: expected a directory of its own")
    assert said.endswith(f"got {path!r}")


@pytest.mark.parametrize("path", ["/data", "/data/", "/mnist.npz", "/libraries/a..b", "/var/data", "/home/d", "/tmp/x"])
def test_any_other_directory_is_good(path):
    assert parse_spec(PROGRAM | {"data": [{"uri": "s3://bucket/x/", "path": path}]})[1] == ()


def with_rules(*rules, **spec):
    return PROGRAM | {"workers": 2, "failurePolicy": {"maxRestarts": 50, "rules": list(rules)}} | spec


def test_rules_name_workers_that_there_are_and_of_an_elastic_job_that_there_may_be():
    rule = {"action": "Ignore", "onWorkers": [3]}
    _, said = parse_spec(with_rules(rule))
    assert said == ("spec.failurePolicy.rules[0].onWorkers: workers are 0 to 1, got 3",)
    spec, said = parse_spec(with_rules(rule, elastic={"minWorkers": 1}))
    assert (spec.failure_policy.rules[0].on_workers, said) == ((3,), ())


def test_what_is_left_without_faults_is_all_else():
    good = {"action": "Ignore", "onWorkers": [1]}
    wrong = [
        {"action": "FailJob", "onMessage": "("},
        {"action": "Ignore", "onWorkers": [7]},
        {"action": "FailJob", "onReasons": ["OutOfMemory"], "onWeekdays": ["Monday"]},
        {"action": "Pray", "onWorkers": [1]},
    ]
    data = with_rules(*wrong, good, podTemplate={"spec": {"hostNetwork": True}}, suspend=True, ofLater={"a": 1})
    assert len(parse_spec(data)[1]) >= 5
    spec = without_faults(data)
    assert (spec.suspend, spec.workers, spec.failure_policy.max_restarts) == (True, 2, 50)
    assert [rule.on_workers for rule in spec.failure_policy.rules] == [(1,)]


@pytest.mark.parametrize("data", [None, {}, PROGRAM | {"workers": 0}, PROGRAM | {"failurePolicy": {"maxRestarts": -1}}])
def test_where_nothing_can_be_left_out_there_is_nothing(data):
    assert without_faults(data) is None
