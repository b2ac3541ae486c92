"""Rows by theme. Importing this fills the table."""

from tests.fidelity.rows import basics, callbacks, distributing, input_data, layers, optimizing, train_steps

__all__ = ["basics", "callbacks", "distributing", "input_data", "layers", "optimizing", "train_steps"]
