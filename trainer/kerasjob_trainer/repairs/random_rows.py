"""Dropout, noise and augmentation layers draw as many numbers as a worker has rows: every worker gets the first ones of
the stream, where one process draws for the whole batch at once.

In a step a draw with rows answers this replica's rows of the global draw. For uniform and normal numbers of Philox that
costs nothing: its counter is moved to the first row. Other distributions draw for all rows and drop the rest. Not
reached: numbers that a `tf.random.Generator` draws, and draws of tensors whose first dimension is not the batch.
See https://www.tensorflow.org/guide/random_numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf
from keras.src.backend.config import floatx
from keras.src.backend.tensorflow import random as keras_random
from keras.src.random.seed_generator import draw_seed
from tensorflow.python.ops import nn_ops, random_ops_util

from kerasjob_trainer.global_batch import collectives, rows

_DRAWS = ("truncated_normal", "gamma", "binomial", "beta")
_RAW = ("normal", "uniform", "truncated_normal")
PATCHED = (
    keras_random.normal,
    keras_random.uniform,
    keras_random.randint,
    keras_random.dropout,
    keras_random.categorical,
    keras_random.shuffle,
    *(getattr(keras_random, name) for name in _DRAWS),
)
# Numbers of a type that one block of Philox gives.
_PER_BLOCK = {tf.float64: 2, tf.int64: 2}


def apply() -> None:
    """Wraps the functions."""
    for name, function in (
        ("normal", _normal),
        ("uniform", _uniform),
        ("randint", _randint),
        ("dropout", _dropout),
        ("categorical", _categorical),
        ("shuffle", _shuffle),
    ):
        _wrap(keras_random, name, function)
    for name in _DRAWS:
        _wrap(keras_random, name, _drop_rows)
    for name in _RAW:
        _wrap(tf.random, name, _drop_rows)


def _wrap(module: Any, name: str, replacement: Callable[..., Any]) -> None:
    original = getattr(module, name)

    def draw(*args: Any, **kwargs: Any) -> Any:
        current = rows.current()
        return original(*args, **kwargs) if current is None else replacement(original, current, *args, **kwargs)

    setattr(module, name, draw)


class _Part:
    """Which part of a global draw a local shape is: `multiple` rows of it for each row of the batch."""

    def __init__(self, shape: Any, current: rows.Rows) -> None:
        self.shape = tf.stack([tf.cast(size, tf.int64) for size in shape]) if len(shape) else tf.zeros([0], tf.int64)
        self.has_rows = bool(len(shape)) and current.may_count(shape[0])
        if self.has_rows:
            multiple = self.shape[0] // tf.maximum(current.count, 1)
            first = tf.where(self.shape[0] == multiple * current.count, multiple * current.offset, 0)
            self.first, self.total = first, multiple * current.total

    def local(self, flat_draw: Callable[[Any, Any], Any]) -> Any:
        """`flat_draw` answers so many numbers from one of them on."""
        size = tf.reduce_prod(self.shape)
        first = self.first * tf.reduce_prod(self.shape[1:]) if self.has_rows else tf.constant(0, tf.int64)
        return tf.reshape(flat_draw(first, size), self.shape)


def _dimensions(shape: Any) -> list[Any]:
    if isinstance(shape, tf.TensorShape):
        shape = shape.as_list()
    if tf.is_tensor(shape):
        constant = tf.get_static_value(shape, partial=True)
        if constant is None:
            return list(tf.unstack(shape))
        return [shape[i] if size is None else size for i, size in enumerate(constant)]
    return list(shape)


def _philox(op: Callable[..., Any], kind: Any, seed: Any) -> Callable[[Any, Any], Any]:
    """Draws numbers `first` to `first + size` of the stream of a seed."""
    key, counter, algorithm = random_ops_util.get_key_counter_alg(seed, "auto_select")

    def draw(first: Any, size: Any) -> Any:
        block = _PER_BLOCK.get(kind, 4)
        skipped = first % block
        moved = counter + tf.stack([tf.cast(first // block, counter.dtype), tf.constant(0, counter.dtype)])
        return op(tf.reshape(skipped + size, [1]), key, moved, algorithm)[skipped:]

    return draw


def _seed(seed: Any) -> Any:
    return keras_random._cast_seed(draw_seed(seed))


def _normal(
    _: Any, current: Any, shape: Any, mean: Any = 0.0, stddev: Any = 1.0, dtype: Any = None, seed: Any = None
) -> Any:
    kind = tf.as_dtype(dtype or floatx())
    part = _Part(_dimensions(shape), current)

    def op(size: Any, key: Any, counter: Any, algorithm: Any) -> Any:
        return tf.raw_ops.StatelessRandomNormalV2(shape=size, key=key, counter=counter, alg=algorithm, dtype=kind)

    return part.local(_philox(op, kind, _seed(seed))) * _as(stddev, kind) + _as(mean, kind)


def _as(value: Any, kind: Any) -> Any:
    """Not by `tf.cast`, which takes a Python number for a float32 first."""
    return tf.cast(value, kind) if tf.is_tensor(value) else tf.convert_to_tensor(value, kind)


def _uniform_numbers(shape: Any, kind: Any, seed: Any, current: Any) -> Any:
    def op(size: Any, key: Any, counter: Any, algorithm: Any) -> Any:
        return tf.raw_ops.StatelessRandomUniformV2(shape=size, key=key, counter=counter, alg=algorithm, dtype=kind)

    return _Part(_dimensions(shape), current).local(_philox(op, kind, seed))


def _uniform(
    _: Any, current: Any, shape: Any, minval: Any = 0.0, maxval: Any = 1.0, dtype: Any = None, seed: Any = None
) -> Any:
    kind = tf.as_dtype(dtype or floatx())
    low, high = tf.cast(minval, kind), tf.cast(maxval, kind)
    return _uniform_numbers(shape, kind, _seed(seed), current) * (high - low) + low


def _randint(_: Any, current: Any, shape: Any, minval: Any, maxval: Any, dtype: Any = "int32", seed: Any = None) -> Any:
    kind = tf.as_dtype(dtype) if dtype in ("int32", "int64") else tf.int64
    low, high = tf.cast(minval, kind), tf.cast(maxval, kind)

    def op(size: Any, key: Any, counter: Any, algorithm: Any) -> Any:
        return tf.raw_ops.StatelessRandomUniformIntV2(
            shape=size, key=key, counter=counter, alg=algorithm, minval=low, maxval=high
        )

    return tf.cast(_Part(_dimensions(shape), current).local(_philox(op, kind, _seed(seed))), dtype)


def _dropout(original: Any, current: Any, inputs: Any, rate: Any, noise_shape: Any = None, seed: Any = None) -> Any:
    if rate in (0.0, 1.0):
        return original(inputs, rate, noise_shape, seed)
    x = tf.convert_to_tensor(inputs)
    drawn = _seed(seed)
    dynamic = tf.shape(x)
    noise = [dynamic[i] if size is None else size for i, size in enumerate(x.shape)]
    if noise_shape is not None:
        noise = [noise[i] if size is None else size for i, size in enumerate(noise_shape)]

    def uniform(shape: Any, dtype: Any) -> Any:
        return _uniform_numbers(noise, dtype, drawn, current)

    return nn_ops._dropout(
        x=x,
        rate=rate,
        noise_shape=tf.stack(noise),
        uniform_sampler=uniform,
        dummy_rng_step=lambda: None,
        name=None,
        default_name="stateless_dropout",
    )


def _drop_rows(original: Any, current: Any, shape: Any, *args: Any, **kwargs: Any) -> Any:
    sizes = _dimensions(shape)
    part = _Part(sizes, current)
    if not part.has_rows:
        return original(shape, *args, **kwargs)
    whole = tf.concat([[part.total], part.shape[1:]], axis=0)
    args = tuple(_whole(value, current) for value in args)
    kwargs = {name: _whole(value, current) for name, value in kwargs.items()}
    drawn = original(tf.cast(whole, tf.int32), *args, **kwargs)
    result = drawn[part.first : part.first + part.shape[0]]
    return tf.ensure_shape(result, [tf.get_static_value(size) for size in sizes])


def _whole(value: Any, current: rows.Rows) -> Any:
    """A parameter with rows must be that of all rows."""
    if tf.is_tensor(value) and value.shape.rank and value.shape[0] is None:
        return collectives.gather_rows(value, current)
    return value


def _categorical(original: Any, current: Any, logits: Any, *args: Any, **kwargs: Any) -> Any:
    whole = _whole(tf.convert_to_tensor(logits), current)
    drawn = original(whole, *args, **kwargs)
    return drawn if whole is logits else drawn[current.offset : current.offset + current.count]


def _shuffle(original: Any, current: Any, x: Any, axis: int = 0, seed: Any = None) -> Any:
    tensor = tf.convert_to_tensor(x)
    if axis != 0 or tensor.shape[0] is not None:
        return original(x, axis, seed)
    mixed = original(collectives.gather_rows(tensor, current), axis, seed)
    return mixed[current.offset : current.offset + current.count]
