"""The overlay of spec.podTemplate, as a table of sentences."""

import pytest

from kerasjob_operator.overlay import merge

BASE = {
    "metadata": {"annotations": {"a": "1"}},
    "spec": {
        "restartPolicy": "Never",
        "containers": [{"name": "trainer", "env": [{"name": "A", "value": "1"}], "command": ["python"]}],
        "volumes": [{"name": "work", "emptyDir": {}}],
        "tolerations": [{"key": "gpu"}],
    },
}


@pytest.mark.parametrize(
    ("patch", "path", "expected"),
    [
        ({"metadata": {"annotations": {"b": "2"}}}, ("metadata", "annotations"), {"a": "1", "b": "2"}),
        ({"metadata": {"annotations": {"a": None}}}, ("metadata", "annotations"), {}),
        ({"spec": {"priorityClassName": "high"}}, ("spec", "priorityClassName"), "high"),
        (
            {"spec": {"volumes": [{"name": "more", "emptyDir": {}}]}},
            ("spec", "volumes"),
            [{"name": "work", "emptyDir": {}}, {"name": "more", "emptyDir": {}}],
        ),
        (
            {"spec": {"volumes": [{"name": "work", "emptyDir": {"sizeLimit": "1Gi"}}]}},
            ("spec", "volumes"),
            [{"name": "work", "emptyDir": {"sizeLimit": "1Gi"}}],
        ),
        ({"spec": {"tolerations": [{"key": "spot"}]}}, ("spec", "tolerations"), [{"key": "gpu"}, {"key": "spot"}]),
    ],
)
def test_what_an_overlay_does(patch, path, expected):
    merged = merge(BASE, patch)
    for key in path:
        merged = merged[key]
    assert merged == expected


def test_containers_merge_by_name_and_their_env_too():
    patch = {"spec": {"containers": [{"name": "trainer", "env": [{"name": "B", "value": "2"}]}, {"name": "side"}]}}
    trainer, side = merge(BASE, patch)["spec"]["containers"]
    assert trainer["command"] == ["python"]
    assert [entry["name"] for entry in trainer["env"]] == ["A", "B"]
    assert side == {"name": "side"}


def test_neither_side_is_changed():
    patch = {"spec": {"containers": [{"name": "trainer", "image": "x"}]}}
    merge(BASE, patch)
    assert "image" not in BASE["spec"]["containers"][0]
    assert patch == {"spec": {"containers": [{"name": "trainer", "image": "x"}]}}
