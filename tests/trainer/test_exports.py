"""`spec.export`: the model trained last is in the store once the program has ended well, as plain Keras reads it."""

import json
import textwrap
import warnings
from pathlib import Path

import numpy as np
import pytest

PROGRAM = textwrap.dedent("""
    import keras, numpy as np
    from keras import layers

    x = np.random.default_rng(0).normal(size=(48, 4)).astype("float32")
    y = x.sum(axis=1, keepdims=True)
    scale = layers.Normalization()
    scale.adapt(x)
    other = keras.Sequential([keras.Input((4,)), layers.Dense(1)])
    other.compile("sgd", "mse")
    other.fit(x, y, batch_size=16, verbose=0)
    inputs = keras.Input((4,))
    outputs = layers.Dense(1)(layers.Dropout(0.1)(layers.BatchNormalization()(layers.Dense(8)(scale(inputs)))))
    model = keras.Model(inputs, outputs)
    model.compile("adam", "mse")
    model.fit(x, y, batch_size=16, epochs=2, verbose=0)
    np.save("predicted.npy", model.predict(x, verbose=0))
""")
X = np.random.default_rng(0).normal(size=(48, 4)).astype("float32")


@pytest.fixture(scope="module")
def keras():
    """Plain Keras, imported late: what its import warns of is not ours."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.setenv("CUDA_VISIBLE_DEVICES", "-1")
        warnings.simplefilter("ignore")
        import keras

        yield keras


def exported(made, where: Path, leader) -> tuple[str, np.ndarray]:
    """Where the model is, by both records that say so, and what it predicted in the program."""
    done = made.finish()
    uri = leader.record()["export"]
    assert done["export"] == uri
    assert uri.startswith(f"{where}/{made.uid}/")
    return uri, np.load(leader.folder / "work" / "program" / "predicted.npy")


def test_of_two_workers_plain_keras_loads_the_file(job, tmp_path, keras):
    where = tmp_path / "models"
    made = job(program={"source": PROGRAM}, config={"export": {"uri": str(where)}})
    leader, other = made.start_all()
    made.form()
    uri, predicted = exported(made, where, leader)
    model = keras.models.load_model(uri)
    # Plain Keras computes all rows at once, the workers each their own: sums in another order.
    assert model.predict(X, verbose=0) == pytest.approx(predicted, rel=1e-5, abs=1e-6)
    assert model.optimizer.iterations.numpy() == 6
    assert other.record()["export"] is None


def test_a_saved_model_serves(job, tmp_path, keras):
    import tensorflow as tf

    where = tmp_path / "models"
    config = {"export": {"uri": f"file://{where}/", "format": "saved_model"}}
    made = job(program={"source": PROGRAM}, workers=1, config=config)
    (leader,) = made.start_all()
    made.form()
    uri, predicted = exported(made, where, leader)
    assert uri.endswith("/saved_model/")
    assert tf.saved_model.load(uri).serve(X).numpy() == pytest.approx(predicted, rel=1e-5, abs=1e-6)


def test_weights_go_into_a_model_of_the_same_make(job, tmp_path, keras):
    where = tmp_path / "models"
    config = {"export": {"uri": str(where), "format": "weights"}, "checkpoint": None}
    made = job(program={"source": PROGRAM}, workers=1, config=config)
    (leader,) = made.start_all()
    made.form()
    assert leader.wait_for_end() == 0
    namespace = {}
    exec(PROGRAM.partition('model.compile("adam"')[0], namespace)
    namespace["model"].load_weights(leader.record()["export"])
    predicted = np.load(leader.folder / "work" / "program" / "predicted.npy")
    assert namespace["model"].predict(X, verbose=0) == pytest.approx(predicted, rel=1e-5, abs=1e-6)


def test_a_store_that_is_not_there_is_said_before_the_program_runs(job):
    worker = job(program={"source": PROGRAM}, config={"export": {"uri": "gs://bucket/x"}}).start(0)
    problem = worker.wait_for(lambda r: r["problem"], "a problem")["problem"]
    assert "this kind of store is not supported" in problem["message"]


def test_a_program_that_trains_nothing_has_nothing_to_export(job, tmp_path):
    made = job(program={"source": "print(1)"}, workers=1, config={"export": {"uri": str(tmp_path / "models")}})
    (worker,) = made.start_all()
    made.form()
    assert worker.wait_for_end() == 11
    assert "spec.export: the program has called no `fit`" in worker.record()["message"]


def test_a_worker_made_again_says_where_the_model_is(job, tmp_path):
    made = job(config={"export": {"uri": str(tmp_path)}})
    made.store.mkdir(parents=True)
    (made.store / "done.json").write_text(json.dumps({"export": "/models/uid-1/model.keras"}))
    worker = made.start(0)
    assert worker.wait_for_end(15) == 0
    assert worker.record()["export"] == "/models/uid-1/model.keras"
