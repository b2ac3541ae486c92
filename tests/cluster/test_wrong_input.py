"""What bad input gets: a clear error where the user looks, in under 15 s, with nothing created or lost."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tests.cluster import cluster

PROMPTLY = 15  # seconds in which a fault must be shown


def problem_of(name: str, type_: str = "Problem") -> str:
    seen = cluster.wait_for(name, lambda s: cluster.condition(s, type_)["status"] == "True", PROMPTLY)
    return cluster.condition(seen[-1], type_)["message"]


def source(text: str) -> dict:
    return {"source": text}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"program": {"script": "train.py", "source": "pass"}},
            "exactly one of program.script, program.module, program.source and",
        ),
        ({"program": {}}, "exactly one of program.script, program.module, program.source and"),
        ({"workers": 0}, "should be greater than or equal to 1"),
        ({"worker": 2}, 'unknown field "spec.worker"'),
    ],
)
def test_the_server_refuses_what_it_can_see(job, changes, words):
    run = cluster.apply(job("refused", **changes), check=False)
    assert run.returncode != 0
    assert words in run.stderr
    assert cluster.kubectl("get", "kj", "refused", check=False).returncode != 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"worker": 2}, "spec.worker: unknown field; did you mean 'workers'?"),
        ({"workers": 0}, "spec.workers: "),
        ({"program": {"script": "a.py", "module": "b"}}, "exactly one of script, module, source and recipe"),
        ({"podTemplate": {"spec": {"nodeSelektor": {}}}}, "spec.podTemplate.spec.nodeSelektor: unknown field"),
    ],
)
def test_our_command_refuses_it_as_well(example, tmp_path, changes, words):
    file = tmp_path / "job.yaml"
    file.write_text(yaml.safe_dump({**example, "spec": {**example["spec"], **changes}}))
    run = subprocess.run(
        [Path(sys.executable).with_name("kerasjob"), "validate", str(file)], capture_output=True, text=True
    )
    assert run.returncode == 2
    assert words in run.stdout + run.stderr


@pytest.mark.parametrize(
    ("overlay", "words"),
    [
        (
            {"nodeSelektor": {"a": "b"}},
            "spec.podTemplate.spec.nodeSelektor: unknown field; did you mean 'nodeSelector'?",
        ),
        ({"containers": [{"name": "trainer", "imagePolicy": "x"}]}, "imagePolicy"),
        ({"hostNetwork": True}, "spec.podTemplate.spec.hostNetwork: cannot be set"),
    ],
)
def test_a_misspelt_pod_template_is_invalid_and_makes_no_pod(job, overlay, words):
    made = job("overlay")
    made["spec"]["podTemplate"] = {"spec": overlay}
    cluster.apply(made)
    assert words in problem_of("overlay", "Invalid")
    assert cluster.pods_of("overlay") == []


def test_a_script_that_does_not_exist(job):
    cluster.apply(job("no-script", workers=1, program={"script": "/app/nowhere.py"}))
    status = cluster.wait_for("no-script", cluster.phase_is("Failed"), PROMPTLY)[-1]
    assert status["lastFailure"]["reason"] == "BadProgram"
    assert "/app/nowhere.py" in status["lastFailure"]["message"]


def test_a_script_with_a_syntax_error(job):
    cluster.apply(job("syntax", workers=1, program=source("import keras\n\nkeras.utils.set_random_seed(1\nprint(2)\n")))
    status = cluster.wait_for("syntax", cluster.phase_is("Failed"), PROMPTLY)[-1]
    assert status["lastFailure"]["reason"] == "BadProgram"
    assert "SyntaxError" in status["lastFailure"]["message"]
    assert ":3" in status["lastFailure"]["message"]


RAISES = """
import keras, numpy as np

class Third(keras.callbacks.Callback):
    def on_train_batch_begin(self, batch, logs=None):
        if batch == 2:
            raise ValueError("the third step is the charm")

model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
model.compile("sgd", "mse")
model.fit(np.ones((64, 2)), np.ones((64, 1)), batch_size=8, callbacks=[Third()])
"""


def test_an_exception_on_step_3(job):
    cluster.apply(job("raises", program=source(RAISES), data=None))
    seen = cluster.wait_for("raises", cluster.phase_is("Failed"), 120)
    failure = seen[-1]["lastFailure"]
    assert (failure["reason"], failure["exitCode"]) == ("UserError", 10)
    assert "ValueError: the third step is the charm" in failure["message"]
    assert ":7)" in failure["message"]  # file and line
    assert (seen[-1]["restarts"], seen[-1]["disruptions"]) == (0, 0)


def test_a_wrong_s3_secret(job):
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "wrong-keys"},
        "stringData": {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "nothing"},
    }
    cluster.apply(secret)
    made = job("wrong-secret", workers=1, startupTimeoutSeconds=20)
    made["spec"]["storage"]["s3"]["secretName"] = "wrong-keys"
    cluster.apply(made)
    message = problem_of("wrong-secret")
    assert "wrong-keys" in message
    assert "s3.kerasjob-system" in message
    assert "nothing" not in message.replace("nothing was", "")  # the key itself
    status = cluster.wait_for("wrong-secret", cluster.phase_is("Failed"), 60)[-1]
    assert status["lastFailure"]["reason"] == "StorageError"
    cluster.kubectl("delete", "secret", "wrong-keys")


def test_a_secret_that_comes_later_heals_the_job(job):
    made = job("late-secret", workers=1, program=source("print('fine')"))
    made["spec"]["storage"]["s3"]["secretName"] = "late-keys"
    cluster.apply(made)
    assert "late-keys" in problem_of("late-secret")
    ends = cluster.endpoints()
    cluster.kubectl(
        "create", "secret", "generic", "late-keys", f"--from-literal=AWS_ACCESS_KEY_ID={ends['s3AccessKey']}",
        f"--from-literal=AWS_SECRET_ACCESS_KEY={ends['s3SecretKey']}",
    )  # fmt: skip
    try:
        # The kubelet brings a new Secret to a mounted volume within a sync period, about a minute.
        status = cluster.wait_for("late-secret", cluster.phase_is("Succeeded", "Failed"), 180)[-1]
        assert status["phase"] == "Succeeded"
        assert cluster.condition(status, "Problem")["status"] == "False"
    finally:
        cluster.kubectl("delete", "secret", "late-keys")


def test_a_missing_bucket(job):
    cluster.apply(job("no-bucket", workers=1, checkpoint={"uri": "s3://nowhere-to-be-found/checkpoints/"}))
    message = problem_of("no-bucket")
    assert "nowhere-to-be-found" in message
    assert "bucket" in message


def test_an_image_that_cannot_be_pulled(job):
    cluster.apply(job("no-image", image="localhost/kerasjob/not-there:1"))
    message = problem_of("no-image")
    assert "not-there" in message
    seen = cluster.get("kj", "no-image")["status"]
    assert cluster.condition(seen, "Problem")["reason"] == "ImageCannotBePulled"
    assert seen["phase"] == "Pending"  # the image may still come


def test_deleting_a_job_takes_everything_with_it(job):
    cluster.apply(job("gone", workers=1, program=source("import time; time.sleep(600)")))
    cluster.wait_for("gone", cluster.phase_is("Running", "Starting"), 120)
    cluster.delete("gone")
    cluster.eventually(
        lambda: (
            not any(
                item["metadata"]["name"].startswith("gone")
                for kind in ("pods", "services", "configmaps", "secrets", "networkpolicies")
                for item in cluster.get(kind)["items"]
            )
        ),
        60,
        "children of a deleted job are collected",
    )
