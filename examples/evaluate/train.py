"""Evaluation and prediction."""

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
model.fit(x_train, y_train, batch_size=50, epochs=2, verbose=2)
predictions = model.predict(x_test, batch_size=50, verbose=0)
print("predictions:", predictions.shape, "first ones:", predictions[:5].argmax(axis=1), "true:", y_test[:5])
print("loss and accuracy:", model.evaluate(x_test, y_test, batch_size=50, verbose=0))
print("test:", model.evaluate(x_test, y_test, batch_size=50, return_dict=True, verbose=0))
