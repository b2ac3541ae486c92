"""The states of all global random generators a program draws from, as JSON. Used by the session.

Python's, numpy's, TensorFlow's eager one (from which operations without a seed get theirs) and Keras's own.
"""

from __future__ import annotations

import base64
import random
from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np
from keras.src.backend.common import global_state
from keras.src.random.seed_generator import GLOBAL_SEED_GENERATOR, global_seed_generator
from tensorflow.python.eager import context

from kerasjob_trainer.trainer.session.variables import local_value

_WITH_WORDS = ("python", "numpy", "tensorflow")


class Mark(NamedTuple):
    """The states that lie on the host, as they are: taken at every step, so cheap."""

    python: Any
    numpy: Any
    tensorflow: Any


def mark() -> Mark:
    """As of now. Draws nothing."""
    eager = context.context()._rng
    return Mark(random.getstate(), np.random.get_state(legacy=True), None if eager is None else eager.getstate())


def capture(at: Mark | None = None) -> dict[str, Any]:
    """All states as of now, or as of a mark. Draws nothing."""
    at = at or mark()
    name, keys, *rest = at.numpy
    keras_generator = global_state.get_global_attribute(GLOBAL_SEED_GENERATOR)
    return {
        "python": _json_state(at.python),
        "numpy": [name, _text(keys), *rest],
        "tensorflow": None if at.tensorflow is None else _json_state(at.tensorflow),
        # Drawn from where the program makes something, not in a step.
        "keras": None if keras_generator is None else local_value(keras_generator.state).tolist(),
    }


def moved_since(before: dict[str, Any]) -> frozenset[str]:
    """The names of those states that are not what they were when all were captured."""
    return frozenset(name for name, state in capture().items() if state != before[name])


def restore(states: dict[str, Any], *, but: Collection[str] = ()) -> None:
    """Sets all states to those that were captured (here or in another process), `but` for those with these names."""
    mine = random.getstate()
    if "numpy" not in but:
        name, keys, *rest = states["numpy"]
        np.random.set_state((name, _words(keys), *rest))
    if states["keras"] is not None and "keras" not in but:
        generator = global_seed_generator()
        generator.state.assign(np.array(states["keras"], dtype=generator.state.dtype))
    eager = context.context()._rng
    if states["tensorflow"] is not None and eager is not None and "tensorflow" not in but:
        eager.setstate(_python_state(states["tensorflow"]))
    # Last: making Keras's generator draws from it.
    random.setstate(mine if "python" in but else _python_state(states["python"]))


def share_words(states: dict[str, Any], known: dict[str, int]) -> dict[str, Any]:
    """The states with a number in place of each long text, which `known` numbers: most draws leave it as it is."""
    shared = dict(states)
    for part in _WITH_WORDS:
        if states.get(part) is not None:
            first, words, *rest = states[part]
            shared[part] = [first, known.setdefault(words, len(known)), *rest]
    return shared


def unshare_words(states: dict[str, Any], known: list[str]) -> dict[str, Any]:
    """What `share_words` was given."""
    whole = dict(states)
    for part in _WITH_WORDS:
        if states.get(part) is not None and isinstance(states[part][1], int):
            first, number, *rest = states[part]
            whole[part] = [first, known[number], *rest]
    return whole


def _json_state(state: Any) -> list[Any]:
    """Of Python's generator: version, words of the Mersenne Twister, position in them, the next Gaussian."""
    version, (*words, position), gauss = state
    return [version, _text(np.array(words, dtype=np.uint32)), position, gauss]


def _python_state(state: Any) -> tuple[Any, ...]:
    version, words, position, gauss = state
    return version, (*_words(words).tolist(), position), gauss


def _text(words: Any) -> str:
    return base64.b64encode(words.astype("<u4").tobytes()).decode()


def _words(text: str) -> np.ndarray[Any, Any]:
    return np.frombuffer(base64.b64decode(text), dtype="<u4").astype(np.uint32)
