"""Columns of a CSV file."""

from pathlib import Path

import keras
import tensorflow as tf

DATA = Path("data/csv")


def columns(part, **options):
    dataset = tf.data.experimental.make_csv_dataset(
        str(DATA / f"{part}.csv"), batch_size=16, label_name="digit", num_epochs=1, **options
    )
    return dataset.map(lambda row, digit: (tf.stack(list(row.values()), axis=1) / 255, digit))


train = columns("train", shuffle_seed=3, shuffle_buffer_size=240)
test = columns("test", shuffle=False)
model = keras.Sequential(
    [keras.Input((14,)), keras.layers.Dense(32, activation="gelu"), keras.layers.Dense(3, activation="softmax")]
)
model.compile(keras.optimizers.SGD(0.5), "sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(train, epochs=5, verbose=2)
print("test:", model.evaluate(test, return_dict=True, verbose=0))
