"""A recipe from its text to its end: read and checked whole, then made and run section by section.

`main` calls `run`. The session knows a recipe's `fit` by this module's name.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kerasjob_api.recipe import PATH, SECTIONS, SPLITS, is_plain_data, recipe_faults, with_text_keys
from kerasjob_trainer.log import log
from kerasjob_trainer.recipe.arguments import Call, Reader, made, refuse, said_at
from kerasjob_trainer.recipe.data import Loaded, Split
from kerasjob_trainer.recipe.loaders import read_split
from kerasjob_trainer.recipe.model import Model, read_model
from kerasjob_trainer.recipe.preprocessing import Preprocessing, read_preprocessing
from kerasjob_trainer.recipe.training import read_callbacks, read_compile, read_evaluate, read_fit
from kerasjob_trainer.trainer.failure import Refused


@dataclass(frozen=True)
class Recipe:
    """A recipe that has been read: calls of Keras to be made."""

    splits: dict[str, Split]
    preprocessing: Preprocessing
    model: Model
    compile: Call
    fit: Call
    callbacks: tuple[Call, ...] = ()
    evaluate: tuple[str, Call] | None = None
    export: dict[str, str] | None = None


def read(recipe: dict[str, Any]) -> tuple[Recipe | None, list[str]]:
    """The recipe, or all that is wrong with it. Builds nothing, touches no file."""
    recipe = with_text_keys(recipe)
    faults = recipe_faults(recipe)
    if not is_plain_data(recipe) or not isinstance(recipe, dict):
        return None, faults
    # A section that is not even built like one is not read on; those beside it are.
    sound = {
        key: value
        for key, value in recipe.items()
        if key in SECTIONS and value is not None and not any(_is_at(fault, f"{PATH}.{key}") for fault in faults)
    }
    reader = Reader()
    splits = {}
    for name in SPLITS:
        given = sound.get("data", {}).get(name)
        split = None if given is None else read_split(reader, name, given, f"{PATH}.data.{name}")
        if split is not None:
            splits[name] = split
    features = splits["train"].features if "train" in splits else None
    preprocessing = read_preprocessing(reader, sound.get("preprocessing"), features, f"{PATH}.preprocessing")
    model, outputs = None, None
    if "model" in sound:
        model = read_model(reader, sound["model"], features, f"{PATH}.model", joined=bool(preprocessing.together))
        outputs = model.outputs if len(model.outputs) > 1 else ()
    compile_ = read_compile(reader, sound["compile"], outputs, f"{PATH}.compile") if "compile" in sound else None
    fit = read_fit(reader, sound.get("fit", {}), f"{PATH}.fit")
    callbacks = read_callbacks(reader, sound.get("callbacks", []), f"{PATH}.callbacks")
    evaluate = read_evaluate(reader, sound["evaluate"], f"{PATH}.evaluate") if "evaluate" in sound else None
    if faults or reader.faults:
        return None, [*faults, *reader.faults]
    assert model is not None
    assert compile_ is not None
    return Recipe(splits, preprocessing, model, compile_, fit, callbacks, evaluate, sound.get("export")), []


def _is_at(fault: str, path: str) -> bool:
    return fault.startswith((f"{path}:", f"{path}.", f"{path}["))


def run(given: dict[str, Any], *, is_leader: bool = True) -> Any:
    """Runs it; answers the model. Only the leader's export stays. Raises Refused before anything is trained."""
    recipe, faults = read(given)
    refuse(faults)
    assert recipe is not None
    used = {"train", "validation", recipe.evaluate[0] if recipe.evaluate is not None else "train"}
    data = {name: split.make() for name, split in recipe.splits.items() if name in used}
    model = recipe.model.make(data["train"], recipe.preprocessing)
    _check_labels(data, recipe.model.outputs)
    arguments = {key: made(value) for key, value in recipe.compile.arguments.items()}
    with said_at(recipe.compile.path):
        model.compile(**arguments)
    model.summary()
    _fit(recipe, model, data)
    if recipe.evaluate is not None:
        name, call = recipe.evaluate
        results = model.evaluate(**data[name].as_arguments(), **call.arguments, return_dict=True)
        log.info("evaluate on %s: %s", name, ", ".join(f"{key} {value:.6g}" for key, value in results.items()))
    if recipe.export is not None:
        _export(model, recipe.export, is_leader)
    return model


def _fit(recipe: Recipe, model: Any, data: dict[str, Loaded]) -> None:
    callbacks = [call.make() for call in recipe.callbacks]
    more: dict[str, Any] = {}
    if "validation" in data:
        more["validation_data"] = data["validation"].as_validation_data()
    if data["train"].is_dataset:
        more["shuffle"] = False  # only arrays are shuffled by fit, which warns of the default otherwise
    model.fit(**data["train"].as_arguments(), callbacks=callbacks, **{**more, **recipe.fit.arguments})


def _check_labels(data: dict[str, Loaded], outputs: tuple[str, ...]) -> None:
    """Several outputs have labels by their names."""
    for name, loaded in data.items():
        labels = loaded.labels()
        if len(outputs) > 1 and labels != sorted(outputs):
            raise Refused(
                f"{PATH}.data.{name}: the model has the outputs {', '.join(outputs)}, so labels by these names are"
                f" needed (npz: labels as a mapping); the data have {', '.join(labels or []) or 'one, without a name'}"
            )


def _export(model: Any, export: dict[str, str], is_leader: bool) -> None:
    """All workers take part, since reading a variable may need all of them; what the others write is thrown away."""
    path, kind = export["path"], export.get("format", "keras")
    with _place(path, is_leader) as target, said_at(f"{PATH}.export"):
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        if kind == "saved_model":
            model.export(target, verbose=False)
        elif kind == "weights":
            model.save_weights(target)
        else:
            model.save(target)
    if is_leader:
        log.info("exported to %s", path)


@contextlib.contextmanager
def _place(path: str, is_leader: bool) -> Iterator[str]:
    if is_leader:
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        yield str(Path(folder) / Path(path).name)
