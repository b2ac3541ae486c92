"""Settings from the environment: refused early, all faults at once."""

import pytest

from kerasjob_operator.settings import OperatorSettings, from_environment


def test_what_is_not_set_has_its_default():
    assert from_environment({"PATH": "/bin"}) == OperatorSettings()
    assert OperatorSettings().watched == ()


def test_each_field_is_a_variable():
    settings = from_environment(
        {"KERASJOB_NAMESPACES": "a, b,", "KERASJOB_PORT": "9", "KERASJOB_PROGRESS_INTERVAL_SECONDS": "0.5"}
    )
    assert settings.watched == ("a", "b")
    assert (settings.port, settings.progress_interval_seconds) == (9, 0.5)


def test_all_faults_are_said_at_once():
    with pytest.raises(ValueError, match="KERASJOB_PORT: expected int, got 'x'") as caught:
        from_environment(
            {"KERASJOB_PORT": "x", "KERASJOB_RESYNC_SECONDS": "nan", "KERASJOB_QUEUE_WORKERS": "0",
             "KERASJOB_LOG_LEVEL": "LOUD"}
        )  # fmt: skip
    for name in ("KERASJOB_RESYNC_SECONDS", "KERASJOB_QUEUE_WORKERS", "KERASJOB_LOG_LEVEL"):
        assert name in str(caught.value)
