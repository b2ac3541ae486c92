"""Image classification from scratch: augmentation, and a small network in the manner of Xception."""

from pathlib import Path

import keras
from keras import layers

DATA = Path("data/images")

options = {"color_mode": "grayscale", "image_size": (32, 32), "batch_size": 16, "seed": 3}
train, validation = keras.utils.image_dataset_from_directory(
    DATA / "train", validation_split=0.2, subset="both", label_mode="categorical", **options
)
test = keras.utils.image_dataset_from_directory(DATA / "test", label_mode="categorical", **options)


def network(classes):
    inputs = keras.Input((32, 32, 1))
    x = layers.RandomRotation(0.05)(inputs)
    x = layers.RandomTranslation(0.1, 0.1)(x)
    x = layers.Rescaling(1 / 255)(x)
    x = layers.Conv2D(16, 3, strides=2, padding="same")(x)
    x = layers.BatchNormalization()(x)
    x = layers.Activation("gelu")(x)
    before = x
    for size in (24, 32):
        for _ in range(2):
            x = layers.Activation("gelu")(x)
            x = layers.SeparableConv2D(size, 3, padding="same")(x)
            x = layers.BatchNormalization()(x)
        x = layers.AveragePooling2D(3, strides=2, padding="same")(x)
        before = layers.Conv2D(size, 1, strides=2, padding="same")(before)
        x = before = layers.add([x, before])
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(0.25)(x)
    return keras.Model(inputs, layers.Dense(classes, activation="softmax")(x))


model = network(3)
model.compile(keras.optimizers.SGD(0.05, momentum=0.9), "categorical_crossentropy", metrics=["accuracy"])
model.fit(
    train.prefetch(2),
    epochs=3,
    validation_data=validation,
    callbacks=[keras.callbacks.ModelCheckpoint("models/epoch-{epoch}.keras")],
    verbose=2,
)
print("test:", model.evaluate(test, return_dict=True, verbose=0))
