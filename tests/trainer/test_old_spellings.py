"""Spellings of Keras 2 in a job: each is a small program; all run in one process, which has imported TensorFlow."""

import json
import subprocess
import sys
import textwrap

import pytest

SPELLINGS = {
    "layers.experimental.preprocessing of tf.keras": """
        import tensorflow as tf
        tf.keras.layers.experimental.preprocessing.Rescaling(1 / 255)
    """,
    "layers.experimental.preprocessing of keras": """
        import keras
        keras.layers.experimental.preprocessing.RandomFlip()
    """,
    "an import of experimental preprocessing": """
        from tensorflow.keras.layers.experimental import preprocessing
        from tensorflow.keras.layers.experimental.preprocessing import Rescaling
        from keras.layers.experimental.preprocessing import Normalization
        preprocessing.CenterCrop(3, 3)
    """,
    "SyncBatchNormalization": """
        import tensorflow as tf
        assert tf.keras.layers.experimental.SyncBatchNormalization().synchronized
    """,
    "ImageDataGenerator of keras": """
        import keras
        from keras.preprocessing.image import ImageDataGenerator, img_to_array, load_img
        assert keras.preprocessing.image.ImageDataGenerator is ImageDataGenerator
    """,
    "ImageDataGenerator of tf.keras": """
        import tensorflow as tf
        from tensorflow.keras.preprocessing.image import ImageDataGenerator
        tf.keras.preprocessing.image.ImageDataGenerator(rescale=1 / 255)
    """,
    "preprocessing.text": """
        import keras
        from keras.preprocessing.text import Tokenizer
        keras.preprocessing.text.Tokenizer().fit_on_texts(["a b"])
    """,
    "preprocessing.sequence": """
        from keras.preprocessing.sequence import pad_sequences
        from tensorflow.keras.preprocessing.sequence import pad_sequences
    """,
    "imports from tensorflow.keras": """
        from tensorflow.keras import Sequential, layers, models
        from tensorflow.keras.callbacks import ModelCheckpoint
        from tensorflow.keras.layers import Conv2D, Dense
        from tensorflow.keras.models import Sequential
        from tensorflow.keras.optimizers import Adam
        from tensorflow.keras.utils import to_categorical
    """,
    "modules of layers": """
        from keras.layers.core import Dense
        from keras.layers.merge import concatenate
        from keras.layers.normalization import BatchNormalization
        import keras
        assert Dense is keras.layers.Dense
    """,
    "np_utils": """
        from keras.utils import np_utils
        assert np_utils.to_categorical([1]).shape == (1, 2)
    """,
    "lr of an optimizer": """
        import keras
        optimizer = keras.optimizers.Adam(lr=0.5)
        assert float(optimizer.lr) == 0.5
        optimizer.lr = 0.25
        assert float(optimizer.learning_rate) == 0.25
        assert abs(float(keras.optimizers.SGD(lr=0.3, momentum=0.9).learning_rate) - 0.3) < 1e-6
    """,
    "a learning rate as it is spelt now": """
        import keras
        assert abs(float(keras.optimizers.Adam(learning_rate=0.3).learning_rate) - 0.3) < 1e-6
        assert abs(float(keras.optimizers.Adam(0.3).learning_rate) - 0.3) < 1e-6
    """,
    "legacy optimizers": """
        import tensorflow as tf
        assert isinstance(tf.keras.optimizers.legacy.Adam(0.1), tf.keras.optimizers.Adam)
    """,
    "fit_generator": """
        import keras, numpy as np
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        batches = lambda: (batch for batch in [(np.zeros((4, 2)), np.zeros((4, 1)))] * 4)
        history = model.fit_generator(generator=batches(), steps_per_epoch=2, epochs=1, workers=4, verbose=0)
        assert len(history.history["loss"]) == 1
        model.evaluate_generator(batches(), steps=1, max_queue_size=10, verbose=0)
        assert model.predict_generator(batches(), steps=1, verbose=0).shape == (4, 1)
    """,
    "callbacks that call their logs something else": """
        import keras, numpy as np
        seen = {}
        class Callback(keras.callbacks.Callback):
            def on_epoch_end(self, epoch, l=None):
                seen["epoch"] = l
            def on_train_batch_end(self, b, stuff={}):
                seen["batch"] = stuff
            def on_train_begin(self, l=None):
                seen["begin"] = True
            def on_test_end(self, l=None):
                seen["test"] = l
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        x, y = np.zeros((4, 2)), np.zeros((4, 1))
        model.fit(x, y, verbose=0, callbacks=[Callback()], validation_data=(x, y))
        assert "loss" in seen["epoch"] and "loss" in seen["batch"] and "loss" in seen["test"] and seen["begin"]
    """,
}
RUNNER = """
import json, sys, traceback, warnings
warnings.simplefilter("ignore")
if sys.argv[1] == "with":
    from kerasjob_trainer.trainer import old_spellings
    old_spellings.apply()
found = {}
for name, program in json.load(sys.stdin).items():
    try:
        exec(program, {"__name__": "__main__"})
        found[name] = ""
    except Exception:
        found[name] = traceback.format_exc(limit=-1)
json.dump(found, open(sys.argv[2], "w"))
"""
# What Keras 3 runs as it is; the rest fails without us.
RUNS_ANYWAY = {"preprocessing.sequence", "imports from tensorflow.keras", "a learning rate as it is spelt now",
               "ImageDataGenerator of tf.keras"}  # fmt: skip


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("spellings")
    programs = json.dumps({name: textwrap.dedent(program) for name, program in SPELLINGS.items()})
    found = {}
    for how in ("with", "without"):
        command = [sys.executable, "-c", RUNNER, how, str(folder / how)]
        subprocess.run(command, input=programs, text=True, check=True, capture_output=True)
        found[how] = json.loads((folder / how).read_text())
    return found


@pytest.mark.parametrize("name", SPELLINGS)
def test_an_old_spelling_runs_and_would_not_without_us(name, outcomes):
    assert outcomes["with"][name] == ""
    assert (outcomes["without"][name] == "") == (name in RUNS_ANYWAY)
