"""Digits, with Keras, for one machine."""

import argparse

import keras
import tensorflow as tf

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=6)
epochs = parser.parse_args().epochs

(x_train, y_train), (x_test, y_test) = keras.datasets.mnist.load_data()
x_train, x_test = x_train.astype("float32") / 255, x_test.astype("float32") / 255
x_val, y_val = x_train[-1000:], y_train[-1000:]
x_train, y_train = x_train[:-1000], y_train[:-1000]

model = keras.Sequential(
    [
        keras.Input((28, 28)),
        keras.layers.Flatten(),
        keras.layers.Dense(128, activation="gelu"),
        keras.layers.Dense(10, activation="softmax"),
    ]
)
model.compile(optimizer=keras.optimizers.SGD(0.1), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
model.summary()

print("from numpy")
history = model.fit(
    x_train,
    y_train,
    batch_size=64,
    epochs=epochs,
    validation_data=(x_val, y_val),
    callbacks=[
        keras.callbacks.ModelCheckpoint("models/epoch-{epoch:02d}.keras"),
        keras.callbacks.TensorBoard("logs"),
    ],
    verbose=2,
)
print("loss by epoch:", history.history["loss"])

print("from tf.data")
train = (
    tf.data.Dataset.from_tensor_slices((x_train, y_train)).shuffle(len(x_train)).batch(64).prefetch(tf.data.AUTOTUNE)
)
validation = tf.data.Dataset.from_tensor_slices((x_val, y_val)).batch(100)
model.fit(train, epochs=2, validation_data=validation, verbose=2)

results = model.evaluate(x_test, y_test, batch_size=100, return_dict=True, verbose=2)
print("test:", results)
