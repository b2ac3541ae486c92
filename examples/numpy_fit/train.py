"""Training from numpy arrays."""

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
model.fit(x_train, y_train, batch_size=50, epochs=2, shuffle=True, verbose=2)
model.fit(
    x_train, y_train, batch_size=50, epochs=1, class_weight={digit: 1.0 + digit / 10 for digit in range(10)}, verbose=2
)
print("test:", model.evaluate(x_test, y_test, return_dict=True, verbose=0))
