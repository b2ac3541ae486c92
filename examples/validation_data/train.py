"""Validation data, and callbacks that look at it."""

import keras

(x_train, y_train), (x_test, y_test) = keras.datasets.mnist.load_data()
x_train, x_test = x_train[:1000].astype("float32") / 255, x_test[:200].astype("float32") / 255
y_train, y_test = y_train[:1000], y_test[:200]

model = keras.Sequential(
    [
        keras.Input((28, 28)),
        keras.layers.Flatten(),
        keras.layers.Dense(64, activation="gelu"),
        keras.layers.Dense(10, activation="softmax"),
    ]
)
model.compile(keras.optimizers.SGD(0.2), "sparse_categorical_crossentropy", metrics=["accuracy"])
history = model.fit(
    x_train,
    y_train,
    batch_size=50,
    epochs=6,
    validation_data=(x_test, y_test),
    callbacks=[
        keras.callbacks.EarlyStopping("val_loss", patience=2, restore_best_weights=True),
        keras.callbacks.ReduceLROnPlateau("val_loss", patience=1),
    ],
    verbose=2,
)
model.fit(x_train, y_train, batch_size=50, epochs=1, validation_split=0.2, verbose=2)
print("test:", model.evaluate(x_test, y_test, return_dict=True, verbose=0))
