"""How the input of an image folder scales: time for one worker to read its share, with and without a view of its rows.

python benchmarks/input_scaling.py [ROUNDS]

The input stage alone, without training, for a job of N workers: each reads its rows of every batch. Without the view
each reads and decodes everything. Reading for one worker is the same with both. Both run in turn in one process.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from kerasjob_trainer.global_batch import views
from kerasjob_trainer.global_batch.input import slice_rows
from kerasjob_trainer.global_batch.rows import bounds

IMAGES, SIZE, BATCH, PASSES = 512, 512, 32, 3


def write_images(folder):
    rng = np.random.default_rng(0)
    for number in range(IMAGES):
        target = folder / f"class_{number % 2}"
        target.mkdir(exist_ok=True)
        coarse = rng.integers(0, 255, (SIZE // 16, SIZE // 16, 3), "uint8")
        pixels = tf.cast(tf.image.resize(coarse, (SIZE, SIZE)), tf.uint8)
        (target / f"{number:04}.jpg").write_bytes(tf.io.encode_jpeg(pixels).numpy())


def whole(dataset, replicas):
    def own(images, labels):
        total = tf.shape(images, tf.int64)[0]
        return slice_rows((images, labels), *bounds(total, 0, replicas))

    return dataset.map(own, num_parallel_calls=tf.data.AUTOTUNE)


def seconds(dataset):
    began = time.monotonic()
    for _ in dataset:
        pass
    return time.monotonic() - began


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with tempfile.TemporaryDirectory() as folder:
        write_images(Path(folder))
        dataset = keras.utils.image_dataset_from_directory(
            folder, image_size=(128, 128), batch_size=BATCH, verbose=False
        ).repeat(PASSES)
        ways = {"all rows": whole, "own rows": lambda d, n: views.view(d, 0, 1, n)}
        times = {(way, n): [] for way in ways for n in (1, 2, 4)}
        for _ in range(rounds + 1):
            for way, n in times:
                times[way, n].append(seconds(ways[way](dataset, n).prefetch(2)))
        print(f"{IMAGES} JPEG files of {SIZE} x {SIZE}; samples/s of the whole job, as a ratio to one worker")
        for way in ways:
            one = statistics.median(times[way, 1][1:])
            ratios = ", ".join(f"N={n}: {one / statistics.median(times[way, n][1:]):.2f}" for n in (1, 2, 4))
            print(f"  each worker reads {way}: {ratios} (one worker {PASSES * IMAGES / one:.0f} samples/s)")


if __name__ == "__main__":
    main()
