"""`kerasjob validate` of a recipe: what its structure and what Keras have against it, at once; numbers as kubectl reads
them; where its data are on this machine."""

import importlib.util
from pathlib import Path

import pytest
import yaml
from tests.unit.client.conftest import job_file

from kerasjob import InvalidInput, load
from kerasjob.cli import main
from kerasjob.local.uris import UriMap, localized
from kerasjob.recipes import keras_faults
from kerasjob_api.wire import DataSource, ProgramConfig, WorkerConfig

RECIPE = yaml.safe_load("""
data: {train: {npz: {file: x.npz, features: x, labels: z}}}
model: {layers: [{Dense: {units: 1}}]}
compile: {optimizer: adam, loss: mse}
""")


def test_all_that_is_wrong_is_said_at_once(folder, capsys):
    wrong = {**RECIPE, "modle": {}, "callbacks": {}, "fit": {"epoch": 3}}
    assert main(["validate", str(job_file(folder, workers=0, program={"recipe": wrong}))]) == 2
    shown = [line.partition("job.yaml: ")[2] for line in capsys.readouterr().err.splitlines()]
    assert shown == [
        "spec.workers: input should be greater than or equal to 1, got 0",
        "spec.program.recipe.modle: unknown section; did you mean 'model'?",
        "spec.program.recipe.callbacks: expected a list of callback names, each as `Name` or `Name: {argument: value}`,"
        " got {}",
        "spec.program.recipe.fit.epoch: fit has no argument 'epoch'; did you mean 'epochs'?",
    ]


def test_without_keras_it_says_what_was_not_checked(folder, capsys, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert keras_faults(RECIPE) is None
    assert main(["validate", str(job_file(folder, program={"recipe": RECIPE}))]) == 0
    assert "is valid; names and arguments of the recipe were not checked: Keras is not" in capsys.readouterr().out


def test_a_check_that_breaks_is_a_fault_that_says_so(monkeypatch):
    monkeypatch.setattr("kerasjob.recipes.COMMAND", ("sh", "-c", "echo broken >&2; exit 1"))
    assert keras_faults(RECIPE) == ["spec.program.recipe: cannot be checked here: broken"]


@pytest.mark.parametrize("text", ["1e-3", "1E-3", "1.0e-3", ".1e-2", "+1e-3"])
def test_a_number_is_one_here_as_well(folder, text):
    path = job_file(folder, program={"recipe": {**RECIPE, "fit": {"a": "NUMBER", "b": "e1", "c": "1e"}}})
    path.write_text(path.read_text().replace("NUMBER", text))
    assert load(path).spec.program.recipe["fit"] == {"a": 0.001, "b": "e1", "c": "1e"}


def test_a_bare_y_is_what_it_is_on_the_server(folder):
    path = job_file(folder, program={"recipe": RECIPE})
    path.write_text(path.read_text().replace("labels: z", "y: y"))
    with pytest.raises(InvalidInput, match=r"data\.train\.npz: a key must be text, got True; quote it"):
        load(path)


def test_the_paths_of_a_recipe_follow_data_that_cannot_lie_where_they_belong():
    def recipe(folder):
        return {"data": {"train": {"npz": {"file": f"{folder}/x.npz"}}, "test": {"d": folder}}, "other": ["/data/dogs"]}

    config = WorkerConfig(
        "default", "a", "u", 1, 7, ProgramConfig(recipe=recipe("/data/d")), (DataSource("s3://b/d/", "/data/d/"),)
    )
    uris = UriMap.parse((), Path("/state"), False)
    assert localized(config, uris, Path("/w"), 1).program.recipe == recipe("../../data/data/d")
