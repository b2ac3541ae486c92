"""What compile takes: names, objects, a loss for each output, weights, a schedule, a clipped gradient."""

import keras

(x_train, y_train), (x_test, y_test) = keras.datasets.mnist.load_data()
x_train, x_test = x_train[:1000].astype("float32") / 255, x_test[:200].astype("float32") / 255
y_train, y_test = y_train[:1000], y_test[:200]


def network(outputs):
    inputs = keras.Input((28, 28))
    hidden = keras.layers.Dense(32, activation="gelu")(keras.layers.Flatten()(inputs))
    return keras.Model(inputs, outputs(hidden))


print("by name")
model = network(keras.layers.Dense(10, activation="softmax"))
model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(x_train, y_train, batch_size=50, epochs=1, verbose=2)

print("by object")
model = network(keras.layers.Dense(10))
model.compile(
    optimizer=keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(0.5, 40), momentum=0.9, clipnorm=1.0),
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=[keras.metrics.SparseCategoricalAccuracy(), keras.metrics.SparseTopKCategoricalAccuracy(3)],
    steps_per_execution=4,
)
model.fit(x_train, y_train, batch_size=50, epochs=2, verbose=2)

print("two outputs")
two = network(
    lambda hidden: {
        "digit": keras.layers.Dense(10, activation="softmax", name="digit")(hidden),
        "is_even": keras.layers.Dense(1, activation="sigmoid", name="is_even")(hidden),
    }
)
two.compile(
    keras.optimizers.SGD(0.2),
    loss={"digit": "sparse_categorical_crossentropy", "is_even": "binary_crossentropy"},
    loss_weights={"digit": 1.0, "is_even": 0.5},
    metrics={"digit": "accuracy", "is_even": [keras.metrics.BinaryAccuracy(), keras.metrics.AUC()]},
)
target = {"digit": y_train, "is_even": (y_train % 2 == 0).astype("float32")}
two.fit(x_train, target, batch_size=50, epochs=2, verbose=2)
print("test:", model.evaluate(x_test, y_test, return_dict=True, verbose=0))
