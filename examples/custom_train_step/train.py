"""A model that trains by a train_step of its own."""

import keras
import tensorflow as tf

(x_train, y_train), (x_test, y_test) = keras.datasets.mnist.load_data()
x_train, x_test = x_train[:1000].astype("float32") / 255, x_test[:200].astype("float32") / 255
y_train, y_test = y_train[:1000], y_test[:200]


class Careful(keras.Model):
    """Clips its gradient by hand, and keeps its own trackers."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.loss_tracker = keras.metrics.Mean(name="loss")
        self.accuracy = keras.metrics.SparseCategoricalAccuracy(name="accuracy")

    @property
    def metrics(self):
        return [self.loss_tracker, self.accuracy]

    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            y_pred = self(x, training=True)
            loss = self.compute_loss(y=y, y_pred=y_pred)
        gradients = tape.gradient(loss, self.trainable_variables)
        gradients, norm = tf.clip_by_global_norm(gradients, 1.0)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables))
        return self.report(y, y_pred, loss) | {"gradient_norm": norm}

    def test_step(self, data):
        x, y = data
        y_pred = self(x, training=False)
        return self.report(y, y_pred, self.compute_loss(y=y, y_pred=y_pred))

    def report(self, y, y_pred, loss):
        self.loss_tracker.update_state(loss)
        self.accuracy.update_state(y, y_pred)
        return {metric.name: metric.result() for metric in self.metrics}


inputs = keras.Input((28, 28))
hidden = keras.layers.Dense(64, activation="gelu")(keras.layers.Flatten()(inputs))
hidden = keras.layers.Dropout(0.2)(hidden)
model = Careful(inputs, keras.layers.Dense(10, activation="softmax")(hidden))
model.compile(keras.optimizers.SGD(0.2), "sparse_categorical_crossentropy")
model.fit(x_train, y_train, batch_size=50, epochs=3, validation_data=(x_test, y_test), verbose=2)
print("test:", model.evaluate(x_test, y_test, return_dict=True, verbose=0))
