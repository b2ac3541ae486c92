"""A KerasJob's spec from untyped data: all faults at once, each with its path, what was given, what is allowed.

Called by the operator's store and by the client before it does anything.
"""

from __future__ import annotations

import difflib
import re
from typing import Any

from pydantic import BaseModel, ValidationError

from kerasjob_api.constants import CONTROLLER
from kerasjob_api.faults import readable
from kerasjob_api.recipe import recipe_faults
from kerasjob_api.spec import KerasJobSpec
from kerasjob_api.spec_failure import FailureRule
from kerasjob_api.spec_model import ABSOLUTE_PATH, MANAGER, NAME, NO_DATA_PATH, OWN_DIRECTORY, STORE_URI
from kerasjob_core.core_objects import core_object_faults, too_deep
from kerasjob_core.pod_template import template_faults
from kerasjob_core.policies.rules import pattern

# What a pattern means, for people.
EXPECTED = {
    STORE_URI: "s3://bucket/… or a directory (file:///… or an absolute path); other stores are not supported",
    ABSOLUTE_PATH: "an absolute path",
    MANAGER: f"a name with a domain before it, as in {CONTROLLER}",
    NAME: "a name of a-z, 0-9, - and .",
}


def parse_spec(data: Any) -> tuple[KerasJobSpec | None, tuple[str, ...]]:
    """The typed spec, or None and what is wrong with it."""
    if isinstance(data, dict) and (faults := too_deep(data)):
        return None, tuple(faults)
    beyond = tuple(_beyond_schema(data))
    try:
        spec = KerasJobSpec.model_validate(data)
    except ValidationError as error:
        return None, tuple(_sentence(dict(item)) for item in error.errors()) + beyond
    return (None, beyond) if beyond else (spec, ())


def without_faults(data: Any) -> KerasJobSpec | None:
    """What is left of a spec with faults: a job that has begun goes on by it. None where something is missing then.

    What describes the pods was pinned when it began, so that faults there do no harm, and what a later version of the
    resource has is passed over. A rule that is wrong in part would match what it was not meant for: it goes as a whole.
    """
    if not isinstance(data, dict) or too_deep(data):
        return None
    policy = data.get("failurePolicy")
    if isinstance(policy, dict) and isinstance(policy.get("rules"), list):
        rules = [entry for entry in policy["rules"] if not _is_wrong(entry, data)]
        data = data | {"failurePolicy": policy | {"rules": rules}}
    try:
        return KerasJobSpec.model_validate(data, extra="ignore")
    except ValidationError:
        return None


def _is_wrong(rule: Any, data: dict[str, Any]) -> bool:
    try:
        FailureRule.model_validate(rule)
    except ValidationError:
        return True
    return bool(_rule_faults(rule, "", _last_slot(data)))


def _last_slot(data: dict[str, Any]) -> int | None:
    """Of the workers that a rule may name; None where it may name any: their number changes while the job runs."""
    workers = data.get("workers", 1)
    return workers - 1 if isinstance(workers, int) and data.get("elastic") is None else None


def _beyond_schema(data: Any) -> list[str]:
    """What types cannot say, from the raw spec: a fault elsewhere must not hide it."""
    if not isinstance(data, dict):
        return []
    faults = []
    program, template, elastic = data.get("program"), data.get("podTemplate"), data.get("elastic")
    least, workers = elastic.get("minWorkers") if isinstance(elastic, dict) else None, data.get("workers", 1)
    if isinstance(least, int) and isinstance(workers, int) and least > workers:
        faults.append(f"spec.elastic.minWorkers: at most spec.workers, which is {workers}, got {least}")
    if isinstance(program, dict):
        faults += _program_faults(program)
    faults += _storage_faults(data)
    faults += _data_faults(data.get("data"))
    policy = data.get("failurePolicy")
    rules = policy.get("rules") if isinstance(policy, dict) else None
    for index, entry in enumerate(rules if isinstance(rules, list) else []):
        if isinstance(entry, dict):
            faults += _rule_faults(entry, f"spec.failurePolicy.rules[{index}]", _last_slot(data))
    if isinstance(template, dict):
        faults += template_faults(template)
    faults += core_object_faults(data)
    for index, entry in enumerate(data["env"] if isinstance(data.get("env"), list) else []):
        name = entry.get("name") if isinstance(entry, dict) else None
        if isinstance(name, str) and name.startswith("KERASJOB_"):
            faults.append(f"spec.env[{index}].name: names that begin with KERASJOB_ are the operator's, got {name!r}")
    return faults


def _storage_faults(data: dict[str, Any]) -> list[str]:
    faults = []
    board, storage = data.get("tensorBoard"), data.get("storage")
    is_wanted = isinstance(board, dict) and board.get("enabled", True) is True and board.get("uri") is None
    if is_wanted and data.get("checkpoint") is None:
        faults.append(
            "spec.tensorBoard: needs spec.checkpoint or a uri of its own: event files are kept there, got neither"
        )
    s3 = storage.get("s3") if isinstance(storage, dict) else None
    if isinstance(s3, dict) and s3.get("kmsKeyId") is not None:
        encryption = s3.get("encryption")
        if not str(encryption).startswith("aws:kms"):
            faults.append(
                "spec.storage.s3.kmsKeyId: is for encryption aws:kms or aws:kms:dsse, got it with"
                f" {encryption or 'no encryption'}"
            )
    return faults


def _data_faults(data: Any) -> list[str]:
    paths = [entry.get("path") if isinstance(entry, dict) else None for entry in data] if isinstance(data, list) else []
    return [
        f"spec.data[{index}].path: expected {OWN_DIRECTORY}, got {path!r:.80}"
        for index, path in enumerate(paths)
        if isinstance(path, str) and re.search(NO_DATA_PATH, path)
    ]


def _program_faults(program: dict[str, Any]) -> list[str]:
    faults = []
    given = [name for name in ("script", "module", "source", "recipe") if program.get(name) is not None]
    if len(given) != 1:
        faults.append(
            "spec.program: exactly one of script, module, source and recipe must be given, got "
            + (" and ".join(given) if given else "none")
        )
    if isinstance(program.get("recipe"), dict):
        faults += readable(recipe_faults(program["recipe"]))
        if program.get("args"):
            faults.append("spec.program.args: a recipe takes no arguments")
    return faults


def _rule_faults(entry: dict[str, Any], path: str, last_slot: int | None) -> list[str]:
    faults = []
    if not any(entry.get(name) for name in ("onExitCodes", "onReasons", "onWorkers", "onMessage")):
        faults.append(f"{path}: at least one of onExitCodes, onReasons, onWorkers and onMessage must be given")
    if isinstance(text := entry.get("onMessage"), str):
        try:
            pattern(text)
        except ValueError as error:
            faults.append(f"{path}.onMessage: not a pattern of RE2: {error}, got {text!r:.80}")
    slots = entry.get("onWorkers")
    for slot in slots if isinstance(slots, list) else []:
        if isinstance(slot, int) and last_slot is not None and slot > last_slot:
            faults.append(f"{path}.onWorkers: workers are 0 to {last_slot}, got {slot}")
    return faults


def _path(location: tuple[str | int, ...]) -> str:
    path = "spec"
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}"
    return path


def _sentence(error: dict[str, Any]) -> str:
    location = tuple(part for part in error["loc"] if part not in ("str", "int"))
    path = _path(location)
    if error["type"] == "extra_forbidden":
        known = _fields_at(location[:-1])
        near = difflib.get_close_matches(str(location[-1]), known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; known here: {', '.join(known)}" if known else ""
        return f"{path}: unknown field{hint}"
    if error["type"] == "missing":
        return f"{path}: required, but not given"
    if error["type"] == "string_pattern_mismatch" and error["ctx"]["pattern"] in EXPECTED:
        return f"{path}: expected {EXPECTED[error['ctx']['pattern']]}, got {error['input']!r:.80}"
    return f"{path}: {error['msg'][0].lower()}{error['msg'][1:]}, got {error['input']!r:.80}"


def _fields_at(location: tuple[str | int, ...]) -> list[str]:
    """Names of the fields that the model at a location has."""
    model: type[BaseModel] = KerasJobSpec
    for part in location:
        if isinstance(part, int):
            continue
        field = next((f for f in model.model_fields.values() if f.alias == part), None)
        found = _model_in(field.annotation) if field is not None else None
        if found is None:
            return []
        model = found
    return [str(field.alias) for field in model.model_fields.values()]


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        if (found := _model_in(argument)) is not None:
            return found
    return None
