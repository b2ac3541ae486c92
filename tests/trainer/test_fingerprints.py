"""A call of `fit` that is not the one that was saved is noticed before it trains, and what differs is named."""

import json
import os
import signal
import textwrap
from pathlib import Path

import numpy as np
import pytest
from tests.trainer.harness import EPOCH_GATE, Gates

ROWS = np.zeros((8, 3), np.float32)
OF_ROWS = "TensorSpec(shape=(None,), dtype=tf.int64, name=None)"


def model(units=2, optimizer="sgd", dtype="float32"):
    import keras

    keras.backend.clear_session()  # so that names begin anew, as in another process
    made = keras.Sequential([keras.Input((3,)), keras.layers.Dense(units, name="out", dtype=dtype)], name="m")
    made.compile(optimizer, "mse")
    return made


def mark(made=None, workers=1, **arguments):
    from kerasjob_trainer.trainer.session import fingerprints

    found = fingerprints.of(made or model(), {"x": ROWS, "epochs": 3, **arguments}, Path("/"), workers)
    return json.loads(json.dumps(found))


def difference(then, now):
    """What is said of it; nothing where they are the same."""
    from kerasjob_trainer.trainer.failure import Refused
    from kerasjob_trainer.trainer.session import fingerprints
    from kerasjob_trainer.trainer.session.records import CallRecord

    try:
        fingerprints.check_same(CallRecord(0, then, {}, {}, {}), now)
    except Refused as error:
        said = str(error)
        assert said.startswith("fit call 1 is not the one that was saved")
        assert said.endswith("Run the program that was saved, or a new job")
        return said.split("twice: ")[1].removesuffix(". Run the program that was saved, or a new job")
    return ""


def batches(number):
    import keras

    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return number

    return Batches()


def rows(number):
    import tensorflow as tf

    return tf.data.Dataset.range(number).batch(2)


def test_arguments_that_differ():
    assert difference(mark(batch_size=4), mark(batch_size=8, epochs=4)) == (
        "epochs was 3 and is 4; batch_size was 4 and is 8"
    )


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, ""),
        ({"units": 4}, "variable m/out/kernel was '(3, 2) float32' and is '(3, 4) float32'; "
         "variable m/out/bias was '(2,) float32' and is '(4,) float32'"),
        ({"dtype": "float16"}, "variable m/out/kernel was '(3, 2) float32' and is '(3, 2) float16'; "
         "variable m/out/bias was '(2,) float32' and is '(2,) float16'"),
        ({"optimizer": "adam"}, "variable sgd/iteration is missing; variable sgd/learning_rate is missing; "
         "variable adam/iteration is new; variable adam/learning_rate is new"),
    ],
)  # fmt: skip
def test_a_model_that_differs(changed, said):
    assert difference(mark(), mark(model(**changed))) == said


def test_a_model_that_is_built_only_by_training_has_its_optimizer_to_be_known_by():
    import keras

    lazy = keras.Sequential([keras.layers.Dense(2)])
    lazy.compile("sgd", "mse")
    assert difference(mark(lazy), mark(lazy)) == ""


def test_the_model_of_a_finished_call_that_differs():
    from kerasjob_trainer.trainer.session import fingerprints

    then = fingerprints.without_names(mark())
    assert len(then["variables"]) < 30
    assert fingerprints.without_names(then) == then
    assert difference(then, mark()) == ""
    assert difference(then, mark(model(4))).startswith("variables was '6 with checksum ")


@pytest.mark.parametrize(
    ("then", "now", "said"),
    [
        (lambda: ROWS, lambda: ROWS[:7], "x was '(8, 3) float32' and is '(7, 3) float32'"),
        (lambda: ROWS, lambda: ROWS.astype("int8"), "x was '(8, 3) float32' and is '(8, 3) int8'"),
        (lambda: {"a": ROWS, "b": [1, 2]}, lambda: {"a": ROWS, "b": [1, 2]}, ""),
        (lambda: rows(8), lambda: rows(8), ""),
        (lambda: rows(8).repeat(), lambda: rows(8).filter(lambda _: True),
         f"x was 'a dataset of {OF_ROWS}, endless' and is 'a dataset of {OF_ROWS}, of unknown length'"),
        (lambda: rows(8), lambda: rows(10),
         f"x was 'a dataset of {OF_ROWS}, 4 elements' and is 'a dataset of {OF_ROWS}, 5 elements'"),
        (lambda: batches(3), lambda: batches(4), "x was 'batches.<locals>.Batches of 3 batches' and is "
         "'batches.<locals>.Batches of 4 batches'"),
        (lambda: iter([1]), lambda: iter([1]), ""),
        (lambda: [ROWS] * 100, lambda: [ROWS] * 100, ""),
    ],
)  # fmt: skip
def test_data_that_differs(then, now, said):
    assert difference(mark(x=then()), mark(x=now())) == said


def test_only_the_end_of_much_data_differs():
    then, now = mark(x=[ROWS] * 100), mark(x=[ROWS] * 99 + [ROWS[1:]])
    assert len(then["data"]["x"]) < 350
    assert "… with checksum " in difference(then, now)


def test_data_of_validation_that_is_new():
    assert difference(mark(), mark(validation_data=(ROWS, ROWS))) == "validation_data is new"


def test_with_another_number_of_workers_the_data_may_be_another():
    assert difference(mark(x=ROWS, workers=2), mark(x=ROWS[1:], workers=1)) == ""


def test_older_checkpoints_know_of_neither_model_nor_data():
    then = {name: value for name, value in mark().items() if name not in ("variables", "data", "workers")}
    assert difference(then, mark(model(4), x=ROWS[1:])) == ""
    assert difference(then, mark(epochs=4)) == "epochs was 3 and is 4"


PROGRAM = EPOCH_GATE + textwrap.dedent("""
    import numpy as np

    rows, units = map(int, Path(sys.argv[2]).read_text().split())
    x = np.zeros((rows, 3), "float32")
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(units)])
    model.compile("sgd", "mse")
    model.fit(x, np.zeros((rows, units)), batch_size=4, epochs=3, callbacks=[Gate()], verbose=0)
    """)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ("9 2", "x was '(8, 3) float32' and is '(9, 3) float32'; y was '(8, 2) float64' and is '(9, 2) float64'"),
        ("8 4", "variable sequential/dense/kernel was '(3, 2) float32' and is '(3, 4) float32'"),
    ],
)
def test_a_program_that_is_another_in_its_next_pod_ends_and_says_so(changed, said, job, tmp_path):
    settings = tmp_path / "settings"
    settings.write_text("8 2")
    gates = Gates(tmp_path / "gates", "epoch-1")
    made = job(program={"source": PROGRAM, "args": [str(gates.folder), str(settings)]}, workers=1)
    (worker,) = made.start_all()
    made.form()
    gates.wait_for("epoch-1", made)
    worker.wait_for(lambda report: report.get("checkpoint"), "a checkpoint")
    os.kill(*worker.trainer_pids(), signal.SIGKILL)
    worker.wait_for_state("lost")
    settings.write_text(changed)
    made.form()
    assert worker.wait_for_end() == 11
    assert said in worker.record()["message"]
