"""Why a test of Keras that passes in one process does not on two workers, by a part of its name."""

REASONS: dict[str, str] = {}
