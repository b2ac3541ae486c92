"""Pipelines that read this worker's rows alone give what reading all rows gives, and read nothing else."""

import csv
from pathlib import Path

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")

from keras.src.trainers.data_adapters.array_data_adapter import ArrayDataAdapter  # noqa: E402

from kerasjob_trainer.global_batch import views  # noqa: E402
from kerasjob_trainer.global_batch.rows import bounds  # noqa: E402

ROWS = 29


def numbers():
    return np.arange(ROWS * 3, dtype="float32").reshape(ROWS, 3), np.arange(ROWS)


def slices():
    return tf.data.Dataset.from_tensor_slices(numbers())


def doubled(x, y):
    return x * 2, y


def arrays():
    return ArrayDataAdapter(*numbers(), batch_size=8, shuffle=True).get_tf_dataset()


def pictures(folder):
    for number in range(ROWS):
        target = folder / "pictures" / ("one", "two")[number % 2]
        target.mkdir(parents=True, exist_ok=True)
        pixels = np.full((6, 6, 1), number * 8, "uint8")
        (target / f"{number:02}.png").write_bytes(tf.io.encode_png(pixels).numpy())
    return folder / "pictures"


def image_folder(folder):
    return keras.utils.image_dataset_from_directory(
        pictures(folder), image_size=(8, 8), color_mode="grayscale", batch_size=8, seed=3, verbose=False
    )


def prepared_images(folder):
    prepare = keras.Sequential([keras.layers.CenterCrop(4, 4), keras.layers.Rescaling(1 / 255)])
    return image_folder(folder).map(lambda x, y: (prepare(x), tf.one_hot(y, 2))).prefetch(2)


def table(folder):
    with (folder / "rows.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["a", "b", "label"])
        writer.writerows([f"{i}.25", i * 0.5, i % 2] for i in range(ROWS))
    made = tf.data.experimental.make_csv_dataset(
        str(folder / "rows.csv"), 8, label_name="label", num_epochs=1, shuffle_seed=2, shuffle_buffer_size=10
    )
    return made.map(lambda row, label: (tf.stack(list(row.values()), axis=1), label))


def records(folder):
    with tf.io.TFRecordWriter(str(folder / "rows.tfrecord")) as writer:
        for number in range(ROWS):
            writer.write(tf.io.serialize_tensor(tf.fill([3], float(number))).numpy())
    parse = tf.io.parse_tensor
    dataset = tf.data.TFRecordDataset(str(folder / "rows.tfrecord")).shuffle(10, seed=4)
    return dataset.map(lambda record: tf.ensure_shape(parse(record, tf.float32), [3])).batch(8)


VIEWED = {
    "arrays, shuffled": lambda _: arrays(),
    "arrays that batches divide": lambda _: ArrayDataAdapter(
        *(part[:24] for part in numbers()), batch_size=8, shuffle=True
    ).get_tf_dataset(),
    "a map of rows after batches of one size": lambda _: (
        slices().batch(8, drop_remainder=True).map(lambda x, y: {"x": tf.cast(x, tf.float64) * 2, "y": y})
    ),
    "a map before the batch": lambda _: slices().map(doubled).batch(8),
    "a seeded shuffle before the map": lambda _: slices().shuffle(9, seed=5).map(doubled).batch(8),
    "an unseeded shuffle": lambda _: slices().shuffle(29).map(doubled).batch(8).prefetch(1),
    "no reshuffling": lambda _: slices().shuffle(9, reshuffle_each_iteration=False).map(doubled).batch(8),
    "drop_remainder": lambda _: slices().map(doubled).batch(8, drop_remainder=True),
    "take, skip and repeat before the map": lambda _: slices().skip(2).take(13).repeat(2).map(doubled).batch(8),
    "a map of rows after the batch": lambda _: slices().batch(8).map(lambda x, y: (x / 255.0 - 1.0, tf.one_hot(y, 30))),
    "a map of one component": lambda _: tf.data.Dataset.range(ROWS).map(lambda i: {"i": i * 2}).batch(4),
    "take, skip and repeat of batches": lambda _: (
        slices().shuffle(29, seed=2).map(doubled).batch(8).skip(1).repeat(2).take(5).prefetch(1)
    ),
    "an image folder": image_folder,
    "an image folder with layers and one-hot labels": prepared_images,
    "a CSV file": table,
    "a TFRecord file": records,
}
NOT_VIEWED = {
    "a map that mixes rows": (lambda: slices().batch(8).map(lambda x, y: (x - tf.reduce_mean(x, axis=0), y)), "Mean"),
    "a map that reverses": (lambda: slices().batch(8).map(lambda x, y: (x[::-1], y)), "StridedSlice"),
    "a random map of batches": (
        lambda: slices().batch(8).map(lambda x, y: (x + tf.random.normal(tf.shape(x)), y)),
        "RandomStandardNormal",
    ),
    "a random map of rows": (
        lambda: slices().map(lambda x, y: (x + tf.random.normal([3]), y)).batch(8),
        "nothing is computed between",
    ),
    "a shape that varies": (
        lambda: tf.data.Dataset.range(ROWS).map(lambda i: tf.zeros([i % 1 + 1, 2])[: i % 1 + 1]).batch(4),
        "no fixed shape",
    ),
    "a generator": (
        lambda: tf.data.Dataset.from_generator(lambda: iter([[1.0], [2.0]]), output_types=tf.float32),
        "flatmap makes the batches",
    ),
    "a cache of batches": (lambda: slices().map(doubled).batch(8).cache(), "cache makes the batches"),
    "padding": (lambda: tf.data.Dataset.range(5).map(lambda i: tf.range(i)).padded_batch(2), "paddedbatch makes"),
}


def parts(dataset, replicas):
    """The rows of each replica by reading all of them, for one pass."""
    found = []
    for batch in dataset:
        total = tf.shape(tf.nest.flatten(batch)[0])[0].numpy()
        edges = [bounds(int(total), i, replicas) for i in range(replicas)]
        found.append([tf.nest.map_structure(lambda leaf, e=edge: leaf[e[0] : e[1]].numpy(), batch) for edge in edges])
    return found


def same(one, other):
    tf.nest.assert_same_structure(one, other)
    for a, b in zip(tf.nest.flatten(one), tf.nest.flatten(other), strict=True):
        assert np.shape(a) == np.shape(b)
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("replicas", [2, 3, 9])
@pytest.mark.parametrize("name", VIEWED)
def test_a_view_gives_the_rows_that_reading_everything_gives_in_every_pass(name, replicas, tmp_path):
    tf.random.set_seed(3)
    expected_from = VIEWED[name](tmp_path)
    expected = [parts(expected_from, replicas) for _ in range(3)]
    for replica in range(replicas):
        tf.random.set_seed(3)  # unseeded shuffles are made with the seeds that they had
        view = views.view(VIEWED[name](tmp_path), replica, 1, replicas)
        for want in expected:
            got = list(view)
            assert len(got) == len(want)
            for element, batch in zip(got, want, strict=True):
                assert int(element.total) == sum(len(tf.nest.flatten(part)[0]) for part in batch)
                same(element.parts[0], batch[replica])


def test_a_worker_with_two_devices_has_two_parts(tmp_path):
    want = parts(slices().map(doubled).batch(8), 4)
    for element, batch in zip(views.view(slices().map(doubled).batch(8), 2, 2, 4), want, strict=True):
        same(element.parts, tuple(batch[2:]))


@pytest.mark.parametrize("name", NOT_VIEWED)
def test_what_may_mix_rows_or_change_is_read_whole_and_said(name):
    make, why = NOT_VIEWED[name]
    with pytest.raises(views.NoView, match=why):
        views.view(make(), 0, 1, 2)


def test_a_pass_before_the_view_moves_a_shuffle_on_as_it_does_for_one_process(tmp_path):
    def after_a_look(read):
        tf.random.set_seed(3)
        dataset = slices().shuffle(29).map(doubled).batch(8)
        next(iter(dataset))  # as `adapt` or a look at the first batch does
        return read(dataset)

    want = after_a_look(lambda dataset: parts(dataset, 2))
    got = after_a_look(lambda dataset: list(views.view(dataset, 1, 1, 2)))
    for element, batch in zip(got, want, strict=True):
        same(element.parts[0], batch[1])


def test_files_of_other_workers_are_not_decoded(tmp_path):
    dataset = keras.utils.image_dataset_from_directory(
        pictures(tmp_path), image_size=(8, 8), color_mode="grayscale", batch_size=8, shuffle=False, verbose=False
    )
    files = [Path(path) for path in dataset.file_paths]
    for number, path in enumerate(files):
        batch, row = divmod(number, 8)
        start, _ = bounds(min(8, len(files) - 8 * batch), 1, 2)
        if row < start:
            path.write_text("this is no picture")
    assert len(list(views.view(dataset, 1, 1, 2))) == 4
    with pytest.raises(tf.errors.InvalidArgumentError):
        list(dataset)
