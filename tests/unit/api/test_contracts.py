"""The constants that other versions of ours, the cluster and the store see. A change here must be deliberate."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from kerasjob_api import codec, constants, crd, exit_codes, names, wire

ROOT = Path(__file__).parents[3]


def test_ports_and_protocol():
    assert (constants.AGENT_PORT, constants.TF_PORT_BASE, constants.TF_PORT_SPAN) == (8470, 8480, 16)
    assert (constants.OPERATOR_PORT, constants.AGENT_PROTOCOL) == (8080, 1)


def test_exit_codes():
    assert {code.name: int(code) for code in exit_codes.ExitCode} == {
        "DONE": 0,
        "USER_ERROR": 10,
        "BAD_PROGRAM": 11,
        "BAD_DATA": 12,
        "CLUSTER_FAULT": 20,
        "STALLED": 21,
        "STORE_FAULT": 22,
        "PREEMPTED": 30,
    }
    assert [code for code in range(256) if exit_codes.is_permanent(code)] == [
        code for code in range(1, 128) if code not in (20, 21, 22, 30)
    ]


def test_labels():
    assert constants.Label.JOB == "kerasjob.dev/job"
    assert constants.Label.SLOT == "kerasjob.dev/slot"
    assert constants.Label.INCARNATION == "kerasjob.dev/incarnation"


def test_names_of_children_fit_a_dns_label():
    longest = "j" * names.JOB_NAME_MAX
    assert len(names.pod_name(longest, 1023, 999_999_999)) <= 63
    assert not names.is_job_name(longest + "j")
    assert not names.is_job_name("1st")
    assert not names.is_job_name("Mnist")


def test_the_contracts_page_names_every_code_and_port():
    page = (ROOT / "docs/contracts.md").read_text()
    for code in exit_codes.ExitCode:
        assert f"| {int(code)} | {code.name} |" in page
    for phase in constants.Phase:
        assert f"`{phase}`" in page
    for number, phase in enumerate(constants.SavePhase):
        assert f"{number} (" in page
        assert f"`{phase}`" in page
    for state in constants.WorkerState:
        assert state in page
    assert str(constants.AGENT_PORT) in page
    assert str(constants.TF_PORT_BASE) in page


def test_the_checked_in_crd_is_the_generated_one():
    for file in ("manifests/crd/kerasjobs.yaml", "charts/kerasjob/files/kerasjobs.yaml"):
        assert (ROOT / file).read_text() == crd.render(), f"run `make generate`: {file}"


def test_the_crd_fits_an_annotation_of_kubectl_apply():
    assert len(json.dumps(yaml.safe_load(crd.render()))) < 262_144


def test_wire_formats_survive_a_round_trip_and_unknown_fields():
    report = wire.WorkerReport(
        slot=1,
        incarnation=2,
        revision=3,
        state="training",
        problem=wire.Problem("StorageError", "no"),
        trainer_exit=wire.TrainerExit(3, signal=9),
        progress=wire.Progress(0, 1, 2, 3, metrics=(wire.Metric("loss", "nan"),)),
        checkpoint=wire.CheckpointRef("s3://b/c", 7, "2026-01-01T00:00:00Z"),
    )
    data = json.loads(json.dumps(codec.to_wire(report)))
    data["newer"] = {"field": 1}
    assert codec.from_wire(wire.WorkerReport, data) == report


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"slot": 0, "incarnation": 0, "revision": 1}, "state: missing"),
        ({"slot": "0", "incarnation": 0, "revision": 1, "state": "ready"}, "slot: expected int, got '0'"),
        ([], "expected an object"),
    ],
)
def test_a_malformed_report_says_which_field(data, words):
    with pytest.raises(ValueError, match=words):
        codec.from_wire(wire.WorkerReport, data)


@pytest.mark.parametrize("text", ["x" * 100_000, "é" * 100_000, '"' * 100_000, "\n" * 100_000, "short"])
def test_a_termination_message_fits_4_kib_and_stays_json(text):
    message = wire.FailureRecord("UserError", text, "ValueError", "train.py", 3).to_message()
    assert len(message.encode()) <= 4096
    record = wire.FailureRecord.from_message(message)
    assert record is not None
    assert (record.file, record.line) == ("train.py", 3)


def test_what_is_no_failure_record_is_none():
    assert wire.FailureRecord.from_message(None) is None
    assert wire.FailureRecord.from_message("Killed") is None
    assert wire.FailureRecord.from_message('{"no": "reason"}') is None


@pytest.mark.parametrize("module", ["kerasjob_api.wire", "kerasjob_trainer.agent"])
def test_the_agent_does_not_import_what_is_slow(module):
    code = f"import {module}, sys; print([m for m in sys.modules if m.split('.')[0] in {SLOW!r}])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


SLOW = ("tensorflow", "keras", "kubernetes", "kopf", "boto3", "pydantic", "numpy", "aiohttp", "prometheus_client")
