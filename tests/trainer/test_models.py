"""What is asked of a model whose state at this point of the program is gone."""

import logging

import pytest


@pytest.fixture
def stale(monkeypatch):
    """A model that lacks the state that a first call of `fit` gave it."""
    import keras
    from keras.src.backend.tensorflow import trainer as keras_trainer

    from kerasjob_trainer.trainer.session import models

    for owner, names in ((keras_trainer.TensorFlowTrainer, models._ANSWERS), (keras.Model, models._WRITES)):
        for name in names:
            monkeypatch.setattr(owner, name, getattr(owner, name))
    known = models.Models()
    known.install()
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    known.set_stale(model, 0)
    return model


@pytest.mark.parametrize("how", ["positional", "by name, after another argument"])
def test_a_file_that_is_there_is_left_as_it_is(stale, how, tmp_path, caplog):
    path = tmp_path / "model.keras"
    path.write_text("as it was")
    with caplog.at_level(logging.INFO, "kerasjob"):
        if how == "positional":
            stale.save(path)
        else:
            stale.save(overwrite=True, filepath=path)
    assert path.read_text() == "as it was"
    assert "left as it is, for the state after fit call 1 is not kept" in caplog.text


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Keras's own, of numpy's copy keyword
def test_a_new_file_is_written_and_warned_of(stale, tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "kerasjob"):
        stale.save_weights(tmp_path / "new.weights.h5")
    assert (tmp_path / "new.weights.h5").exists()
    assert "save_weights of a model as fit call 1 had left it: that state is not kept any more" in caplog.text


def test_an_answer_is_given_and_warned_of(stale, caplog):
    import numpy as np

    with caplog.at_level(logging.WARNING, "kerasjob"):
        assert stale.predict(np.zeros((3, 2)), verbose=0).shape == (3, 1)
    assert "predict of a model as fit call 1 had left it" in caplog.text
