"""Preprocessing layers that run on the data, before the model."""

from pathlib import Path

import keras

DATA = Path("data/images")

prepare = keras.Sequential([keras.layers.CenterCrop(20, 20), keras.layers.Rescaling(1 / 255)])


def load(part, shuffle):
    images = keras.utils.image_dataset_from_directory(
        DATA / part, color_mode="grayscale", image_size=(28, 28), batch_size=16, shuffle=shuffle, seed=3
    )
    return images.map(lambda image, label: (prepare(image), label)).prefetch(2)


model = keras.Sequential(
    [keras.Input((20, 20, 1)), keras.layers.Flatten(), keras.layers.Dense(3, activation="softmax")]
)
model.compile(keras.optimizers.SGD(0.2), "sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(load("train", shuffle=True), epochs=4, verbose=2)
print("test:", model.evaluate(load("test", shuffle=False), return_dict=True, verbose=0))
