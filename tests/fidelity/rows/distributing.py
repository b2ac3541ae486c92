"""Programs that distribute themselves, as for a TFJob."""

import json
import os

import keras
import tensorflow as tf
from tests.fidelity.programs import BATCH, data, dense, result
from tests.fidelity.table import feature


@feature("a program that reads TF_CONFIG and makes its own MultiWorkerMirroredStrategy")
def own_strategy(_):
    tf_config = json.loads(os.environ.get("TF_CONFIG", "{}"))
    assert isinstance(tf_config.get("cluster", {}), dict)
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    dataset = tf.data.Dataset.from_tensor_slices(data()).batch(BATCH)
    with strategy.scope():
        model = dense(keras)
        model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return result(model, model.fit(dataset, epochs=2, verbose=0))


@feature("fit on a dataset that the program has distributed")
def own_distributed_dataset(_):
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    dataset = tf.data.Dataset.from_tensor_slices(data()).batch(BATCH).with_options(options)
    with strategy.scope():
        model = dense(keras)
        model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return result(model, model.fit(strategy.experimental_distribute_dataset(dataset), epochs=2, verbose=0))


@feature("a custom loop with strategy.run, a metric and a loss of its own")
def custom_loop(_):
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    x, y = data(rows=24)
    dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(12)
    with strategy.scope():
        model = dense(keras)
        optimizer = keras.optimizers.SGD(0.1)
        accuracy = keras.metrics.SparseCategoricalAccuracy()
        optimizer.build(model.trainable_variables)

    def step(batch):
        x, y = batch
        with tf.GradientTape() as tape:
            y_pred = model(x, training=True)
            loss = tf.nn.compute_average_loss(
                keras.losses.sparse_categorical_crossentropy(y, y_pred), global_batch_size=12
            )
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables))
        accuracy.update_state(y, y_pred)
        return loss

    @tf.function
    def train(batch):
        return strategy.reduce("SUM", strategy.run(step, args=(batch,)), axis=None)

    losses = []
    for _epoch in range(2):
        for batch in strategy.experimental_distribute_dataset(dataset):
            losses.append(float(train(batch)))
    return result(model, optimizers=[optimizer], losses=losses, accuracy=float(accuracy.result()))
