"""A recipe as validation sees it, without Keras: the sections, their types, the size. All faults at once."""

import datetime
import json
from dataclasses import replace

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.core.builders import a_job

from kerasjob_api.codec import from_wire, to_wire
from kerasjob_api.constants import RECIPE_MAX_BYTES
from kerasjob_api.recipe import recipe_faults
from kerasjob_api.wire import ProgramConfig
from kerasjob_core.observed import JobRef
from kerasjob_core.validate import parse_spec
from kerasjob_core.worker_config import worker_config

GOOD = yaml.safe_load("""
data:
  train: {"datasets.mnist": {}, take: 1000}
  test: {npz: {file: more.npz, features: x, labels: z}}
preprocessing:
  - Rescaling: {scale: 0.00392}
model:
  layers:
    - Flatten
    - Dense: {units: 10, activation: softmax}
compile: {optimizer: adam, loss: sparse_categorical_crossentropy, metrics: [accuracy]}
fit: {epochs: 2, class_weight: {0: 1.0, 1: 2.0}}
callbacks: [TerminateOnNaN]
evaluate: test
export: {path: digits.keras}
""")


def faults(**sections):
    """Of the good recipe with other sections; a section that is None is not there. Without `spec.program.recipe.`"""
    recipe = {key: value for key, value in (GOOD | sections).items() if value is not None}
    spec, found = parse_spec({"program": {"recipe": recipe}})
    assert (spec is None) == bool(found)
    return [fault.removeprefix("spec.program.recipe") for fault in found]


def test_a_good_recipe_has_no_faults_and_reaches_the_worker_as_json_has_it():
    spec, found = parse_spec({"program": {"recipe": GOOD}})
    assert found == ()
    config = worker_config(JobRef("default", "a", "uid"), spec, 7)
    read = from_wire(ProgramConfig, json.loads(json.dumps(to_wire(config.program))))
    assert read == config.program
    assert read.recipe["fit"]["class_weight"] == {"0": 1.0, "1": 2.0}
    assert read.recipe["model"] == GOOD["model"]


def test_it_is_one_of_four_forms():
    for other in ({"script": "a.py"}, {"module": "a"}, {"source": "pass"}):
        _, found = parse_spec({"program": {"recipe": GOOD, **other}})
        words = f"exactly one of script, module, source and recipe must be given, got {next(iter(other))} and recipe"
        assert found == (f"spec.program: {words}",)
    assert parse_spec({"program": {}})[1] == (
        "spec.program: exactly one of script, module, source and recipe must be given, got none",
    )


def test_it_takes_no_arguments_of_a_program():
    assert parse_spec({"program": {"recipe": GOOD, "args": ["x"]}})[1] == (
        "spec.program.args: a recipe takes no arguments",
    )


def test_a_wrong_recipe_is_an_invalid_job_with_the_fields_path():
    _, found = parse_spec({"program": {"recipe": {**GOOD, "modl": {}}}})
    plan = replace(a_job(), spec=None, faults=found).decide()
    (condition,) = [c for c in plan.status.conditions if c.type == "Invalid"]
    assert condition.message == "spec.program.recipe.modl: unknown section; did you mean 'model'?"
    assert plan.status.phase == "Invalid"


def test_all_faults_are_said_at_once():
    assert faults(
        data={"trian": {}, "validation": {"npzz": {}, "take": 3}},
        model={"layers": [], "functional": {}},
        compile=None,
        fits={},
        callbacks=["A", {"B": 1}, {"C": {}, "D": {}}],
        export={"path": "x", "form": "keras"},
    ) == [
        ".fits: unknown section; did you mean 'fit'?",
        ".compile: required, but not given",
        ".data.trian: unknown key; did you mean 'train'?",
        ".data.train: required, but not given",
        ".data.validation.npzz: unknown loader; did you mean 'npz'?",
        ".model: expected exactly one of layers and functional, got layers and functional",
        ".model.layers: expected at least 1 layer, got none",
        ".model.functional.layers: required, but not given",
        ".callbacks[1].B: expected a mapping of arguments, got 1",
        ".callbacks[2]: expected one callback as `Name` or `Name: {…}`; got {'C': {}, 'D': {}}",
        ".export.form: unknown key; did you mean 'format'?",
        ".export.path: of format keras it must end with .keras, got 'x'",
        ".evaluate: there is no spec.program.recipe.data.test",
    ]


@pytest.mark.parametrize(
    ("section", "value", "fault"),
    [
        ("data", [], ".data: expected a mapping of train, validation, test, got []"),
        ("data", {"train": "mnist"}, ".data.train: expected one loader with its arguments (audio_dataset_from_"),
        ("data", {"train": {}}, ".data.train: expected exactly one loader (audio_dataset_from_directory, image_"),
        (
            "data",
            {"train": {"npz": {}, "datasets.mnist": {}}},
            "or datasets.NAME), got npz and datasets.mnist",
        ),
        (
            "data",
            {"train": {"image_dataset_from_dir": {}}},
            ".data.train.image_dataset_from_dir: unknown loader; did you mean 'image_dataset_from_directory'?",
        ),
        ("data", {"train": {"npz": [1]}}, ".data.train.npz: expected a mapping of arguments, got [1]"),
        ("preprocessing", {"age": "Normalization"}, ".preprocessing.age: expected a list of layer names"),
        ("preprocessing", [["Rescaling"]], ".preprocessing[0]: expected one layer as `Name` or `Name: {…}`"),
        ("model", {"layer": []}, ".model.layer: unknown key; did you mean 'layers'?"),
        ("model", {}, ".model: expected exactly one of layers and functional, got none"),
        ("model", {"functional": []}, ".model.functional: expected a mapping of inputs, layers, outputs, got []"),
        (
            "model",
            {"functional": {"layers": ["Flatten"], "outputs": {}, "inputs": []}},
            ".model.functional.inputs: expected a mapping of names and the arguments of Input, got []",
        ),
        (
            "model",
            {"functional": {"layers": [{"Dense": {"units": 1}, "input": "x"}]}},
            ".model.functional.layers[0]: expected one layer as `Name` or `Name: {…}`, beside it inputs; got",
        ),
        ("compile", [], ".compile: expected a mapping of arguments, got []"),
        ("fit", "2", ".fit: expected a mapping of arguments, got '2'"),
        ("callbacks", {}, ".callbacks: expected a list of callback names"),
        ("evaluate", "tests", ".evaluate: expected one of train, validation, test, got 'tests'"),
        ("evaluate", {"data": 1}, ".evaluate.data: expected one of train, validation, test, got 1"),
        ("evaluate", [], ".evaluate: expected a mapping of arguments, or the name of the data, got []"),
        ("export", {"format": "keras"}, ".export.path: required, but not given"),
        ("export", {"path": 1}, ".export.path: expected a path, got 1"),
        (
            "export",
            {"path": "x", "format": "savedmodel"},
            ".export.format: expected keras, saved_model, weights, got 'savedmodel'; did you mean 'saved_model'?",
        ),
        ("export", {"path": "x.h5", "format": "weights"}, ".export.path: of format weights it must end with .weights"),
    ],
)
def test_what_is_wrong_is_said_with_its_path(section, value, fault):
    found = faults(**{section: value})
    assert any(fault in one for one in found), found


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        (datetime.date(2026, 1, 1), ".compile.loss: expected text, a number, true, false, a list or a mapping, got"),
        (float("nan"), ".compile.loss: expected a finite number, got nan"),
        ({True: 1}, ".compile.loss: a key must be text, got True; quote it"),
        ("x" * RECIPE_MAX_BYTES, ": at most 64 KiB; put what is large into a file and name it"),
        ([0] * RECIPE_MAX_BYTES, ": at most 64 KiB"),
        (json.loads("[" * 40 + "]" * 40), ": nested deeper than 32 levels"),
    ],
)
def test_it_is_plain_data_of_a_size_that_a_cluster_can_keep(value, fault):
    (found,) = faults(compile={"loss": value})
    assert found.startswith(fault)


def test_yaml_that_points_to_itself_is_refused_not_followed():
    loop = yaml.safe_load("&a {data: *a}")
    assert recipe_faults(loop) == ["spec.program.recipe: nested deeper than 32 levels"]
    bomb = [1] * 8
    for _ in range(8):
        bomb = [bomb] * 8
    assert recipe_faults({"data": bomb})[0].startswith("spec.program.recipe: at most 64 KiB")


def test_a_status_can_hold_the_faults_of_any_recipe():
    found = faults(**{f"{'x' * 900}{index}": {} for index in range(60)})
    assert len(found) == 31
    assert found[-1] == "and 30 more"
    assert max(map(len, found)) <= 600


DATA = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["train", "npz", "Dense", "keras", ""]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["train", "npz", "layers", "functional", "inputs", "path", "data", "x"]), inner
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from([*GOOD, "other"]), DATA))
def test_whatever_is_given_is_judged(recipe):
    assert all(isinstance(fault, str) for fault in recipe_faults(GOOD | recipe))
