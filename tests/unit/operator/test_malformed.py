"""Objects of any shape: a fault with its path, or a pod. Never an exception, which no user would hear of."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.operator.test_store import KEY, job

from kerasjob_core.core_objects import DEPTH_MAX, KEYS
from kerasjob_core.observed import JobRef
from kerasjob_core.validate import parse_spec
from kerasjob_operator import json_text, render, tensorboard
from kerasjob_operator.listing import take_over
from kerasjob_operator.metrics import UNREADABLE
from kerasjob_operator.store import Store

REF = JobRef("team", "mnist", "0a1b2c3d-0000")
BASE = {"program": {"script": "t.py"}, "tensorBoard": {"uri": "/events"}}
WORDS = [
    "metadata", "spec", "labels", "annotations", "name", "key", "trainer", "kerasjob-work", "kerasjob.dev/slot", "A",
    "/tmp", "mountPath", "nodeSelector", *KEYS,
]  # fmt: skip

scalars = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
texts = st.sampled_from(WORDS) | st.text(max_size=5)
anything = st.recursive(
    scalars | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)
fields_of_entries = st.sampled_from(["name", "key", "mountPath", *KEYS])
entries = st.lists(st.dictionaries(fields_of_entries, anything, max_size=3), max_size=3)
overlays = st.fixed_dictionaries(
    {},
    optional={
        "metadata": st.dictionaries(st.sampled_from(["labels", "annotations"]), anything) | anything,
        "spec": st.dictionaries(st.sampled_from(sorted(KEYS)), entries | anything, max_size=4) | anything,
    },
)


def pod_or_faults(fields):
    spec, faults = parse_spec(BASE | fields)
    if spec is None:
        assert faults
        return faults
    plan = render.plan(REF, spec, "image", 1)
    tensorboard.deployment(REF, spec, "image")
    assert spec.has_core_objects or not fields
    return render.pod(REF, plan["data"][render.POD_FILE], 0, 0)


@settings(max_examples=400, deadline=None)
@given(overlays | st.dictionaries(texts, anything, max_size=3))
def test_any_overlay_is_a_pod_or_has_faults(overlay):
    assert pod_or_faults({"podTemplate": overlay} if overlay else {})


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from(["env", "envFrom", "volumes", "volumeMounts", "imagePullSecrets", "tolerations",
                                        "resources", "nodeSelector"]), entries | anything, max_size=3))  # fmt: skip
def test_any_list_of_objects_is_a_pod_or_has_faults(fields):
    spec, _ = parse_spec(BASE | fields)
    if spec is None or spec.has_core_objects:
        assert pod_or_faults(fields)


TRAINER = "spec.podTemplate.spec.containers[0]"


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"podTemplate": {"metadata": {"labels": 5}}},
         "spec.podTemplate.metadata.labels: expected an object of texts, got 5"),
        ({"podTemplate": {"metadata": {"labels": "abc"}}},
         "spec.podTemplate.metadata.labels: expected an object of texts, got 'abc'"),
        ({"podTemplate": {"metadata": {"annotations": {"a": 1}}}},
         "spec.podTemplate.metadata.annotations.a: expected text, got 1"),
        ({"podTemplate": {"metadata": []}}, "spec.podTemplate.metadata: expected an object, got []"),
        ({"podTemplate": {"spec": "x"}}, "spec.podTemplate.spec: expected an object, got 'x'"),
        ({"podTemplate": {"spec": {"containers": {"name": "trainer"}}}},
         "spec.podTemplate.spec.containers: expected a list of objects, got {'name': 'trainer'}"),
        ({"podTemplate": {"spec": {"containers": None}}},
         "spec.podTemplate.spec.containers: cannot be taken away: the trainer is one of them"),
        ({"podTemplate": {"spec": {"containers": [{"name": "trainer", "env": 5}]}}},
         f"{TRAINER}.env: expected a list of objects, got 5"),
        ({"podTemplate": {"spec": {"containers": [{"name": "trainer", "volumeMounts": [{"mountPath": {}}]}]}}},
         f"{TRAINER}.volumeMounts[0].mountPath: expected text, got {{}}"),
        ({"podTemplate": {"spec": {"volumes": [{"name": {}}]}}},
         "spec.podTemplate.spec.volumes[0].name: expected text, got {}"),
        ({"tolerations": [{"key": ["a"]}]}, "spec.tolerations[0].key: expected text, got ['a']"),
        ({"volumes": [{"name": {}}]}, "spec.volumes[0].name: expected text, got {}"),
        ({"volumes": [{"emptyDir": {}}]}, "spec.volumes[0].name: required, but not given"),
        ({"volumeMounts": [{"name": [], "mountPath": "/a"}]}, "spec.volumeMounts[0].name: expected text, got []"),
    ],
)  # fmt: skip
def test_a_shape_that_cannot_be_is_said_with_its_path(fields, fault):
    assert pod_or_faults(fields) == (fault,)


def test_what_is_nested_without_end_is_refused_before_anything_reads_it():
    deep = {}
    for _ in range(100_000):
        deep = {"a": deep}
    assert pod_or_faults({"podTemplate": deep}) == (f"spec.podTemplate: nested more than {DEPTH_MAX} deep",)
    while deep:  # taken apart level by level: the interpreter would recurse
        deep = deep.pop("a")


def test_a_word_with_nothing_below_it_takes_nothing_away():
    pod = pod_or_faults({"podTemplate": {"metadata": None, "spec": None}})
    assert pod == pod_or_faults({"podTemplate": {}})


def test_a_page_with_an_object_nested_without_end_is_read():
    deep = b'{"a":[' * 5_000 + b'"]}\\""' + b"]}" * 5_000
    page = json_text.loads(b'{"items":[{"spec":%s,"b":"{[\\"\xc3\xa4"},{"name":"other"}]}' % deep)
    assert page["items"][0]["b"] == '{["ä'
    assert page["items"][1] == {"name": "other"}
    spec = page["items"][0]["spec"]
    for _ in range((json_text.DEPTH_MAX - 3) // 2):
        (spec,) = spec["a"]
    assert spec is None or spec == {"a": None}


def test_what_is_no_json_is_an_error_still():
    with pytest.raises(ValueError, match="unexpected"):
        json_text.loads("{")


def test_a_spec_that_breaks_the_checks_themselves_is_invalid_and_harms_no_other(monkeypatch):
    def broken(_data):
        raise TypeError("unhashable")

    monkeypatch.setattr("kerasjob_operator.jobs.parse_spec", broken)
    store = Store("image")
    store.put_job(job())
    assert store.observe(KEY).job.faults == ("spec: the operator cannot read it: TypeError: unhashable",)


def test_an_object_that_cannot_be_read_is_passed_by():
    store = Store("image")
    before = UNREADABLE.labels("kerasjobs")._value.get()
    for body in ({"metadata": {}}, job()):
        take_over("kerasjobs", body, store.put_job)
    assert store.observe(KEY) is not None
    assert UNREADABLE.labels("kerasjobs")._value.get() == before + 1
