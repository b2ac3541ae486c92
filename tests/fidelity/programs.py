"""What the rows share: data with a tail that nothing divides, small smooth models, and what is compared of a run."""

from typing import Any

import numpy as np

ROWS, BATCH = 29, 8  # batches of 8, 8, 8 and 5 rows: three workers divide none of them


def data(features: int = 6, classes: int = 3, rows: int = ROWS, seed: int = 1) -> tuple[Any, Any]:
    """Features, and classes that depend on them."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, features))
    weights = rng.normal(size=(features, classes))
    return x, np.argmax(x @ weights + 0.3 * rng.normal(size=(rows, classes)), axis=1)


def images(rows: int = ROWS, size: int = 8, seed: int = 2) -> tuple[Any, Any]:
    """Images of one channel, two classes."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, rows)
    return rng.normal(size=(rows, size, size, 1)) + 0.5 * y[:, None, None, None], y


def dense(keras: Any, *layers: Any, features: int = 6, classes: int = 3) -> Any:
    """A small classifier with layers of the row's own in the middle."""
    return keras.Sequential(
        [
            keras.Input((features,)),
            keras.layers.Dense(8, activation="tanh"),
            *layers,
            keras.layers.Dense(classes, activation="softmax"),
        ]
    )


def result(model: Any, history: Any = None, optimizers: Any = None, **more: Any) -> dict[str, Any]:
    """All logs of a run, and all variables at its end. `optimizers`: others than the model's own."""
    found = {f"log {name}": values for name, values in (history.history if history is not None else {}).items()}
    for i, variable in enumerate(model.variables):
        found[f"variable {i} {variable.name}"] = variable.numpy()
    for number, optimizer in enumerate(optimizers or [getattr(model, "optimizer", None)]):
        for i, variable in enumerate(optimizer.variables if optimizer is not None else []):
            found[f"optimizer {number} {i} {variable.name}"] = variable.numpy()
    return found | more
