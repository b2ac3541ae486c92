"""Why a test of Keras that passes in one process does not on two workers, by a part of its name. Nothing else may fail."""

REASONS: dict[str, str] = {}
