"""Data that was brought over some epochs gives what it gives after those epochs; and is read only where it must be."""

import functools
import io
import itertools
import random
import sys
import types

import numpy as np
import pytest

NUM_EPOCHS, ROWS = 3, 10


@pytest.fixture(scope="module", autouse=True)
def installed():
    """As a trainer of a program without a seed has it."""
    import keras
    from keras.src.backend.tensorflow.trainer import TFEpochIterator
    from keras.src.trainers.data_adapters.array_data_adapter import ArrayDataAdapter

    from kerasjob_trainer.trainer import array_order

    before = ArrayDataAdapter.get_tf_dataset, TFEpochIterator._get_iterator
    keras.utils.set_random_seed(1)
    array_order.apply()
    yield
    ArrayDataAdapter.get_tf_dataset, TFEpochIterator._get_iterator = before


def seed():
    """Sets it again as the trainer does: not as the program would."""
    from tensorflow.python.eager import context

    random.seed(1)
    np.random.seed(1)
    context.context()._rng.seed(1)
    context.context().clear_kernel_cache()  # whose kernels go on where those with the same seed have ended


def rows():
    import tensorflow as tf

    return tf.data.Dataset.range(ROWS)


def layer_in_a_map():
    import keras
    import tensorflow as tf

    layer = keras.layers.RandomContrast(0.5, seed=3)
    pixels = tf.constant([[[1.0], [2.0]]])
    return rows().map(lambda x: layer(pixels * tf.cast(x, tf.float32), training=True)).batch(2)


def generator_in_a_map():
    import tensorflow as tf

    draws = tf.random.Generator.from_seed(1)
    return rows().map(lambda x: draws.uniform([])).batch(2)


def numpy_in_a_map():
    import tensorflow as tf

    def draw(x):
        return np.float32(x + np.random.rand())

    return rows().map(lambda x: tf.ensure_shape(tf.numpy_function(draw, [x], tf.float32), [])).batch(2)


def drawing_map(draw, how="numpy_function"):
    import tensorflow as tf

    call = getattr(tf, how)
    return rows().map(lambda x: tf.ensure_shape(call(draw, [x], tf.float32), [])).batch(2)


def own_generator_in_a_closure():
    draws = np.random.default_rng(1)
    return drawing_map(lambda x: np.float32(x + draws.random()))


def own_generator_in_a_default():
    def draw(x, draws=np.random.RandomState(1)):  # noqa: B008
        return np.float32(int(x) + draws.rand())

    return drawing_map(draw, "py_function")


MODULE_DRAWS = random.Random(1)


def own_generator_of_the_module():
    MODULE_DRAWS.seed(1)
    return drawing_map(lambda x: np.float32(x + MODULE_DRAWS.random()))


HELPERS = types.ModuleType("helpers_that_draw")
USES_HELPERS = """
def draw(x):
    import helpers_that_draw
    return numpy.float32(x + helpers_that_draw.draws.random())
"""


def own_generator_of_another_module():
    sys.modules[HELPERS.__name__], HELPERS.draws = HELPERS, np.random.default_rng(1)
    program = {"__name__": "__main__", "numpy": np}
    exec(USES_HELPERS, program)
    return drawing_map(program["draw"])


def own_generator_of_an_object():
    class Noise:
        __slots__ = ("draws",)

        def __init__(self):
            self.draws = np.random.Generator(np.random.Philox(1))

        def add(self, x, by):
            return np.float32(x + by * self.draws.random())

    return drawing_map(functools.partial(Noise().add, by=2))


def own_count():
    count = 0

    def draw(x):
        nonlocal count
        count += 1
        return np.float32(int(x) + count)

    return drawing_map(draw)


def own_iterator():
    numbers = itertools.count()
    return drawing_map(lambda x: np.float32(x + next(numbers)))


def concatenated():
    return rows().shuffle(ROWS).concatenate(rows().shuffle(ROWS)).batch(2)


def zipped():
    import tensorflow as tf

    return tf.data.Dataset.zip((rows().shuffle(ROWS), rows().shuffle(ROWS))).batch(2)


def halves():
    one = rows().shuffle(ROWS)
    return one.take(6).batch(2), one.skip(6).batch(2)


def halves_of_which_one_is_cached():
    one = rows().shuffle(ROWS)
    return one.take(6).batch(2), one.skip(6).cache().batch(2)


def squares():
    import tensorflow as tf

    return tf.data.Dataset.from_generator(lambda: iter(range(4)), tf.int64).batch(2)


def batches(**behaviour):
    import keras

    class Batches(keras.utils.PyDataset):
        def __init__(self):
            super().__init__()
            self.order, self.taken, self.num_taken = np.arange(ROWS), [], 0
            self.random = np.random.default_rng(1) if behaviour.get("own") else np.random

        def __len__(self):
            return 5

        def __getitem__(self, index):
            self.taken.append(index)
            if behaviour.get("counts"):
                self.num_taken += 1
            noise = np.random.rand() if behaviour.get("draws") else 0
            return self.order[2 * index : 2 * index + 2].astype("float32") + noise + self.num_taken

        def on_epoch_end(self):
            self.random.shuffle(self.order)

    return Batches()


def own_layer():
    import keras

    layer = keras.layers.RandomContrast(0.5, seed=3)
    return lambda: float(layer(np.array([[[1.0], [2.0]]], "float32"), training=True)[0, 0, 0])


def tensorflows_generator():
    import tensorflow as tf

    draws = tf.random.Generator.from_seed(1)
    return lambda: float(draws.uniform([]))


def of_tensorflow():
    import tensorflow as tf

    return lambda: float(tf.random.uniform([]))


OWN_DRAWS = {
    "numpy's": lambda: np.random.default_rng(1).random,
    "numpy's old": lambda: np.random.RandomState(1).rand,
    "Python's": lambda: random.Random(1).random,
    "TensorFlow's": tensorflows_generator,
    "TensorFlow's global": of_tensorflow,
    "layer's": own_layer,
}


def drawing_batches(make, where):
    import keras

    class Holder:
        draw = staticmethod(lambda: 0)

    class Drawing(keras.utils.PyDataset):
        def __init__(self):
            super().__init__()
            self.draw = Holder() if where == "deep" else make()
            if where == "deep":
                self.draw.settings = {"augment": [make()]}

        def __len__(self):
            return 5

        def __getitem__(self, index):
            draw = self.draw.settings["augment"][0] if where == "deep" else self.draw
            return np.array([index + draw()], "float32")

    return Drawing()


ARRAY = {"x": np.arange(ROWS), "batch_size": 4, "shuffle": True}
DATA = {
    "arrays": lambda: ARRAY,
    "arrays in order": lambda: {**ARRAY, "shuffle": False},
    "arrays, batches shuffled": lambda: {**ARRAY, "shuffle": "batch"},
    "arrays and fewer steps": lambda: {**ARRAY, "steps_per_epoch": 2},
    "arrays and more steps": lambda: {**ARRAY, "steps_per_epoch": 4},
    "arrays and steps at once": lambda: {**ARRAY, "steps_per_epoch": 2, "steps_per_execution": 2},
    "shuffle": lambda: {"x": rows().shuffle(ROWS).batch(2)},
    "shuffle with a seed": lambda: {"x": rows().shuffle(ROWS, seed=3).batch(2).prefetch(1)},
    "shuffle once": lambda: {"x": rows().shuffle(ROWS, reshuffle_each_iteration=False).batch(2)},
    "shuffle of a cache": lambda: {"x": rows().cache().shuffle(ROWS).batch(2)},
    "cache of a shuffle": lambda: {"x": rows().shuffle(ROWS).cache().batch(2)},
    "shuffle of a cache of a shuffle": lambda: {"x": rows().shuffle(ROWS).cache().shuffle(4).batch(2)},
    "two shuffles": lambda: {"x": rows().shuffle(ROWS).batch(2).shuffle(4)},
    "two shuffles side by side": lambda: {"x": zipped()},
    "two shuffles one after the other": lambda: {"x": concatenated()},
    "shuffle and repeat": lambda: {"x": rows().shuffle(ROWS).repeat(2).batch(2)},
    "shuffle and repeat without end": lambda: {"x": rows().shuffle(ROWS).repeat().batch(2), "steps_per_epoch": 3},
    "filter": lambda: {"x": rows().shuffle(ROWS).filter(lambda x: x > 3).batch(2)},
    "a layer in a map": lambda: {"x": layer_in_a_map()},
    "a generator of numbers in a map": lambda: {"x": generator_in_a_map()},
    "numpy in a map": lambda: {"x": numpy_in_a_map()},
    "half of a shuffle, half for validation": lambda: dict(zip(("x", "validation"), halves(), strict=True)),
    "the same, and that cached": lambda: dict(zip(("x", "validation"), halves_of_which_one_is_cached(), strict=True)),
    "fewer steps, and a generator for validation": lambda: {**ARRAY, "steps_per_epoch": 2, "validation": squares()},
    "PyDataset": lambda: {"x": batches(), "shuffle": True},
    "PyDataset that draws": lambda: {"x": batches(draws=True), "shuffle": True},
    "PyDataset that is shuffled with an own generator": lambda: {"x": batches(own=True)},
    "PyDataset that counts": lambda: {"x": batches(counts=True)},
    "an own generator in a closure": lambda: {"x": own_generator_in_a_closure()},
    "an own generator in a default": lambda: {"x": own_generator_in_a_default()},
    "an own generator of the module": lambda: {"x": own_generator_of_the_module()},
    "an own generator of another module": lambda: {"x": own_generator_of_another_module()},
    "an own generator of an object": lambda: {"x": own_generator_of_an_object()},
    "an own count": lambda: {"x": own_count()},
    "an own iterator": lambda: {"x": own_iterator()},
} | {
    f"PyDataset with {name} generator{', deep' if where == 'deep' else ''}": (
        lambda make=make, where=where: {"x": drawing_batches(make, where)}
    )
    for name, make in OWN_DRAWS.items()
    for where in ("attribute", "deep")
}


class Model:
    """What `skip` asks of a model."""

    steps_per_execution = 1
    _eval_epoch_iterator = None

    def __init__(self):
        import tensorflow as tf

        self.distribute_strategy = tf.distribute.get_strategy()

    def _should_eval(self, epoch, frequency):
        return True


def made(data):
    from keras.src.backend.tensorflow.trainer import TFEpochIterator
    from keras.src.trainers.epoch_iterator import EpochIterator

    data = dict(data)
    validation = data.pop("validation", None)
    model = Model()
    model.steps_per_execution = data.get("steps_per_execution", 1)
    iterator = TFEpochIterator(distribute_strategy=model.distribute_strategy, **data)
    EpochIterator.reset(iterator)
    arguments = {
        "validation_freq": 1,
        "validation_data": validation,
        "validation_steps": None,
        "validation_batch_size": None,
        "batch_size": None,
    }
    return iterator, model, arguments


def epoch(iterator):
    """What a `fit` reads in one."""
    import tensorflow as tf

    found = []
    with iterator.catch_stop_iteration():
        for _, _, source in iterator:
            for index in range(iterator.steps_per_execution):
                try:
                    batch = next(source)
                except (StopIteration, tf.errors.OutOfRangeError):
                    if index == 0:
                        raise tf.errors.OutOfRangeError(None, None, "End of sequence") from None
                    break
                found += [np.round(part.numpy(), 6).tolist() for part in tf.nest.flatten(batch)]
    return found


def run(data, num_epochs):
    """All epochs, with what follows each."""
    iterator, model, arguments = made(data)
    found = []
    for _ in range(num_epochs):
        found.append((epoch(iterator), validated(model, arguments)))
    return found


def validated(model, arguments):
    """What a validation reads, where there is one."""
    from kerasjob_trainer.trainer.session.seeking import _validation

    return epoch(_validation(model, arguments)) if arguments["validation_data"] is not None else None


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
@pytest.mark.parametrize("name", DATA)
def test_goes_on_as_if_the_epochs_had_been_run(name):
    from kerasjob_trainer.trainer.session.seeking import skip

    seed()
    expected = run(DATA[name](), NUM_EPOCHS + 2)
    seed()
    iterator, model, arguments = made(DATA[name]())
    skip(iterator, list(range(NUM_EPOCHS)), model, arguments)
    found = [(epoch(iterator), validated(model, arguments)) for _ in range(2)]
    assert found == expected[NUM_EPOCHS:]


@pytest.mark.parametrize("shuffle", [True, "batch"])
def test_arrays_are_shuffled_anew_in_each_epoch(shuffle):
    seed()
    epochs = [batches for batches, _ in run({**ARRAY, "shuffle": shuffle}, 4)]
    assert len({str(batches) for batches in epochs}) == 4
    for batches in epochs:
        assert sorted(row for batch in batches for row in batch) == list(range(ROWS))


def test_a_program_with_a_seed_gets_the_order_that_keras_gives():
    import keras
    from tensorflow.python.eager import context

    ours = context.context()._rng
    keras.utils.set_random_seed(5)
    try:
        found = run(ARRAY, 2)
        assert found[0] == found[1]
    finally:
        context.context()._rng = ours


def test_a_thousand_epochs_are_passed_without_reading_more_than_one():
    import tensorflow as tf

    from kerasjob_trainer.trainer.session.seeking import skip

    taken = []

    def take(x):
        taken.append(int(x))
        return x

    for data in (
        {"x": rows().map(lambda x: tf.numpy_function(take, [x], tf.int64)).shuffle(ROWS).batch(2)},
        {"x": batches(), "shuffle": True},
        {"x": batches(own=True)},  # that is drawn from between epochs alone
    ):
        iterator, model, arguments = made(data)
        taken = getattr(data["x"], "taken", taken)
        taken.clear()
        skip(iterator, list(range(1000)), model, arguments)
        assert len(taken) <= ROWS


def test_where_there_is_too_much_to_look_at_it_is_read_again(monkeypatch):
    from kerasjob_trainer.trainer.session import own_state

    data = batches()
    assert own_state.of([data]) == own_state.of([data])
    monkeypatch.setattr(own_state, "OBJECTS_MAX", 3)
    assert own_state.of([data]) != own_state.of([data])


def test_what_cannot_be_compared_is_taken_to_move():
    from kerasjob_trainer.trainer.session import own_state

    class Shy:
        @property
        def __dict__(self):
            raise RuntimeError("not now")

    for moves in (Shy(), random.SystemRandom(), iter([1]), rows().shuffle(ROWS), rows().map(lambda x: x).repeat()):
        assert own_state.of([[moves]]) != own_state.of([[moves]])
    table = {str(number): number for number in range(100_000)}
    for stays in (table, rows().batch(2), np.random.SeedSequence(1), io.StringIO("x"), [np.arange(3)]):
        assert own_state.of([[stays]]) == own_state.of([[stays]])
