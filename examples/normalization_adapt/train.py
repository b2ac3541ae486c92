"""Features that are normalized with a mean and a variance learnt from the training data."""

from pathlib import Path

import keras
import numpy as np

DATA = Path("data/csv")


def load(part):
    table = np.loadtxt(DATA / f"{part}.csv", delimiter=",", skiprows=1, dtype="float32")
    return table[:, :-1], table[:, -1].astype("int64")


(x_train, y_train), (x_test, y_test) = load("train"), load("test")
normalize = keras.layers.Normalization()
normalize.adapt(x_train)
model = keras.Sequential(
    [keras.Input((14,)), normalize, keras.layers.Dense(16, activation="gelu"), keras.layers.Dense(3)]
)
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile(keras.optimizers.SGD(0.1), loss, metrics=["accuracy"])
model.fit(x_train, y_train, batch_size=16, epochs=5, verbose=2)
print("test:", model.evaluate(x_test, y_test, return_dict=True, verbose=0))
