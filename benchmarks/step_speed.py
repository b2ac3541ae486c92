"""Time of a training step, side by side: `fit` on two workers under our repairs against a hand-written loop over the
same strategy, and one worker of a job against plain Keras.

python benchmarks/step_speed.py [ROUNDS]

The hand-written loop is the one of TensorFlow's tutorial, with synchronized BatchNormalization where ours has it, the
same global batches, and the loss of each step reduced, as `fit` shows it. Both loops of a round run in the same two
processes, one after the other, so that they meet the same machine; a ratio is the median over rounds.
"""

import json
import socket
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from tests.fidelity.harness import Shape, run

STEPS = 150
MODELS = ("dense", "convolution", "wide")


def make(keras, name, synchronized):
    """A model, and its data: (rows, ...) and labels."""
    layers = keras.layers
    rng = np.random.default_rng(0)
    normalization = layers.BatchNormalization(synchronized=synchronized)
    if name == "dense":
        body, shape, batch = [layers.Dense(128, "relu"), layers.Dense(128, "relu")], (784,), 64
    elif name == "convolution":
        body = [layers.Conv2D(16, 3, activation="relu"), normalization, layers.MaxPooling2D(4), layers.Flatten()]
        shape, batch = (28, 28, 1), 64
    else:
        body, shape, batch = [layers.Dense(2048, "relu"), layers.Dense(2048, "relu")], (784,), 64
    model = keras.Sequential([keras.Input(shape), *body, layers.Dense(10)])
    x = rng.normal(size=(batch * 8, *shape)).astype("float32")
    return model, x, rng.integers(0, 10, len(x)), batch


def dataset(x, y, batch):
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices((x, y)).batch(batch, drop_remainder=True).cache().repeat()


def fit_seconds(name, steps):
    """Per step, by `fit`."""
    import keras

    model, x, y, batch = make(keras, name, synchronized=False)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, metrics=["accuracy"], jit_compile=False)
    marks = []

    class Clock(keras.callbacks.Callback):
        async_safe = True

        def on_epoch_begin(self, epoch, logs=None):
            marks.append(time.monotonic())

        def on_epoch_end(self, epoch, logs=None):
            marks.append(time.monotonic())

    model.fit(dataset(x, y, batch), steps_per_epoch=steps, epochs=2, verbose=0, callbacks=[Clock()])
    return (marks[3] - marks[2]) / steps


def loop_seconds(name, steps):
    """Per step, by hand."""
    import keras
    import tensorflow as tf

    strategy = tf.distribute.get_strategy()
    model, x, y, batch = make(keras, name, synchronized=True)
    loss_fn = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction=None)
    optimizer = keras.optimizers.SGD(0.01)
    accuracy = keras.metrics.SparseCategoricalAccuracy()
    optimizer.build(model.trainable_variables)

    def step(data):
        inputs, labels = data
        with tf.GradientTape() as tape:
            outputs = model(inputs, training=True)
            loss = tf.nn.compute_average_loss(loss_fn(labels, outputs), global_batch_size=batch)
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        accuracy.update_state(labels, outputs)
        return loss

    @tf.function
    def train(iterator):
        return strategy.reduce("SUM", strategy.run(step, args=(next(iterator),)), axis=None)

    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    iterator = iter(strategy.experimental_distribute_dataset(dataset(x, y, batch).with_options(options)))
    for _ in range(steps):
        train(iterator)
    began = time.monotonic()
    for _ in range(steps):
        float(train(iterator))
    return (time.monotonic() - began) / steps


def job_seconds(name, steps):
    """Per step, of one worker with the session of a job around it."""
    from kerasjob_api.wire import ProgramConfig
    from kerasjob_trainer.runspec import RunSpec
    from kerasjob_trainer.trainer.control import Control
    from kerasjob_trainer.trainer.session import Session

    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    spec = RunSpec("job", 0, 0, 1, ("127.0.0.1:1",), 7, ProgramConfig(), str(Path.cwd()), *[""] * 6)
    Session(spec, Control(ours)).install()
    return fit_seconds(name, steps)


def main():
    import kerasjob_trainer.trainer.main  # noqa: F401

    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    table = {}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        two = Shape(2, floatx="float32")
        raw = Shape(2, floatx="float32", repaired=False)
        for name in MODELS:
            ratios, alone = [], []
            for _ in range(rounds):
                ours = run(lambda _, n=name: {"s": fit_seconds(n, STEPS)}, two, work / "a")
                hand = run(lambda _, n=name: {"s": loop_seconds(n, STEPS)}, raw, work / "b")
                ratios.append(float(max(r["s"] for r in ours)) / float(max(r["s"] for r in hand)))
                plain32 = Shape(floatx="float32", distributed=False)
                job = run(lambda _, n=name: {"s": job_seconds(n, STEPS)}, plain32, work / "c")
                plain = run(lambda _, n=name: {"s": fit_seconds(n, STEPS)}, plain32, work / "d")
                alone.append(float(job[0]["s"]) / float(plain[0]["s"]))
            table[name] = {"fit/loop": statistics.median(ratios), "job/plain": statistics.median(alone)}
            milliseconds = 1000 * float(ours[0]["s"]), 1000 * float(hand[0]["s"])
            print(
                f"{name:12} 2 workers: fit / hand-written loop {table[name]['fit/loop']:.2f}"
                f" (last round {milliseconds[0]:.2f} ms / {milliseconds[1]:.2f} ms);"
                f" 1 worker: job / plain {table[name]['job/plain']:.3f}",
                flush=True,
            )
    print(json.dumps(table))


if __name__ == "__main__":
    main()
