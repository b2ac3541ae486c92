"""A functional model: a convolutional network with a branch that is added back."""

import keras

(x_train, y_train), (x_test, y_test) = keras.datasets.mnist.load_data()
x_train, x_test = x_train[:1000].astype("float32") / 255, x_test[:200].astype("float32") / 255
y_train, y_test = y_train[:1000], y_test[:200]

inputs = keras.Input((28, 28))
x = keras.layers.Reshape((28, 28, 1))(inputs)
x = keras.layers.Conv2D(8, 3, strides=2, activation="gelu")(x)
branch = keras.layers.Conv2D(8, 3, padding="same", activation="gelu")(x)
x = keras.layers.Add()([x, branch])
x = keras.layers.BatchNormalization()(x)
x = keras.layers.GlobalAveragePooling2D()(x)
outputs = keras.layers.Dense(10, activation="softmax")(x)
model = keras.Model(inputs, outputs)
model.summary()
model.compile(keras.optimizers.SGD(0.5), "sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(x_train, y_train, batch_size=50, epochs=3, verbose=2)
print("test:", model.evaluate(x_test, y_test, return_dict=True, verbose=0))
