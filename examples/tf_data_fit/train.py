"""Training from a tf.data pipeline."""

import keras
import tensorflow as tf

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
train = tf.data.Dataset.from_tensor_slices((x_train, y_train)).cache().shuffle(1000, seed=3)
train = train.map(lambda image, label: (image * 2 - 1, label), num_parallel_calls=tf.data.AUTOTUNE)
train = train.batch(50).prefetch(tf.data.AUTOTUNE)
test = tf.data.Dataset.from_tensor_slices((x_test * 2 - 1, y_test)).batch(50)
model.fit(train, epochs=3, verbose=2)
model.fit(train.repeat(), steps_per_epoch=10, epochs=2, verbose=2)
print("test:", model.evaluate(test, return_dict=True, verbose=0))
