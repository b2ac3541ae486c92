"""Programs of Keras 2 run: names that have moved are found where they were, and what has another spelling now is heard.

Applied by `main` before the program. Only what Keras 3 dropped without changing its meaning: a name whose meaning is
another one now, or which is gone, stays an error, in Keras's own words.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import keras
import tensorflow as tf
from keras.src.callbacks import Callback, CallbackList
from keras.src.legacy.preprocessing import image as legacy_image
from keras.src.legacy.preprocessing import text as legacy_text
from keras.src.optimizers.base_optimizer import BaseOptimizer

from kerasjob_trainer.log import log

# Modules that were names for parts of `keras.layers`.
_LAYER_MODULES = ("core", "convolutional", "pooling", "normalization", "merge", "embeddings", "recurrent")
_GENERATOR_METHODS = {"fit_generator": "fit", "evaluate_generator": "evaluate", "predict_generator": "predict"}


def apply() -> None:
    """Adds the names. Makes no tensor."""
    for root in ("keras", "tensorflow.keras"):
        _add_modules(root)
    _add_image_generator()
    _replace_legacy_optimizers()
    _hear_learning_rate()
    _add_generator_methods()
    _call_callbacks_by_position()


def _add_modules(root: str) -> None:
    base = importlib.import_module(root)
    layers = base.layers
    experimental: Any = _module(f"{root}.layers.experimental", SyncBatchNormalization=_synchronized)
    experimental.preprocessing = _alias(f"{root}.layers.experimental.preprocessing", layers)
    _put(layers, "experimental", experimental)
    for name in _LAYER_MODULES:
        _put(layers, name, _alias(f"{root}.layers.{name}", layers))
    _put(base.utils, "np_utils", _alias(f"{root}.utils.np_utils", base.utils))
    _put(base.preprocessing, "text", _alias(f"{root}.preprocessing.text", legacy_text))


def _module(name: str, **members: Any) -> ModuleType:
    module = sys.modules.setdefault(name, ModuleType(name, "A name of Keras 2."))
    module.__path__ = []
    for key, value in members.items():
        setattr(module, key, value)
    return module


def _alias(name: str, target: ModuleType) -> ModuleType:
    """A module of an old name with everything that another one has, now and later."""
    module = _module(name)
    module.__getattr__ = lambda key: getattr(target, key)  # type: ignore[method-assign]
    module.__all__ = [key for key in dir(target) if not key.startswith("_")]  # type: ignore[attr-defined]
    return module


def _put(parent: ModuleType, name: str, module: ModuleType) -> None:
    if not hasattr(parent, name):
        setattr(parent, name, module)


def _synchronized(*args: Any, **kwargs: Any) -> Any:
    return keras.layers.BatchNormalization(*args, synchronized=True, **kwargs)


def _add_image_generator() -> None:
    for module in (importlib.import_module("keras.preprocessing.image"), tf.keras.preprocessing.image):
        for name in ("ImageDataGenerator", "DirectoryIterator", "NumpyArrayIterator", "Iterator"):
            if not hasattr(module, name):
                setattr(module, name, getattr(legacy_image, name))


def _replace_legacy_optimizers() -> None:
    """`optimizers.legacy.Adam` is the same arithmetic in older code, which Keras 3 does not have."""
    legacy = tf.keras.optimizers.legacy
    for name in [key for key in dir(legacy) if isinstance(getattr(legacy, key), type)]:
        if hasattr(keras.optimizers, name):
            setattr(legacy, name, getattr(keras.optimizers, name))


def _hear_learning_rate() -> None:
    """`lr=` and `.lr` are the learning rate, as they were."""
    original = BaseOptimizer.__init__

    @functools.wraps(original)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        if "lr" in kwargs:
            # The subclass has put its default in the place of the learning rate.
            args, kwargs = args[1:], {key: value for key, value in kwargs.items() if key != "learning_rate"}
            kwargs["learning_rate"] = kwargs.pop("lr")
            log.info("optimizer: lr is read as learning_rate")
        original(self, *args, **kwargs)

    BaseOptimizer.__init__ = __init__
    if not hasattr(BaseOptimizer, "lr"):
        BaseOptimizer.lr = property(
            lambda self: self.learning_rate, lambda self, rate: setattr(self, "learning_rate", rate)
        )


def _add_generator_methods() -> None:
    for old, new in _GENERATOR_METHODS.items():
        if not hasattr(keras.Model, old):
            setattr(keras.Model, old, _renamed(old, new))


def _renamed(old: str, new: str) -> Callable[..., Any]:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        log.warning("%s is called %s now", old, new)
        # Threads and queues are the dataset's own now.
        gone = ("workers", "use_multiprocessing", "max_queue_size", "generator")
        if "generator" in kwargs:
            args = (kwargs["generator"], *args)
        return getattr(self, new)(*args, **{key: value for key, value in kwargs.items() if key not in gone})

    return method


def _call_callbacks_by_position() -> None:
    """Keras 3.15 calls `on_epoch_end(epoch, logs=logs)`: a callback that calls them something else fails."""
    set_model = CallbackList.set_model

    def hearing(self: Any, model: Any) -> None:
        for callback in self.callbacks:
            _accept_logs(callback)
        set_model(self, model)

    CallbackList.set_model = hearing


def _accept_logs(callback: Any) -> None:
    for name, default in vars(Callback).items():
        if not name.startswith("on_"):
            continue
        method = getattr(callback, name, None)
        if method is None or getattr(type(callback), name, None) is default:
            continue
        try:
            parameters = inspect.signature(method).parameters
        except (TypeError, ValueError):
            continue
        if "logs" not in parameters and not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            setattr(callback, name, _by_position(method))


def _by_position(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def hook(*args: Any, **kwargs: Any) -> Any:
        return method(*args, *kwargs.values())

    return hook
