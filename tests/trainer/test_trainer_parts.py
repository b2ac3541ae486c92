"""The parts of the trainer that run in this process, with Keras but without an agent."""

import dataclasses
import json
import random
import sys
import threading
import time
import warnings
from collections import Counter, OrderedDict, defaultdict, deque
from pathlib import Path

import numpy as np
import pytest

from kerasjob_api.wire import ProgramConfig
from kerasjob_trainer.runspec import RunSpec


@pytest.fixture(scope="module", autouse=True)
def keras(tmp_path_factory):
    """Keras, imported late: what its import warns of is not ours."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_HOME", str(tmp_path_factory.mktemp("keras")))
        patch.setenv("CUDA_VISIBLE_DEVICES", "-1")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import keras
            import tensorflow  # noqa: F401
        yield keras


def spec(folder: Path, num_workers: int = 1) -> RunSpec:
    return RunSpec(
        job="job", slot=1, rank=0, revision=1, hosts=("h:1",) * num_workers, seed=1,
        program=ProgramConfig(script="train.py"), program_dir=str(folder), staged="",
        keras_home="", snapshots="", archives="", exported="", temporary="", restored="",
    )  # fmt: skip


def test_random_states_survive_json(keras):
    from kerasjob_trainer.trainer.session import randomness

    keras.utils.set_random_seed(3)
    keras.random.normal((2,))
    random.gauss(0, 1)
    states = json.loads(json.dumps(randomness.capture()))

    def draw():
        import tensorflow as tf

        return (
            random.gauss(0, 1), np.random.normal(), float(keras.random.normal(())), float(tf.random.uniform(())),
        )  # fmt: skip

    first = draw()
    assert draw() != first
    randomness.restore(states)
    assert draw()[:3] == first[:3]


def test_repairs_refuse_another_keras_and_say_how_to_go_on(monkeypatch):
    from kerasjob_trainer import repairs
    from kerasjob_trainer.repairs import tested
    from kerasjob_trainer.trainer.failure import Refused

    assert tested.unknown_sources(repairs.ALL) == []
    monkeypatch.setattr(repairs.symbolic_build, "PATCHED", (tested.versions,))
    with pytest.raises(Refused, match=r"tested.versions differ\).*KERASJOB_ALLOW_UNTESTED=1"):
        repairs.apply(object())
    repairs.apply(None)  # one replica needs none


def test_every_repair_says_what_is_known_of_its_defect():
    from kerasjob_trainer import repairs

    for repair in repairs.ALL:
        assert "https://" in repair.__doc__
        assert repair.PATCHED


@pytest.mark.parametrize(
    ("make", "code", "reason"),
    [
        (lambda errors: errors.UnavailableError(None, None, "gone"), 20, "ClusterFault"),
        (lambda errors: errors.InternalError(None, None, "Collective ops aborted: socket closed"), 20, "ClusterFault"),
        (lambda errors: errors.InternalError(None, None, "cuDNN launch failure"), 10, "UserError"),
        (lambda errors: errors.InvalidArgumentError(None, None, "collective: shapes"), 10, "UserError"),
        (lambda errors: ValueError("mine"), 10, "UserError"),
    ],
)
def test_what_an_exception_means(make, code, reason, tmp_path):
    import tensorflow as tf

    from kerasjob_trainer.trainer.failure import classify

    found, record = classify(make(tf.errors), spec(tmp_path, num_workers=2), 5)
    assert (found, record.reason, record.worker, record.step) == (code, reason, 1, 5)


@pytest.mark.parametrize("how", ["from", "while handling", "twice"])
def test_an_error_that_comes_of_a_lost_peer_is_none_of_the_program(how, tmp_path):
    import tensorflow as tf

    from kerasjob_trainer.trainer.failure import classify

    error = raised(lambda: SystemExit(1), how, tf.errors.UnavailableError(None, None, "gone"))
    code, record = classify(error, spec(tmp_path, num_workers=2), 0)
    assert (code, record.message) == (20, "UnavailableError: gone")


def raised(make, how, cause):
    try:
        try:
            raise cause
        except Exception as error:
            if how == "from":
                raise make() from error
            raise make() from (raised(lambda: ValueError("mine"), "from", cause) if how == "twice" else None)
    except BaseException as error:
        return error


def test_shapes_that_differ_between_workers_are_explained(tmp_path):
    import tensorflow as tf

    from kerasjob_trainer.trainer.failure import classify

    error = tf.errors.InvalidArgumentError(None, None, "Shape mismatch in the collective instance 102. expected [8,9]")
    code, record = classify(error, spec(tmp_path, num_workers=2), 0)
    assert code == 10
    assert record.message.startswith("the workers do not run the same program")
    assert "expected [8,9]" in record.message


def test_alone_there_is_no_peer_to_lose(tmp_path):
    import tensorflow as tf

    from kerasjob_trainer.trainer.failure import classify

    assert classify(tf.errors.UnavailableError(None, None, "x"), spec(tmp_path), 0)[0] == 10


def test_the_users_own_line_is_named_not_a_librarys(tmp_path):
    from kerasjob_trainer.trainer.failure import user_frame

    (tmp_path / "train.py").write_text("import json\n\ndef load():\n    json.loads('{')\n\nload()\n")
    code = compile((tmp_path / "train.py").read_text(), str(tmp_path / "train.py"), "exec")
    with pytest.raises(ValueError, match="Expecting") as caught:
        exec(code, {})
    assert user_frame(caught.value, spec(tmp_path)) == ("train.py", 4)


def test_callbacks_go_on_where_they_were(keras):
    from kerasjob_trainer.trainer.session import callback_state

    class Mine(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.seen, self.file = 0, sys.stderr

    stopping = keras.callbacks.EarlyStopping(patience=3)
    stopping.wait, stopping.best, stopping.best_weights = 2, 0.25, [np.ones((2, 2)), np.zeros(())]
    mine = Mine()
    mine.seen = 7
    records, tensors = callback_state.capture([stopping, mine, keras.callbacks.TerminateOnNaN()])
    fresh = [keras.callbacks.EarlyStopping(patience=3), Mine(), keras.callbacks.TerminateOnNaN()]
    _, arrays = callback_state.split({"dense/kernel": np.ones(1), **tensors})
    callback_state.restore(fresh, json.loads(json.dumps(records)), arrays)
    assert (fresh[0].wait, fresh[0].best, fresh[0].patience, fresh[1].seen) == (2, 0.25, 3, 7)
    assert [w.shape for w in fresh[0].best_weights] == [(2, 2), ()]


def carried_over(then, now):
    """A callback of a later process, with the state of one of this."""
    from kerasjob_trainer.trainer.session import callback_state

    records, tensors = callback_state.capture([then])
    callback_state.restore([now], json.loads(json.dumps(records)), tensors)
    return now


def holding(keras, value):
    class Holding(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.value = value

    return Holding()


def assert_exact(found, expected):
    assert type(found) is type(expected)
    if isinstance(expected, np.ndarray):
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        assert found.tobytes() == expected.tobytes()
        assert found.flags.writeable
    elif isinstance(expected, dict):
        assert getattr(found, "default_factory", None) is getattr(expected, "default_factory", None)
        assert_exact(list(found), list(expected))
        assert_exact(list(found.values()), list(expected.values()))
    elif isinstance(expected, (list, tuple, deque)):
        assert getattr(found, "maxlen", None) == getattr(expected, "maxlen", None)
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_exact(one, other)
    else:
        assert found == expected or found != found


VALUES = {
    "numbers": [1, 2**80, -0.0, float("nan"), True, None, 1j, "text", b"\xff"],
    "numbers of numpy": [np.float32(0.1), np.float64(0.1), np.int8(-3), np.bool_(True), np.float16(2), np.str_("a")],
    "other numbers of numpy": [np.longdouble(0.1), np.complex64(1j), np.datetime64("2020-01-01"), np.bytes_(b"a")],
    "a number of numpy": np.float32(0.1),
    "int keys": {3: 0.5, 1: 0.25},
    "keys of several types": {"1": 1, 1: 2, 2.5: 3, (1, "a"): 4, None: 5, np.int64(7): 6},
    "our own word as a key": {"kerasjob": "array", "kerasjob.arrays": 1},
    "an array": np.arange(6, dtype=np.int16).reshape(2, 3),
    "arrays": [np.ones(2), np.zeros((), np.float32)],
    "arrays by name": {"b": np.ones(2, np.float16), "a": np.zeros((0, 3), bool)},
    "arrays by epoch": {1: {"loss": [np.ones(2), "text", (np.zeros(1),)]}},
    "a list of all sorts": [1, "a", np.arange(3), {"a": (1, 2)}, [None]],
    "a tuple": (1, (2, [3])),
    "sets": [{1, 2}, frozenset({"a"}), {(1, 2)}, set()],
    "a set": {3, 1},
    "a deque": deque([1, np.ones(1)], maxlen=5),
    "deques": [deque([1]), deque(maxlen=2)],
    "an ordered dictionary": OrderedDict([("b", 1), ("a", 2)]),
    "a counter": Counter("aab"),
    "a dictionary with a default": defaultdict(list, {1: [0.5]}),
    "dictionaries with a default": {"a": defaultdict(int, {"b": 1}), "c": defaultdict(None, {1: 2})},
    "texts": np.array(["a", "bc"]),
    "dates": np.array(["2020-01-01"], dtype="datetime64[D]"),
    "complex numbers": np.array([1j, 2]),
    "rows": np.array([(1, 0.5)], dtype=[("epoch", "i4"), ("loss", "f4")]),
    "another order of bytes": np.arange(3, dtype=">f4"),
    "another order of items": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
}


@pytest.mark.parametrize("name", VALUES)
def test_a_callbacks_value_comes_back_exactly(name, keras):
    assert_exact(carried_over(holding(keras, VALUES[name]), holding(keras, None)).value, VALUES[name])


def test_numbers_of_few_bits_in_callbacks_come_back_exactly(keras):
    import tensorflow as tf

    value = [np.arange(3).astype(tf.bfloat16.as_numpy_dtype), tf.bfloat16.as_numpy_dtype(0.1)]
    assert_exact(carried_over(holding(keras, value), holding(keras, None)).value, value)


@pytest.mark.parametrize("kind", [list, dict, set, deque, Counter, lambda items: defaultdict(lambda: 3, items)])
def test_what_the_program_has_made_of_a_value_is_the_same_object(kind, keras):
    of_program = kind({})
    now = carried_over(holding(keras, kind({"a": 1})), holding(keras, of_program))
    assert now.value is of_program
    assert list(of_program) == ["a"]


def test_what_a_callback_does_to_its_arrays_does_not_change_the_checkpoint(keras):
    from kerasjob_trainer.trainer.session import callback_state

    callback = holding(keras, np.zeros(2))
    records, tensors = callback_state.capture([callback])
    for _ in range(2):  # as when a call goes on within an epoch
        callback_state.restore([callback], records, tensors)
        callback.value += 1
    assert callback.value.tolist() == [1, 1]


def test_a_value_that_cannot_be_kept_is_named_once_and_the_others_are_kept(keras, caplog):
    class Unkept(keras.callbacks.EarlyStopping):
        def __init__(self, seen=0):
            super().__init__("loss")
            self.lock, self.history, self._own = threading.Lock(), {1: [object()]}, {seen: seen}
            self.itself, self.network, self.decide = [], keras.Sequential(), max
            self.itself.append(self.itself)

    with caplog.at_level("INFO", "kerasjob"):
        for _ in range(2):
            now = carried_over(Unkept(7), Unkept())
    said = [record.getMessage() for record in caplog.records]
    where = f"{Unkept.__qualname__}."
    assert [line.removeprefix(where).split(" is not part of checkpoints ")[0] for line in said] == [
        "lock", "history", "itself",
    ]  # fmt: skip
    assert "history is not part of checkpoints (object)" in said[1]
    assert now._own == {7: 7}


def test_callbacks_of_older_checkpoints_go_on(keras):
    from kerasjob_trainer.trainer.session import callback_state

    values = {"value": {"kerasjob.arrays": 2}, "one": {"kerasjob.arrays": None}, "pair": [1, 2], "plain": {"a": [1]}}
    arrays = {"value/0": np.ones(2), "value/1": np.zeros(1), "one": np.ones(())}
    callback = holding(keras, None)
    callback.pair = ()
    records = [{"type": type(callback).__qualname__, "values": values}]
    callback_state.restore([callback], records, {f"kerasjob.callback/0/{name}": a for name, a in arrays.items()})
    assert_exact(callback.value, [np.ones(2), np.zeros(1)])
    assert_exact((callback.one, callback.pair, callback.plain), (np.ones(()), (1, 2), {"a": [1]}))


def test_the_batch_size_of_a_pipeline_that_leaves_it_open():
    import tensorflow as tf

    from kerasjob_trainer.trainer.session.iterators import _batch_size

    data = tf.data.Dataset.range(10).shuffle(10)
    assert _batch_size(data.batch(4).map(lambda x: x).prefetch(1)) == 4
    assert _batch_size(data) is None


def test_how_long_steps_wait_for_data_is_measured_in_the_graph(keras, monkeypatch):
    import tensorflow as tf
    from tensorflow.python.data.ops.iterator_ops import OwnedIterator

    from kerasjob_trainer.trainer.session.data_wait import DataWait

    for name in ("_next_internal", "get_next_as_optional"):
        monkeypatch.setattr(OwnedIterator, name, getattr(OwnedIterator, name))
    training = [False]
    wait = DataWait(lambda: training[0])
    wait.install()

    def slowly(row):
        time.sleep(0.02)
        return row

    rows = tf.data.Dataset.range(10).map(lambda _: tf.numpy_function(slowly, [tf.zeros((2,))], tf.float32))
    data = rows.map(lambda row: (tf.ensure_shape(row, (2,)), tf.ensure_shape(row, (2,)))).batch(1)
    for steps_at_once in (1, 3):
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
        model.compile("sgd", "mse", steps_per_execution=steps_at_once)
        training[0] = False
        before = wait.seconds
        model.evaluate(data, verbose=0)
        assert wait.seconds == before
        training[0] = True
        model.fit(data, verbose=0, shuffle=False)
        # TensorFlow reads a row or two ahead, so that the wait is a little less than what ten rows take.
        assert wait.seconds - before >= 0.1


def test_a_model_with_other_variables_is_refused(keras):
    from kerasjob_trainer.trainer.failure import Refused
    from kerasjob_trainer.trainer.session import variables

    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, name="out")], name="m")
    values = variables.values(model)
    variables.assign(model, {name: value + 1 for name, value in values.items()}, "x")
    assert np.array_equal(variables.values(model)["m/out/kernel"], values["m/out/kernel"] + 1)
    with pytest.raises(Refused, match=r"m/out/kernel has shape \(2, 3\), saved was \(4, 3\)"):
        variables.assign(model, {**values, "m/out/kernel": np.ones((4, 3))}, "x")


def test_staged_files_are_taken_without_a_download_or_a_hash(keras, tmp_path, monkeypatch):
    from kerasjob_trainer.staging.keras_files import link_datasets
    from kerasjob_trainer.trainer import staged_datasets

    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    source = tmp_path / "boston_housing.npz"
    np.savez(source, x=np.arange(20.0).reshape(10, 2), y=np.arange(10.0))
    link_datasets([source], tmp_path / "keras")
    staged_datasets.apply(tmp_path / "keras")
    (x_train, _), (x_test, _) = keras.datasets.boston_housing.load_data()
    assert (len(x_train), len(x_test)) == (8, 2)


@pytest.mark.parametrize(
    ("every", "total_step", "seconds_ago", "saves"),
    [
        ({"every_steps": 10}, 20, 0, True),
        ({"every_steps": 10}, 21, 0, False),
        ({"every_seconds": 60}, 21, 61, True),
        ({"every_seconds": 60}, 21, 30, False),
        ({}, 20, 1000, False),
    ],
)
def test_a_step_is_saved_where_that_is_due(keras, tmp_path, monkeypatch, every, total_step, seconds_ago, saves):
    from types import SimpleNamespace

    from kerasjob_trainer.trainer.session.keeping import Keeping
    from kerasjob_trainer.trainer.session.records import SessionRecord

    control = SimpleNamespace(send=lambda *_, **__: 0)
    keeping = Keeping(dataclasses.replace(spec(tmp_path), saves=True, **every), control, SessionRecord())
    keeping._due_at -= seconds_ago
    saved = []
    monkeypatch.setattr(keeping, "_save", lambda call, phase, *, upload: saved.append(phase.value) if upload else None)
    keeping.after_step(SimpleNamespace(total_step=total_step, steps_per_execution=1, epoch_ends_now=False))
    assert saved == ["step"] * saves


def keeping_of(folder, monkeypatch, *, saves):
    """The states of one of two workers, large ones, and what it tells its agent."""
    from types import SimpleNamespace

    from kerasjob_trainer.trainer.session import buffers
    from kerasjob_trainer.trainer.session.keeping import Keeping
    from kerasjob_trainer.trainer.session.records import SessionRecord

    monkeypatch.setattr(buffers, "SMALL_BYTES", 0)
    places = {name: str(folder / name) for name in ("program_dir", "staged", "snapshots", "archives")}
    (folder / "program_dir").mkdir()
    told = []
    control = SimpleNamespace(send=lambda kind, **_: told.append(kind))
    of = dataclasses.replace(spec(folder, num_workers=2), saves=saves, can_save=True, every_seconds=60, **places)
    return Keeping(of, control, SessionRecord()), told


def make_steps(keeping, number):
    from types import SimpleNamespace

    from kerasjob_trainer.trainer.session.records import CallRecord

    record = CallRecord(0, {}, {}, {}, {})
    call = SimpleNamespace(
        steps_per_execution=1, epoch_ends_now=False, record=record, callbacks=[], model=None,
        capture=lambda: {"w": np.ones(3)},
    )  # fmt: skip
    for step in range(1, number + 1):
        call.total_step = record.total_step = step
        keeping.after_step(call)


@pytest.mark.parametrize("saves", [True, False])
def test_every_worker_saves_once_in_so_many_seconds(keras, tmp_path, monkeypatch, saves):
    keeping, told = keeping_of(tmp_path, monkeypatch, saves=saves)
    keeping._due_at -= 61
    make_steps(keeping, 5)
    assert told == ["saved"]


def test_what_is_left_out_counts_once_in_so_many_seconds(keras, tmp_path, monkeypatch):
    keeping, told = keeping_of(tmp_path, monkeypatch, saves=True)
    while keeping._saver.buffer() is not None:
        pass
    told.clear()
    keeping._due_at -= 61
    make_steps(keeping, 5)
    assert told == ["late"]


def test_an_iterator_that_takes_its_time_to_go_is_waited_for_by_nobody(monkeypatch):
    from kerasjob_trainer.trainer.session import old_iterators

    class Slow:
        def __del__(self):
            went.append(threading.current_thread().name)
            gone.set()

    went, gone = [], threading.Event()
    young = old_iterators.Kept(Slow())
    del young
    assert went == ["MainThread"], "thousands of short ones are not kept back"
    gone.clear()
    monkeypatch.setattr(old_iterators, "OLD_SECONDS", 0.0)
    old = old_iterators.Kept(Slow())
    del old
    assert gone.wait(10)
    assert went == ["MainThread", "old iterators"]


def test_iterators_of_epochs_that_are_over_go_in_the_thread(keras, monkeypatch):
    from keras.src.backend.tensorflow import trainer as keras_trainer

    from kerasjob_trainer.trainer.session import iterators, old_iterators

    for name in ("reset", "_enumerate_iterator"):
        monkeypatch.setattr(keras_trainer.TFEpochIterator, name, getattr(keras_trainer.TFEpochIterator, name))
    iterators.install(lambda: None)
    let_go = []
    monkeypatch.setattr(old_iterators, "OLD_SECONDS", 0.0)
    monkeypatch.setattr(old_iterators, "let_go", lambda iterator: let_go.append(id(iterator)))
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(np.ones((8, 2)), np.ones((8, 1)), batch_size=4, epochs=3, verbose=0)
    assert len(set(let_go)) == 3
