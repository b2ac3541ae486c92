"""Metrics: of Keras, and one of the program's own."""

import keras


class LargestProbability(keras.metrics.Metric):
    """The surest that the model has been in an epoch."""

    def __init__(self):
        super().__init__(name="largest_probability")
        self.largest = self.add_weight(name="largest", initializer="zeros")

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.largest.assign(keras.ops.maximum(self.largest, keras.ops.max(y_pred)))

    def result(self):
        return self.largest


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
model.compile(
    keras.optimizers.SGD(0.2),
    "sparse_categorical_crossentropy",
    metrics=[
        "accuracy",
        keras.metrics.SparseTopKCategoricalAccuracy(3, name="top_3"),
        LargestProbability(),
    ],
)
model.fit(x_train, y_train, batch_size=50, epochs=2, verbose=2)
print("test:", model.evaluate(x_test, y_test, return_dict=True, verbose=0))
