"""Callbacks: decisions, files, logs of batches."""

import os
from pathlib import Path

import keras
import numpy as np
from tests.fidelity.programs import BATCH, data, dense, result
from tests.fidelity.table import feature


def _fit(*callbacks, epochs=4, rows=29, x=None, **options):
    model = dense(keras)
    model.compile(keras.optimizers.SGD(0.2), "sparse_categorical_crossentropy", metrics=["accuracy"])
    inputs, y = data(rows=rows)
    history = model.fit(
        inputs if x is None else x,
        y,
        batch_size=BATCH,
        epochs=epochs,
        callbacks=list(callbacks),
        validation_data=data(rows=13, seed=5),
        verbose=0,
        **options,
    )
    return result(model, history)


@feature("logs of every batch")
def batch_logs(_):
    class Recorder(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.seen = []

        def on_train_batch_end(self, batch, logs=None):
            self.seen += [float(logs["loss"]), float(logs["accuracy"])]

        def on_test_batch_end(self, batch, logs=None):
            self.seen += [float(logs["loss"])]

    recorder = Recorder()
    return _fit(recorder) | {"seen": recorder.seen}


@feature("EarlyStopping with restore_best_weights, ReduceLROnPlateau")
def early_stopping(_):
    kinds = keras.callbacks
    return _fit(
        kinds.EarlyStopping("loss", min_delta=0.1, patience=1, restore_best_weights=True),
        kinds.ReduceLROnPlateau("val_loss", min_delta=0.5, patience=1),
        epochs=8,
    )


@feature("LearningRateScheduler, LambdaCallback, the learning rate read as a number")
def scheduler(_):
    seen = []

    class Reader(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            rate = self.model.optimizer.learning_rate
            seen.extend(
                [
                    float(np.array(rate)),
                    float(rate),
                    float(f"{rate.numpy():.3f}"),
                    float(keras.ops.convert_to_numpy(rate)),
                ]
            )

    return _fit(
        Reader(),
        keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.7),
        keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append(float(logs["loss"]))),
    ) | {"seen": seen}


@feature("TerminateOnNaN, with the NaN in the rows of one worker")
def terminate_on_nan(_):
    x, _ = data()
    x = x.copy()
    x[12] = np.inf
    found = _fit(keras.callbacks.TerminateOnNaN(), shuffle=False, x=x)
    return {"epochs": len(found["log loss"])}


@feature("a callback that stops after a batch")
def stop_after_batch(_):
    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if self.model.optimizer.iterations.numpy() >= 6:
                self.model.stop_training = True

    return _fit(Stop())


@feature("a callback that stops on one worker alone", note="one process stops in the same place")
def stop_on_one(_):
    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            import json

            rank = json.loads(os.environ.get("TF_CONFIG", '{"task": {"index": 0}}'))["task"]["index"]
            if epoch == 1 and rank == 0:
                self.model.stop_training = True

    return _fit(Stop())


@feature("ModelCheckpoint, save_best_only, into a folder that workers share")
def model_checkpoint(shared):
    kinds = keras.callbacks
    found = _fit(
        kinds.ModelCheckpoint(str(shared / "epoch-{epoch}.keras")),
        kinds.ModelCheckpoint(str(shared / "best.weights.h5"), save_weights_only=True, save_best_only=True),
        kinds.ModelCheckpoint(str(shared / "steps.keras"), save_freq=3),
    )
    loaded = keras.models.load_model(shared / "epoch-2.keras")
    found |= {f"loaded {i}": variable.numpy() for i, variable in enumerate(loaded.weights)}
    best = dense(keras)
    best.load_weights(shared / "best.weights.h5")
    return found | {f"best {i}": variable.numpy() for i, variable in enumerate(best.weights)}


@feature("CSVLogger into a shared file")
def csv_logger(shared):
    found = _fit(keras.callbacks.CSVLogger(str(shared / "log.csv")))
    lines = (shared / "log.csv").read_text().splitlines() if (shared / "log.csv").exists() else []
    header, *rows = [line.split(",") for line in lines]
    return found | {"columns": ",".join(header), "values": np.array(rows, dtype="float64")}


@feature("TensorBoard, of epochs and of batches")
def tensorboard(shared):
    found = _fit(keras.callbacks.TensorBoard(str(shared / "logs"), update_freq="batch"))
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    writers = [path.name for path in Path(shared / "logs" / "train").glob("events*")]
    events = EventAccumulator(str(shared / "logs" / "train"))
    events.Reload()
    return found | {"writers": len(writers), "tags": ",".join(sorted(events.Tags()["tensors"]))}


@feature("BackupAndRestore in a shared folder", note="the job's own checkpoints take its place")
def backup(shared):
    return _fit(keras.callbacks.BackupAndRestore(str(shared / "backup")))


@feature("model.save, load_model and export after training")
def saving(shared):
    model = dense(keras)
    model.compile("adam", "sparse_categorical_crossentropy")
    x, y = data()
    model.fit(x, y, batch_size=BATCH, verbose=0)
    model.save(shared / "model.keras")
    again = keras.models.load_model(shared / "model.keras")
    history = again.fit(x, y, batch_size=BATCH, verbose=0)
    return result(again, history)
