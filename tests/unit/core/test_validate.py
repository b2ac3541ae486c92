"""What is wrong with a spec beyond its types, said where the server's rules are not asked."""

import pytest

from kerasjob_core.validate import parse_spec

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


@pytest.mark.parametrize("path", ["/data", "/data/", "/mnist.npz", "/libraries/a..b", "/var/data", "/work/d", "/tmp/x"])
def test_any_other_directory_is_good(path):
    assert parse_spec(PROGRAM | {"data": [{"uri": "s3://bucket/x/", "path": path}]})[1] == ()
