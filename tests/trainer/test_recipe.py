"""Recipes: every section with real data in this process, what is refused, that nothing is executed; real workers."""

import copy
import functools
import json
import os
import re
import signal
import warnings
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.trainer import recipe_data
from tests.trainer.harness import histories

ROOT = Path(__file__).parents[2]
AT = "spec.program.recipe"
# numpy of TensorFlow, on the way into a file.
exports = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")
of_unknown_length = pytest.mark.filterwarnings("ignore:Your input ran out of data")


@pytest.fixture(scope="module", autouse=True)
def keras():
    """Keras, imported late: what its import warns of is not ours."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.setenv("CUDA_VISIBLE_DEVICES", "-1")
        warnings.simplefilter("ignore")
        import keras
        import tensorflow  # noqa: F401
    return keras


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The working directory, with a name that recipes can use."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(text, seed=5, **options):
    import keras

    from kerasjob_trainer.recipe.running import run

    keras.utils.set_random_seed(seed)
    return run(yaml.safe_load(text), **options)


def faults(text):
    from kerasjob_trainer.recipe.running import read

    recipe, found = read(yaml.safe_load(text))
    assert (recipe is None) == bool(found)
    return [fault.removeprefix(AT) for fault in found]


def refused(text):
    """What a recipe is refused with when it is run."""
    from kerasjob_trainer.trainer.failure import Refused

    with pytest.raises(Refused) as caught:
        run(text)
    return str(caught.value).replace(AT, "")


DIGITS = """
data:
  train: {npz: {file: digits.npz, features: x, labels: y}, take: 200}
  test: {npz: {file: digits.npz, features: x, labels: y}, skip: 200}
preprocessing:
  - Rescaling: {scale: 0.00392156862745098}
model:
  layers:
    - Flatten
    - Dense: {units: 16, activation: relu, kernel_initializer: {HeNormal: {}}, kernel_regularizer: {L2: {l2: 0.001}}}
    - Dropout: {rate: 0.1}
    - Dense: {units: 10, activation: softmax}
compile:
  optimizer:
    Adam:
      learning_rate: {ExponentialDecay: {initial_learning_rate: 0.01, decay_steps: 100, decay_rate: 0.9}}
  loss: sparse_categorical_crossentropy
  metrics: [accuracy, {SparseTopKCategoricalAccuracy: {k: 3, name: top3}}]
fit: {epochs: 3, batch_size: 32, validation_split: 0.2, class_weight: {0: 2.0, 1: 1.0, 2: 1, 3: 1, 4: 1, 5: 1, 6: 1, 7: 1, 8: 1, 9: 1}}
callbacks:
  - TerminateOnNaN
  - EarlyStopping: {patience: 2, restore_best_weights: true}
"""  # noqa: E501


@exports
def test_arrays_and_a_list_of_layers_train_evaluate_and_export(keras, folder, capfd):
    recipe_data.digits(folder / "digits.npz")
    recipe = DIGITS + "evaluate: {data: test, batch_size: 20}\nexport: {path: out/digits.keras}\n"
    model = run(recipe)
    assert isinstance(model, keras.Sequential)
    assert [type(layer).__name__ for layer in model.layers] == ["Rescaling", "Flatten", "Dense", "Dropout", "Dense"]
    assert model.history.history["loss"][-1] < model.history.history["loss"][0]
    assert {"top3", "val_accuracy"} < set(model.history.history)
    assert "Epoch 3/3" in capfd.readouterr().out
    again = keras.models.load_model("out/digits.keras")
    x = np.load("digits.npz")["x"]
    np.testing.assert_array_equal(again.predict(x[:8], verbose=0), model.predict(x[:8], verbose=0))


IMAGES = """
data:
  train:
    image_dataset_from_directory:
      {directory: images, image_size: [8, 8], batch_size: 6, validation_split: 0.25, subset: training, seed: 1}
    cache: true
  validation:
    image_dataset_from_directory:
      {directory: images, image_size: [8, 8], batch_size: 6, validation_split: 0.25, subset: validation, seed: 1}
preprocessing:
  - RandomFlip: {mode: horizontal}
  - Normalization
model:
  layers:
    - Conv2D: {filters: 4, kernel_size: 3, activation: relu}
    - GlobalAveragePooling2D
    - Dense: {units: 2}
compile: {optimizer: {Adam: {learning_rate: 0.05}}, loss: {SparseCategoricalCrossentropy: {from_logits: true}}, metrics: [accuracy]}
fit: {epochs: 4}
"""  # noqa: E501


@exports
def test_a_folder_of_images_with_augmentation_and_normalization(folder):
    recipe_data.images(folder / "images")
    model = run(IMAGES + "export: {path: served, format: saved_model}\n")
    assert model.history.history["val_accuracy"][-1] == 1
    assert 80 < float(model.get_layer(index=1).mean.numpy().mean()) < 160  # of pixels as they are: it was adapted
    assert (folder / "served" / "saved_model.pb").exists()


TEXTS = """
data:
  train:
    text_dataset_from_directory: {directory: texts, batch_size: 4, seed: 1}
    skip: 1
    prefetch: 2
preprocessing:
  - TextVectorization: {max_tokens: 40, output_sequence_length: 5}
model:
  layers:
    - Embedding: {input_dim: 40, output_dim: 4}
    - Bidirectional: {layer: {LSTM: {units: 4}}}
    - Dense: {units: 1, activation: sigmoid}
compile: {optimizer: {Adam: {learning_rate: 0.1}}, loss: binary_crossentropy, metrics: [{AUC: {name: auc}}]}
fit: {epochs: 4}
"""


@exports
def test_texts_whose_words_are_learned_from_the_training_data(keras, folder):
    recipe_data.texts(folder / "texts")
    model = run(TEXTS + "export: {path: texts.keras}\n")
    vocabulary = model.layers[0].get_vocabulary()
    assert {"dull", "bright", "film"} < set(vocabulary)
    assert model.history.history["auc"][-1] == 1
    again = keras.models.load_model("texts.keras")
    good, bad = again(keras.ops.convert_to_tensor([["A bright film"], ["A dull film"]]))[:, 0]
    assert good > 0.5 > bad


PEOPLE = """
data:
  train:
    make_csv_dataset: {file_pattern: people.csv, batch_size: 16, label_name: label}
preprocessing:
  age: [Normalization]
  group: [{StringLookup: {output_mode: one_hot}}]
  income: [Normalization, {Discretization: {num_bins: 4, output_mode: one_hot}}]
model:
  layers:
    - Dense: {units: 8, activation: relu}
    - Dense: {units: 1, activation: sigmoid}
compile: {optimizer: {SGD: {learning_rate: 0.1}}, loss: binary_crossentropy, metrics: [accuracy]}
fit: {epochs: 3}
evaluate: train
"""


@of_unknown_length
def test_columns_of_a_csv_are_prepared_one_by_one_and_joined(folder):
    recipe_data.people(folder / "people.csv")
    model = run(PEOPLE)
    joined, lookup = (next(v for v in model.layers if v.name.startswith(n)) for n in ("concatenate", "string_lookup"))
    assert joined.output.shape == (None, 1 + 4 + 4)
    assert set(lookup.get_vocabulary()) == {"[UNK]", "a", "b", "c"}
    assert model.history.history["loss"][-1] < model.history.history["loss"][0]


@of_unknown_length
def test_numbers_of_a_csv_are_normalized_together(folder):
    recipe_data.people(folder / "people.csv")
    rows = np.genfromtxt("people.csv", delimiter=",", skip_header=1, usecols=(2, 0))
    csv = "{file_pattern: people.csv, batch_size: 16, label_name: label, select_columns: [age, income, label]}"
    model = run(f"""
data: {{train: {{make_csv_dataset: {csv}}}}}
preprocessing: [Normalization]
model: {{layers: [{{Dense: {{units: 1}}}}]}}
compile: {{loss: mse}}
""")
    (layer,) = [layer for layer in model.layers if layer.name.startswith("normalization")]
    np.testing.assert_allclose(layer.mean.numpy().ravel(), rows.mean(axis=0), rtol=1e-4)  # by name: age, income


GRAPH = """
data:
  train:
    npz: {file: digits.npz, features: {image: x, measures: measures}, labels: {digit: y, positive: sign}}
    shuffle: {buffer_size: 240, seed: 2}
    batch: 32
preprocessing:
  image: [{Rescaling: {scale: 0.004}}]
  measures: [Normalization]
model:
  functional:
    layers:
      - {Flatten: {}, inputs: image}
      - Dense: {units: 16, activation: relu, name: seen}
      - {Concatenate: {name: both}, inputs: [seen, measures]}
      - {Dense: {units: 10, activation: softmax, name: digit}, inputs: seen}
      - {Dense: {units: 1, activation: sigmoid, name: positive}, inputs: both}
    outputs: [digit, positive]
compile:
  optimizer: adam
  loss: {digit: sparse_categorical_crossentropy, positive: {BinaryCrossentropy: {}}}
  metrics: {digit: [accuracy], positive: AUC}
  loss_weights: {digit: 1.0, positive: 0.5}
fit: {epochs: 2}
evaluate: {data: train, steps: 2}
export: {path: both.weights.h5, format: weights}
"""


@exports
def test_a_graph_with_two_inputs_and_two_outputs(folder):
    recipe_data.digits(folder / "digits.npz")
    model = run(GRAPH)
    assert set(model.input) == {"image", "measures"}
    assert set(model.output) == {"digit", "positive"}
    assert {"digit_accuracy", "positive_loss", "loss"} < set(model.history.history)
    assert (folder / "both.weights.h5").exists()


def test_attention_takes_its_inputs_by_name_and_a_wrapped_cell_its_own(folder):
    recipe_data.digits(folder / "digits.npz")
    model = run("""
data: {train: {npz: {file: digits.npz, features: x, labels: y}, take: 32}}
model:
  functional:
    inputs: {rows: {dtype: float32}}
    layers:
      - {MultiHeadAttention: {num_heads: 2, key_dim: 4, name: look}, inputs: {query: rows, value: rows}}
      - RNN: {cell: [{GRUCell: {units: 4}}, {LSTMCell: {units: 4}}]}
      - Dense: {units: 10}
compile: {loss: {SparseCategoricalCrossentropy: {from_logits: true}}}
""")
    assert model.output_shape == (None, 10)


def test_a_time_series_of_an_array(folder):
    recipe_data.digits(folder / "digits.npz")
    npz = "{npz: {file: digits.npz, features: measures}}"
    model = run(f"""
data:
  train: {{timeseries_dataset_from_array: {{data: {npz}, targets: {npz}, sequence_length: 5, batch_size: 64}}}}
model: {{layers: [{{Input: {{shape: [5, 2], name: series}}}}, {{GRU: {{units: 4}}}}, {{Dense: {{units: 2}}}}]}}
compile: {{loss: mse}}
""")
    assert model.inputs[0].name == "series"


def test_a_dataset_of_keras_by_name_with_sequences_of_any_length(folder, monkeypatch, keras):
    lists = np.empty(6, dtype=object)
    lists[:] = [list(range(1, n + 2)) for n in range(6)]
    half = (lists, np.array([0, 1] * 3))
    monkeypatch.setattr(keras.datasets.imdb, "load_data", lambda num_words=None: (half, half))
    model = run("""
data:
  train: {"datasets.imdb": {num_words: 20}, pad_sequences: {maxlen: 4}}
  test: {"datasets.imdb": {num_words: 20}, pad_sequences: {maxlen: 4}}
model: {layers: [{Embedding: {input_dim: 20, output_dim: 2}}, Flatten, {Dense: {units: 1, activation: sigmoid}}]}
compile: {loss: binary_crossentropy}
evaluate: test
""")
    assert model.input_shape == (None, 4)


@exports
def test_only_the_leaders_export_stays(folder):
    recipe_data.digits(folder / "digits.npz")
    run(DIGITS + "export: {path: out/digits.keras}\n", is_leader=False)
    assert not (folder / "out").exists()


# The same program in Python, line by line.


def digits_in_python(keras):
    layers = keras.layers
    data = np.load("digits.npz")
    model = keras.Sequential(
        [
            keras.Input((10, 8), dtype="uint8"),
            layers.Rescaling(1 / 255),
            layers.Flatten(),
            layers.Dense(
                16,
                activation="relu",
                kernel_initializer=keras.initializers.HeNormal(),
                kernel_regularizer=keras.regularizers.L2(0.001),
            ),
            layers.Dropout(0.1),
            layers.Dense(10, activation="softmax"),
        ]
    )
    rate = keras.optimizers.schedules.ExponentialDecay(0.01, decay_steps=100, decay_rate=0.9)
    top3 = keras.metrics.SparseTopKCategoricalAccuracy(k=3, name="top3")
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy", top3])
    model.fit(
        data["x"][:200],
        data["y"][:200],
        epochs=3,
        batch_size=32,
        validation_split=0.2,
        class_weight={0: 2.0} | dict.fromkeys(range(1, 10), 1.0),
        callbacks=[
            keras.callbacks.TerminateOnNaN(),
            keras.callbacks.EarlyStopping(patience=2, restore_best_weights=True),
        ],
        verbose=0,
    )
    return model


def images_in_python(keras):
    layers = keras.layers
    load = functools.partial(
        keras.utils.image_dataset_from_directory,
        "images",
        image_size=(8, 8),
        batch_size=6,
        validation_split=0.25,
        seed=1,
    )
    train, validation = load(subset="training").cache(), load(subset="validation")
    flip, normalization = layers.RandomFlip("horizontal"), layers.Normalization()
    normalization.adapt(train.map(lambda x, y: x))
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            flip,
            normalization,
            layers.Conv2D(4, 3, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(2),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.05), loss, metrics=["accuracy"])
    model.fit(train, epochs=4, validation_data=validation, shuffle=False, verbose=0)
    return model


def people_in_python(keras):
    import tensorflow as tf

    layers = keras.layers
    train = tf.data.experimental.make_csv_dataset("people.csv", 16, label_name="label", num_epochs=1)
    train = train.map(lambda x, y: ({name: x[name] for name in x}, y))
    column = lambda name: train.map(lambda x, y: x[name][:, None])  # noqa: E731
    age, group, income = layers.Normalization(), layers.StringLookup(output_mode="one_hot"), layers.Normalization()
    age.adapt(column("age"))
    group.adapt(column("group"))
    income.adapt(column("income"))
    bins = layers.Discretization(num_bins=4, output_mode="one_hot")
    bins.adapt(column("income").map(income))
    dtypes = {"age": "int32", "group": "string", "income": "float32"}
    inputs = {name: keras.Input((1,), name=name, dtype=dtype) for name, dtype in dtypes.items()}
    joined = layers.Concatenate()([age(inputs["age"]), group(inputs["group"]), bins(income(inputs["income"]))])
    hidden = layers.Dense(8, activation="relu")(joined)
    model = keras.Model(inputs, layers.Dense(1, activation="sigmoid")(hidden))
    model.compile(keras.optimizers.SGD(0.1), "binary_crossentropy", metrics=["accuracy"])
    model.fit(train, epochs=3, shuffle=False, verbose=0)
    return model


@of_unknown_length
@pytest.mark.parametrize(
    ("recipe", "program", "data", "name"),
    [
        (DIGITS, digits_in_python, recipe_data.digits, "digits.npz"),
        (IMAGES, images_in_python, recipe_data.images, "images"),
        (PEOPLE.replace("evaluate: train", ""), people_in_python, recipe_data.people, "people.csv"),
    ],
)
def test_a_recipe_is_the_same_program_in_python_bit_for_bit(keras, folder, recipe, program, data, name):
    data(folder / name)
    ours = run(recipe, seed=11)
    keras.utils.set_random_seed(11)
    theirs = program(keras)
    assert ours.history.history == theirs.history.history
    for one, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_order_of_keys_means_nothing(folder):
    """The API server sorts them."""
    recipe_data.digits(folder / "digits.npz")
    recipe = yaml.safe_load(GRAPH)
    del recipe["export"]
    ordered = yaml.safe_dump(recipe, sort_keys=True)
    reverse = yaml.safe_dump(json.loads(json.dumps(recipe, sort_keys=True), object_pairs_hook=lambda p: dict(p[::-1])))
    one, other = run(ordered), run(reverse)
    assert one.history.history == other.history.history


# What is refused.

ONE = "data: {train: {npz: {file: digits.npz, features: x, labels: y}}}\n"
LAYERS = "model: {layers: [{Dense: {units: 1}}]}\n"
LOSS = "compile: {loss: mse}\n"


def test_every_fault_of_every_section_is_said_at_once_with_the_nearest_right_name():
    assert faults("""
dta: {}
data:
  train: {image_dataset_from_directory: {dirctory: x, batch_size: null}, batch: 3}
  validation: {"datasets.mnits": {}}
  test: {npz: {files: x, features: 3}, shuffle: 10}
preprocessing: [Rescale, {Resizing: {height: 8}}]
model:
  layers:
    - Flatten
    - Dense: {unit: 10, activation: rele}
    - Lstm: {units: 3}
    - Conv2D: {filters: 3, kernel_size: 3, kernel_initializer: {HeNormall: {}}, bias_regularizer: L22}
compile: {optimizer: {Adam: {learning_rte: 0.1}}, loss: mean_square_error, metrics: [acuracy, {AUC: {nam: a}}], jit: true}
fit: {epoch: 3, x: 1, class_weight: {cat: 1}}
callbacks: [EarlyStoping, {ModelCheckpoint: {filepat: x}}]
evaluate: {data: test, batchsize: 3}
""") == [  # noqa: E501
        ".dta: unknown section; did you mean 'data'?",
        ".data.train.image_dataset_from_directory.dirctory: image_dataset_from_directory has no argument 'dirctory';"
        " did you mean 'directory'?",
        ".data.train.image_dataset_from_directory.directory: image_dataset_from_directory requires it, but it is not"
        " given",
        ".data.train.image_dataset_from_directory.batch_size: expected a number: training needs batches, got null",
        ".data.train.batch: the loader makes batches itself; give it batch_size",
        ".data.validation.datasets.mnits: keras.datasets has no 'mnits'; did you mean 'mnist'?",
        ".data.test.npz.files: npz has no argument 'files'; did you mean 'file'?",
        ".data.test.npz.file: npz requires it, but it is not given",
        ".data.test.npz.features: expected the name of an array of the file, a list of them, or a mapping of"
        " feature or output names to them; got 3",
        ".data.test.shuffle: of arrays it needs batch beside it, which makes a tf.data.Dataset of them; without both,"
        " fit's batch_size and shuffle do it",
        ".preprocessing[0]: Keras has no layer 'Rescale'; did you mean 'Rescaling'?",
        ".preprocessing[1].Resizing.width: Resizing requires it, but it is not given",
        ".model.layers[1].Dense.unit: Dense has no argument 'unit'; did you mean 'units'?",
        ".model.layers[1].Dense.units: Dense requires it, but it is not given",
        ".model.layers[1].Dense.activation: Keras has no activation 'rele'; did you mean 'relu'?",
        ".model.layers[2]: Keras has no layer 'Lstm'; did you mean 'LSTM'?",
        ".model.layers[3].Conv2D.kernel_initializer: Keras has no initializer 'HeNormall'; did you mean 'HeNormal'?",
        ".model.layers[3].Conv2D.bias_regularizer: Keras has no regularizer 'L22'; did you mean 'L2'?",
        ".compile.jit: compile has no argument 'jit'; did you mean 'jit_compile'?",
        ".compile.optimizer.Adam.learning_rte: Adam has no argument 'learning_rte'; did you mean 'learning_rate'?",
        ".compile.loss: Keras has no loss 'mean_square_error'; did you mean 'mean_squared_error'?",
        ".compile.metrics[0]: Keras has no metric 'acuracy'; did you mean 'accuracy'?",
        ".compile.metrics[1].AUC.nam: AUC has no argument 'nam'; did you mean 'name'?",
        ".fit.x: comes from data.train, not from here",
        ".fit.epoch: fit has no argument 'epoch'; did you mean 'epochs'?",
        ".fit.class_weight: expected a mapping of class numbers to weights, got {'cat': 1}",
        ".callbacks[0]: Keras has no callback 'EarlyStoping'; did you mean 'EarlyStopping'?",
        ".callbacks[1].ModelCheckpoint.filepat: ModelCheckpoint has no argument 'filepat'; did you mean 'filepath'?",
        ".callbacks[1].ModelCheckpoint.filepath: ModelCheckpoint requires it, but it is not given",
        ".evaluate.batchsize: evaluate has no argument 'batchsize'; did you mean 'batch_size'?",
    ]


@pytest.mark.parametrize(
    ("recipe", "fault"),
    [
        (
            ONE + LOSS + "model: {functional: {layers: [{Dense: {units: 1, name: a}}, {Add: {}, inputs: [a, b]}]}}",
            ".model.functional.layers[1].inputs: there is no 'b' before it; known here: features, a",
        ),
        (
            ONE + LOSS + "model: {functional: {layers: [{Dense: {units: 1, name: a}}, {Dense: {units: 1, name: a}}]}}",
            ".model.functional.layers[1]: the name 'a' is given twice",
        ),
        (
            ONE + LOSS + "model: {functional: {layers: [{Dense: {units: 1, name: last}}], outputs: [lst]}}",
            ".model.functional.outputs[0]: no layer has the name 'lst'; did you mean 'last'?",
        ),
        (
            ONE + LOSS + "model: {functional: {layers: [{Attention: {}, inputs: {qery: features}}]}}",
            ".model.functional.layers[0].inputs.qery: the layer's call has no argument 'qery'; known here: inputs",
        ),
        (
            ONE + LOSS + "model: {functional: {inputs: {a: {shap: [1]}}, layers: [Flatten]}}",
            ".model.functional.inputs.a.shap: Input has no argument 'shap'; did you mean 'shape'?",
        ),
        (
            ONE.replace("features: x", "features: [x, measures]") + LOSS + "model: {functional: {layers: [Flatten]}}",
            ".model.functional.layers[0].inputs: required: there are several inputs, measures, x",
        ),
        (
            ONE + LOSS + LAYERS + "preprocessing: {x: [Normalization]}",
            ".preprocessing.x: the features of data.train are",
        ),
        (
            ONE.replace("features: x", "features: [x, measures]")
            + LOSS
            + LAYERS
            + "preprocessing: {measure: [Normalization]}",
            ".preprocessing.measure: data.train has no such feature; did you mean 'measures'?",
        ),
        (ONE + LAYERS + "compile: {}", ".compile.loss: required, but not given"),
        (ONE + LAYERS + "compile: {loss: {a: mse, b: mse}}", ".compile.loss: expected a Keras loss as `Name`"),
        (
            ONE + LAYERS + "compile: {loss: mse, metrics: mae}",
            ".compile.metrics: expected a list of metrics, got 'mae'",
        ),
        (
            ONE + LAYERS + "compile: {loss: mse, loss_weights: {a: 1}}",
            ".compile.loss_weights.a: the model has one output",
        ),
        (ONE + LAYERS + "compile: {loss: {mse: {axis: 1}}}", ".compile.loss: mse takes no arguments: write it as text"),
        (
            ONE + LOSS + "model: {layers: [Flatten, {Input: {shape: [3]}}]}",
            ".model.layers[1]: Input cannot be used in a",
        ),
        (
            LAYERS + LOSS + "data: {train: {make_csv_dataset: {file_pattern: x, batch_size: 2, num_epochs: null}}}",
            ".data.train.make_csv_dataset.num_epochs: without end, training would never reach the end of an epoch",
        ),
        (
            LAYERS + LOSS + "data: {train: {image_dataset_from_directory: {directory: x, subset: both}}}",
            ".data.train.image_dataset_from_directory.subset: expected training, in data.train, or validation",
        ),
        (
            LAYERS + LOSS + ONE.replace("}}}", "}, take: many}}"),
            ".data.train.take: expected a whole number, got 'many'",
        ),
        (
            LAYERS
            + LOSS
            + "data: {train: {timeseries_dataset_from_array: {data: [1], targets: null, sequence_length: 2}}}",
            ".data.train.timeseries_dataset_from_array.data: expected the array of a file as {npz: {file: …, features",
        ),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_made(recipe, fault):
    found = faults(recipe)
    assert any(one.startswith(fault) for one in found), found


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        (ONE.replace("digits", "none") + LAYERS + LOSS, ".data.train.npz: [Errno 2] No such file or directory"),
        (
            ONE.replace("features: x", "features: xs") + LAYERS + LOSS,
            ".data.train.npz.features: the file has no array 'xs'; did you mean 'x'?",
        ),
        (ONE + LOSS + "model: {layers: [{Dense: {units: -1}}]}", ".model.layers[0].Dense: Received an invalid value"),
        (
            ONE + LOSS + "model: {layers: [Flatten, {Conv2D: {filters: 1, kernel_size: 3}}]}",
            ".model.layers[1].Conv2D: Input 0 with name",
        ),
        (
            ONE.replace("features: x", "features: [x, measures]")
            + LOSS + "model: {functional: {layers: [{Flatten: {}, inputs: x}]}}",
            ".model.functional: no layer takes the input 'measures'; the data should not have it",
        ),
        (
            ONE + "compile: {loss: {a: mse, b: mse}}\nmodel: {functional: {layers: [{Dense: {units: 1, name: a}},"
            " {Dense: {units: 1, name: b}}], outputs: [a, b]}}",
            ".data.train: the model has the outputs a, b, so labels by these names are needed (npz: labels as a"
            " mapping); the data have one, without a name",
        ),
        (
            "data: {train: {make_csv_dataset: {file_pattern: people.csv, batch_size: 8, label_name: label}}}\n"
            + LAYERS + LOSS,
            ".preprocessing: the features age, group, income are to be one tensor, but group is text; give",
        ),
        (
            ONE.replace("features: x", "features: [x, measures]")
            + LOSS + "model: {layers: [{Input: {shape: [3]}}, {Dense: {units: 1}}]}",
            ".model.layers[0].Input: the data have several features, measures, x",
        ),
        (
            "data: {train: {make_csv_dataset: {file_pattern: people.csv, batch_size: 8, label_name: label}}}\n"
            "preprocessing: {agee: [Normalization]}\n" + LAYERS + LOSS,
            ".preprocessing.agee: data.train has no such feature; did you mean 'age'?",
        ),
    ],
)  # fmt: skip
def test_what_keras_or_the_data_refuse_is_said_with_the_part_of_the_recipe(folder, recipe, words):
    recipe_data.digits(folder / "digits.npz")
    recipe_data.people(folder / "people.csv")
    assert refused(recipe).startswith(words)


# What we show is right.


@pytest.mark.parametrize("name", ["recipe_mnist", "recipe_images"])
def test_an_example_is_right(name):
    job = yaml.safe_load((ROOT / "examples" / name / "kerasjob.yaml").read_text())
    assert faults(yaml.safe_dump(job["spec"]["program"]["recipe"])) == []


def test_every_block_of_the_page_is_right():
    page = (ROOT / "docs/recipe.md").read_text()
    blocks = [yaml.safe_load(block) for block in re.findall(r"^```yaml\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)]
    assert len(blocks) > 15
    base = yaml.safe_load(ONE + LAYERS + LOSS)
    for block in blocks:
        recipe = block["spec"]["program"]["recipe"] if "spec" in block else {**base, **block}
        assert faults(yaml.safe_dump(recipe)) == [], block


# Nothing of a recipe is executed.

SIGN = "open('executed', 'w').close()"
EVIL = {"module": "os", "class_name": "system", "config": {"command": "touch executed"}, "registered_name": "os>system"}
MARSHALLED = {"class_name": "__lambda__", "config": {"value": ["4wAAAA==", None, None]}}


@pytest.mark.parametrize(
    "evil", [EVIL, MARSHALLED, "os.system", f"lambda: {SIGN}", f"__import__('os') or {SIGN}", "os"]
)
@pytest.mark.parametrize(
    "place",
    [
        ("model", "layers", 0),
        ("model", "layers", 0, "Dense", "activation"),
        ("model", "layers", 0, "Dense", "kernel_initializer"),
        ("model", "layers", 0, "Dense", "kernel_regularizer"),
        ("model", "layers", 0, "Dense", "bias_constraint"),
        ("model", "layers", 1, "TimeDistributed", "layer"),
        ("preprocessing", 0),
        ("compile", "optimizer"),
        ("compile", "loss"),
        ("compile", "metrics", 0),
        ("callbacks", 0),
    ],
)
def test_no_code_and_no_dotted_name_is_looked_at_anywhere(folder, evil, place):
    recipe = yaml.safe_load(f"""
data: {{train: {{npz: {{file: digits.npz, features: measures, labels: y}}}}}}
preprocessing: [Flatten]
model: {{layers: [{{Dense: {{units: 1}}}}, {{TimeDistributed: {{layer: {{Dense: {{units: 1}}}}}}}}]}}
{LOSS}
""")
    recipe |= {"callbacks": ["TerminateOnNaN"]}
    recipe["compile"]["metrics"] = ["mae"]
    *way, last = place
    functools.reduce(lambda value, key: value[key], way, recipe)[last] = evil
    found = faults(yaml.safe_dump(recipe))
    assert any(fault.startswith("".join(f"[{k}]" if isinstance(k, int) else f".{k}" for k in place)) for fault in found)
    assert refused(yaml.safe_dump(recipe))
    assert not (folder / "executed").exists()


@pytest.mark.parametrize("value", [EVIL, MARSHALLED, [EVIL]])
@pytest.mark.parametrize("argument", ["units", "dtype", "name", "quantization_config", "use_bias"])
def test_a_mapping_is_never_handed_to_keras_as_data(value, argument):
    """Keras would take it for the configuration of an object, and find the class itself."""
    recipe = yaml.safe_load(ONE + LAYERS + LOSS)
    recipe["model"]["layers"][0]["Dense"][argument] = value
    assert any(f".model.layers[0].Dense.{argument}" in fault for fault in faults(yaml.safe_dump(recipe)))


@pytest.mark.parametrize(
    ("section", "name", "words"),
    [
        ("layers", "Lambda: {function: 'lambda x: x'}", "it runs Python code; write the program as script, module or"),
        ("layers", "TFSMLayer: {filepath: x}", "it runs a program from a file"),
        ("layers", "TorchModuleWrapper: {module: x}", "it takes Python"),
        ("layers", "Layer", "Keras has no layer 'Layer'"),
        ("layers", "deserialize: {config: {}}", "Keras has no layer 'deserialize'"),
        ("layers", "InputSpec", "Keras has no layer 'InputSpec'"),
        ("callbacks", "LambdaCallback: {on_epoch_end: print}", "it runs Python code"),
        ("callbacks", "LearningRateScheduler: {schedule: x}", "give the optimizer a schedule as its learning_rate"),
        ("callbacks", "Callback", "Keras has no callback 'Callback'"),
        ("metrics", "MeanMetricWrapper: {fn: x}", "it takes Python"),
        ("metrics", "deserialize", "Keras has no metric 'deserialize'"),
    ],
)
def test_what_runs_code_is_no_part_of_a_recipe(section, name, words):
    recipe = yaml.safe_load(ONE + LAYERS + LOSS)
    item = yaml.safe_load(name)
    if section == "layers":
        recipe["model"]["layers"] = [item]
    elif section == "metrics":
        recipe["compile"]["metrics"] = [item]
    else:
        recipe["callbacks"] = [item]
    (fault,) = faults(yaml.safe_dump(recipe))
    assert words in fault


def test_an_array_of_objects_is_not_unpickled(folder):
    class Evil:
        def __reduce__(self):
            return exec, (SIGN,)

    np.savez("evil.npz", x=np.array([Evil()], dtype=object), y=np.zeros(1))
    assert "Object arrays cannot be loaded when allow_pickle=False" in refused(
        ONE.replace("digits", "evil") + LAYERS + LOSS
    )
    assert not (folder / "executed").exists()


WORDS = ["train", "npz", "features", "take", "Dense", "Input", "layer", "inputs", "Adam", "name", "mse", "a", ""]
DATA = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=3),
    max_leaves=8,
)
WHOLE = [
    yaml.safe_load(text) for text in (DIGITS, IMAGES, TEXTS, PEOPLE, GRAPH, ONE + LAYERS + LOSS + "export: {path: a}")
]


def places(value, way=()):
    """The ways to all parts of a value."""
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield (*way, key)
        yield from places(item, (*way, key))


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(changed=st.sampled_from([(i, way) for i, recipe in enumerate(WHOLE) for way in places(recipe)]), value=DATA)
def test_whatever_is_given_in_any_place_is_judged(changed, value):
    from kerasjob_trainer.recipe.running import read

    index, (*way, last) = changed
    recipe = copy.deepcopy(WHOLE[index])
    functools.reduce(lambda part, key: part[key], way, recipe)[last] = value
    assert all(isinstance(fault, str) for fault in read(recipe)[1])


# With agents.


@of_unknown_length
def test_two_workers_give_the_losses_of_one_process_and_go_on_after_a_loss(job, folder):
    people = recipe_data.people(folder / "people.csv")
    recipe = yaml.safe_load(PEOPLE.replace("people.csv", str(people)).replace("epochs: 3", "epochs: 40"))
    recipe["export"] = {"path": "out/people.keras"}
    made = job(program={"recipe": recipe})
    workers = made.start_all()
    made.form()
    workers[0].wait_for(lambda report: report.get("checkpoint"), "a checkpoint")
    os.kill(*workers[1].trainer_pids(), signal.SIGKILL)
    for worker in workers:
        worker.wait_for_state("lost")
    made.form()
    done = made.finish()
    one = run(yaml.safe_dump({k: v for k, v in recipe.items() if k != "export"}), seed=made.seed)
    (two,) = histories(done)
    assert "fit call 1 goes on: epoch" in (workers[0].folder / "log").read_text()
    assert two["loss"] == pytest.approx(one.history.history["loss"], rel=1e-5)
    assert two["accuracy"] == one.history.history["accuracy"]
    exported = [(w.folder / "work" / "program" / "out" / "people.keras").exists() for w in workers]
    assert exported == [True, False]


def test_a_recipe_that_keras_refuses_ends_the_worker_as_a_bad_program(job):
    made = job(program={"recipe": yaml.safe_load(ONE + LOSS + "model: {layers: [{Dense: {unit: 1}}]}")}, workers=1)
    (worker,) = made.start_all()
    made.form()
    assert worker.wait_for_end() == 11
    record = worker.record()
    assert record["reason"] == "BadProgram"
    assert f"{AT}.model.layers[0].Dense.unit: Dense has no argument 'unit'; did you mean 'units'?" in record["message"]
