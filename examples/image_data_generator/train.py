"""The older way to images: ImageDataGenerator, with augmentation."""

from pathlib import Path

import tensorflow as tf
from tensorflow import keras

DATA = Path("data/images")

augmenting = tf.keras.preprocessing.image.ImageDataGenerator(
    rescale=1 / 255, rotation_range=10, width_shift_range=0.1, zoom_range=0.1
)
plain = tf.keras.preprocessing.image.ImageDataGenerator(rescale=1 / 255)
options = {"target_size": (28, 28), "color_mode": "grayscale", "class_mode": "categorical", "batch_size": 16}
train = augmenting.flow_from_directory(str(DATA / "train"), seed=3, **options)
test = plain.flow_from_directory(str(DATA / "test"), shuffle=False, **options)

model = keras.Sequential(
    [
        keras.Input((28, 28, 1)),
        keras.layers.Conv2D(8, 3, strides=2, activation="gelu"),
        keras.layers.Flatten(),
        keras.layers.Dense(3, activation="softmax"),
    ]
)
model.compile(keras.optimizers.SGD(0.2), "categorical_crossentropy", metrics=["accuracy"])
model.fit(train, epochs=3, verbose=2)
print("test:", model.evaluate(test, return_dict=True, verbose=0))
