"""Reads a job from a file: a KerasJob in YAML, or a Python script that becomes one. Called by `run` and `validate`.

Strict, because the API server is not (it prunes unknown fields): every fault of the file is reported at once, with the
path of the field, what was given and, for a misspelt name, the nearest one there is.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kerasjob import yaml_reader
from kerasjob.errors import InvalidInput
from kerasjob_api.constants import API_VERSION, KIND
from kerasjob_api.names import JOB_NAME_MAX, is_job_name
from kerasjob_api.recipe import is_plain_data, with_text_keys
from kerasjob_api.spec import KerasJobSpec
from kerasjob_core.validate import parse_spec

TOP_LEVEL = ("apiVersion", "kind", "metadata", "spec", "status")
METADATA = ("name", "namespace", "labels", "annotations")


@dataclass(frozen=True)
class LoadedJob:
    """A job and where it came from. `folder` is where its code lies."""

    name: str
    namespace: str
    spec: KerasJobSpec
    source: Path

    @property
    def folder(self) -> Path:
        """The folder of the file: locally it takes the place of `program.code`."""
        return self.source.parent

    @property
    def is_script(self) -> bool:
        """Whether the job was made from a Python script."""
        return self.source.suffix == ".py"

    def with_workers(self, workers: int) -> LoadedJob:
        """The same job with another number of workers. Raises InvalidInput."""
        data = self.spec.model_dump(mode="json", by_alias=True, exclude_unset=True) | {"workers": workers}
        return replace(self, spec=_spec(data, "--workers", []))


def load(path: str | Path) -> LoadedJob:
    """Reads a KerasJob from a YAML file, or makes one of a `.py` script. Raises InvalidInput with all faults."""
    file = Path(path)
    try:
        text = file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(str(path), [getattr(error, "strerror", None) or f"cannot be read: {error}"]) from error
    file = file.resolve()
    if file.suffix == ".py":
        return LoadedJob(
            name=_name_of_script(file),
            namespace="default",
            spec=_spec({"program": {"script": file.name}}, str(path), []),
            source=file,
        )
    return _from_document(_document(text, str(path)), str(path), file)


def recipe_in(path: str | Path) -> dict[str, Any] | None:
    """The recipe of a file that `load` may have refused, so that all its faults are said at once; None without one."""
    try:
        spec = _document(Path(path).read_text(), str(path)).get("spec")
    except (InvalidInput, OSError, UnicodeDecodeError):
        return None
    program = spec.get("program") if isinstance(spec, dict) else None
    recipe = program.get("recipe") if isinstance(program, dict) else None
    return with_text_keys(recipe) if isinstance(recipe, dict) and is_plain_data(recipe) else None


def _document(text: str, source: str) -> dict[str, Any]:
    """The one KerasJob of a file. Other kinds beside it (a ConfigMap, a Secret) mean nothing locally."""
    documents = yaml_reader.documents(text, source)
    if not documents:
        raise InvalidInput(source, ["the file is empty; a KerasJob was expected"])
    if not all(isinstance(document, dict) for document in documents):
        raise InvalidInput(
            source, [f"expected an object with apiVersion, kind, metadata, spec; got {documents[0]!r:.80}"]
        )
    jobs = documents if len(documents) == 1 else [d for d in documents if d.get("kind") == KIND]
    if len(jobs) != 1:
        raise InvalidInput(source, [f"expected exactly one {KIND}, found {len(jobs)} in {len(documents)} documents"])
    return dict(jobs[0])


def _from_document(document: dict[str, Any], source: str, file: Path) -> LoadedJob:
    faults = [_unknown(key, TOP_LEVEL, "") for key in document if key not in TOP_LEVEL]
    for key, expected in (("apiVersion", API_VERSION), ("kind", KIND)):
        if document.get(key) != expected:
            faults.append(f"{key}: expected {expected}, got {document.get(key, 'nothing')}")
    metadata = document.get("metadata")
    name, namespace = "", "default"
    if not isinstance(metadata, dict):
        faults.append("metadata.name: required, but not given")
    else:
        faults += [_unknown(key, METADATA, "metadata.") for key in metadata if key not in METADATA]
        name, namespace = metadata.get("name", ""), metadata.get("namespace", "default")
        faults += _name_faults(name)
        if not isinstance(namespace, str):
            faults.append(f"metadata.namespace: expected text, got {namespace!r:.80}")
    if "spec" not in document:
        raise InvalidInput(source, [*faults, "spec: required, but not given"])
    return LoadedJob(name, namespace, _spec(document["spec"], source, faults), file)


def _spec(data: Any, source: str, faults: list[str]) -> KerasJobSpec:
    spec, more = parse_spec(data)
    if spec is None or faults:
        raise InvalidInput(source, [*faults, *more])
    return spec


def _name_faults(name: Any) -> list[str]:
    if not name:
        return ["metadata.name: required, but not given"]
    if not isinstance(name, str) or not is_job_name(name):
        rule = f"at most {JOB_NAME_MAX} characters of a-z, 0-9 and -, the first a letter, the last no -"
        return [f"metadata.name: expected {rule}; got {name!r:.80}"]
    return []


def _unknown(key: Any, known: tuple[str, ...], prefix: str) -> str:
    near = difflib.get_close_matches(str(key), known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known)}"
    return f"{prefix}{key}: unknown field; {hint}"


def _name_of_script(file: Path) -> str:
    """A job name from a file's name: `Train_MNIST.py` is `train-mnist`."""
    name = re.sub(r"[^a-z0-9]+", "-", file.stem.lower()).strip("-")[:JOB_NAME_MAX].strip("-")
    return name if is_job_name(name) else f"job-{name}"[:JOB_NAME_MAX].strip("-")
