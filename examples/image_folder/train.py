"""Images in a folder for each class."""

from pathlib import Path

import keras

DATA = Path("data/images")

options = {"color_mode": "grayscale", "image_size": (28, 28), "batch_size": 16, "seed": 3}
train = keras.utils.image_dataset_from_directory(DATA / "train", validation_split=0.2, subset="training", **options)
validation = keras.utils.image_dataset_from_directory(
    DATA / "train", validation_split=0.2, subset="validation", **options
)
test = keras.utils.image_dataset_from_directory(DATA / "test", **options)
print("classes:", train.class_names)

model = keras.Sequential(
    [
        keras.Input((28, 28, 1)),
        keras.layers.Rescaling(1 / 255),
        keras.layers.Conv2D(8, 3, strides=2, activation="gelu"),
        keras.layers.Conv2D(16, 3, strides=2, activation="gelu"),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(len(train.class_names), activation="softmax"),
    ]
)
model.compile(keras.optimizers.SGD(0.5), "sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(train, epochs=4, validation_data=validation, verbose=2)
print("test:", model.evaluate(test, return_dict=True, verbose=0))
