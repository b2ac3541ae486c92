"""Sets up TensorFlow as programs for GPUs begin, and trains deterministically."""

import keras
import numpy as np
import tensorflow as tf

from kerasjob_trainer.trainer.session.progress import memory_in_use

for gpu in tf.config.list_physical_devices("GPU"):
    tf.config.experimental.set_memory_growth(gpu, True)
(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
tf.config.threading.set_inter_op_parallelism_threads(3)
keras.utils.set_random_seed(1)
tf.config.experimental.enable_op_determinism()
print("threads:", tf.config.threading.get_inter_op_parallelism_threads(), flush=True)  # noqa: T201
print("bytes:", memory_in_use("CPU"), flush=True)  # noqa: T201
model = keras.Sequential([keras.layers.Dense(1)])
model.compile("sgd", "mse")
model.fit(np.ones((8, 3)), np.ones((8, 1)), batch_size=4, verbose=0)
