"""Where the data comes from: arrays, tf.data, generators, folders, files."""

import csv

import keras
import numpy as np
import tensorflow as tf
from tests.fidelity.programs import BATCH, data, dense, images, result
from tests.fidelity.table import feature


def _fit(dataset, epochs=2, model=None, **options):
    model = model or dense(keras)
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return result(model, model.fit(dataset, epochs=epochs, verbose=0, **options))


def _slices(**options):
    return tf.data.Dataset.from_tensor_slices(data(**options))


@feature("tf.data with a seeded shuffle")
def tf_data_seeded(_):
    return _fit(_slices().shuffle(16, seed=3).batch(BATCH), epochs=3, validation_data=_slices(seed=9).batch(5))


@feature("tf.data with an unseeded shuffle, two fits")
def tf_data_unseeded(_):
    dataset = _slices().shuffle(29).map(lambda x, y: (x * 0.5, y)).batch(BATCH).prefetch(2)
    model = dense(keras)
    first = _fit(dataset, epochs=2, model=model)
    return {f"first {name}": value for name, value in first.items()} | _fit(dataset, model=model)


@feature("tf.data with drop_remainder, cache, and a map over batches")
def tf_data_batches(_):
    dataset = _slices().cache().shuffle(16, seed=2, reshuffle_each_iteration=False).batch(BATCH, drop_remainder=True)
    return _fit(dataset.map(lambda x, y: (x - tf.reduce_mean(x, axis=0), y)))


@feature("tf.data with random augmentation in its map")
def tf_data_random_map(_):
    return _fit(_slices().map(lambda x, y: (x + tf.random.normal(tf.shape(x), dtype=x.dtype), y)).batch(BATCH))


@feature("dictionaries, ragged and sparse tensors")
def structured(_):
    x, y = data()
    ragged = tf.ragged.constant([[1.0 * j for j in range(i % 4 + 1)] for i in range(len(x))], dtype="float64")
    rows = tf.data.Dataset.from_tensor_slices(({"plain": x, "ragged": ragged}, y)).batch(BATCH)
    dataset = rows.map(lambda a, b: ({"plain": a["plain"], "sum": tf.reduce_sum(a["ragged"], axis=1)[:, None]}, b))
    inputs = {"plain": keras.Input((6,), name="plain"), "sum": keras.Input((1,), name="sum")}
    hidden = keras.layers.Concatenate()([inputs["plain"], inputs["sum"]])
    return _fit(dataset, model=keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(hidden)))


@feature("batches of sparse tensors into the model")
def sparse_batches(_):
    x, y = data()
    dataset = tf.data.Dataset.from_tensor_slices((tf.sparse.from_dense(np.where(x > 0, x, 0.0)), y)).batch(BATCH)
    inputs = keras.Input((6,), sparse=True)
    return _fit(dataset, model=keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(inputs)))


@feature("predict that gives ragged tensors")
def ragged_predict(_):
    class Repeated(keras.Model):
        def call(self, inputs):
            lengths = tf.cast(inputs[:, 0] > 0, "int64") * 3 + 1
            return tf.RaggedTensor.from_row_lengths(tf.repeat(inputs[:, 1], lengths), lengths)

    x, _ = data()
    model = Repeated()
    model.compile()
    predicted = model.predict(x, batch_size=BATCH, verbose=0)
    return {"values": predicted.values.numpy(), "lengths": predicted.row_lengths().numpy()}


def _fit_unknown_length(**options):
    model = dense(keras, keras.layers.Dropout(0.2))
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"], **options)
    dataset = _slices().shuffle(29).filter(lambda x, y: x[0] > -1.0).batch(BATCH)
    history = model.fit(dataset, epochs=3, verbose=0, validation_data=dataset.take(2))
    return result(model, history)


@feature("a length that is not known, three epochs")
def unknown_length(_):
    return _fit_unknown_length()


@feature("a length that is not known, three steps per execution")
def unknown_length_several_steps(_):
    return _fit_unknown_length(steps_per_execution=3)


@feature("a PyDataset")
def py_dataset(_):
    class Batches(keras.utils.PyDataset):
        def __init__(self):
            super().__init__()
            self.x, self.y = data()
            self.order = np.arange(len(self.x))

        def __len__(self):
            return 4

        def __getitem__(self, index):
            rows = self.order[index * BATCH : (index + 1) * BATCH]
            return self.x[rows], self.y[rows]

        def on_epoch_end(self):
            np.random.shuffle(self.order)

    return _fit(Batches(), epochs=3)


@feature("a Python generator with steps_per_epoch")
def generator(_):
    def batches():
        x, y = data()
        while True:
            rows = np.random.permutation(len(x))[:BATCH]
            yield x[rows], y[rows]

    return _fit(batches(), steps_per_epoch=4)


@feature("a Python generator that ends, with sample weights")
def finite_generator(_):
    def batches():
        x, y = data()
        for i in range(0, len(x), BATCH):
            yield x[i : i + BATCH], y[i : i + BATCH], np.linspace(0.5, 1.5, len(x))[i : i + BATCH]

    return _fit(batches(), epochs=1)


def _folder(shared):
    """Two classes of small PNG files; rank 0 is not known here, so every worker writes a folder of its own."""
    from pathlib import Path

    root = Path("pictures")
    x, y = images(size=8)
    for number, (pixels, label) in enumerate(zip(x, y)):
        folder = root / ("one", "two")[label]
        folder.mkdir(parents=True, exist_ok=True)
        encoded = tf.io.encode_png(np.clip(pixels * 40 + 128, 0, 255).astype("uint8"))
        (folder / f"{number:03}.png").write_bytes(encoded.numpy())
    return root


def _pictures(*layers):
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            *layers,
            keras.layers.Conv2D(3, 3, activation="tanh"),
            keras.layers.Flatten(),
            keras.layers.Dense(2, activation="softmax"),
        ]
    )


@feature("image_dataset_from_directory, training and validation subsets, Rescaling and CenterCrop")
def image_folder(shared):
    options = {
        "image_size": (10, 10),
        "color_mode": "grayscale",
        "batch_size": BATCH,
        "validation_split": 0.3,
        "seed": 4,
    }
    root = _folder(shared)
    training = keras.utils.image_dataset_from_directory(root, subset="training", verbose=False, **options)
    validation = keras.utils.image_dataset_from_directory(root, subset="validation", verbose=False, **options)
    model = _pictures()
    crop = keras.Sequential([keras.layers.CenterCrop(8, 8), keras.layers.Rescaling(1 / 255)])
    found = _fit(
        training.map(lambda x, y: (crop(x), y)).prefetch(2),
        model=model,
        validation_data=validation.map(lambda x, y: (crop(x), y)),
    )
    return found | {"classes": ",".join(training.class_names)}


@feature("ImageDataGenerator with augmentation, flow_from_directory", float64=None, note="it makes float32 images")
def image_data_generator(shared):
    flow = tf.keras.preprocessing.image.ImageDataGenerator(
        rescale=1 / 255, rotation_range=20, horizontal_flip=True, width_shift_range=0.1
    ).flow_from_directory(
        str(_folder(shared)), target_size=(8, 8), color_mode="grayscale", batch_size=BATCH, class_mode="sparse", seed=3
    )
    return _fit(flow, model=_pictures())


@feature("make_csv_dataset", float64=None, note="it makes float32 columns")
def csv_file(_):
    x, y = data()
    with open("rows.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*"abcdef", "label"])
        writer.writerows([*map("{:.6f}".format, row), label] for row, label in zip(x, y))
    dataset = tf.data.experimental.make_csv_dataset(
        "rows.csv", BATCH, label_name="label", num_epochs=1, shuffle_seed=5, shuffle_buffer_size=20
    )
    stacked = dataset.map(lambda columns, label: (tf.stack(list(columns.values()), axis=1), label))
    return _fit(stacked)


@feature("text_dataset_from_directory and TextVectorization.adapt")
def text_folder(_):
    from pathlib import Path

    rng = np.random.default_rng(5)
    words = [["good", "fine", "great", "happy"], ["bad", "poor", "awful", "sad"]]
    for number in range(29):
        label = number % 2
        folder = Path("texts") / ("yes", "no")[label]
        folder.mkdir(parents=True, exist_ok=True)
        text = " ".join(rng.choice(words[label] + ["the", "a", "film"], 6))
        (folder / f"{number:03}.txt").write_text(text)
    dataset = keras.utils.text_dataset_from_directory("texts", batch_size=BATCH, seed=2, verbose=False)
    vectorize = keras.layers.TextVectorization(max_tokens=12, output_sequence_length=5)
    vectorize.adapt(dataset.map(lambda text, _: text))
    model = keras.Sequential(
        [
            keras.Input((5,), dtype="int64"),
            keras.layers.Embedding(12, 4, mask_zero=True),
            keras.layers.GlobalAveragePooling1D(),
            keras.layers.Dense(2, activation="softmax"),
        ]
    )
    found = _fit(dataset.map(lambda text, label: (vectorize(text), label)), model=model)
    return found | {"vocabulary": ",".join(vectorize.get_vocabulary())}


@feature("a TFRecord file")
def tf_record(_):
    x, y = data()
    with tf.io.TFRecordWriter("rows.tfrecord") as writer:
        for row, label in zip(x, y):
            writer.write(tf.io.serialize_tensor(np.append(row, label)).numpy())

    def parse(record):
        row = tf.ensure_shape(tf.io.parse_tensor(record, tf.float64), (7,))
        return row[:6], tf.cast(row[6], tf.int64)

    return _fit(tf.data.TFRecordDataset("rows.tfrecord").map(parse).shuffle(10, seed=1).batch(BATCH))


@feature("timeseries_dataset_from_array")
def timeseries(_):
    x, y = data(rows=40)
    dataset = keras.utils.timeseries_dataset_from_array(x, y[3:], sequence_length=3, batch_size=BATCH, shuffle=True)
    model = keras.Sequential([keras.Input((3, 6)), keras.layers.LSTM(4), keras.layers.Dense(3, activation="softmax")])
    return _fit(dataset, model=model)
