"""The CustomResourceDefinition, made from the typed spec and status.

`python -m kerasjob_api.crd` prints it; a test fails when the checked-in manifest differs. JSON Schema as pydantic
writes it is turned into a structural schema: references inlined, titles dropped, `X | None` is an optional X.
"""

from __future__ import annotations

import sys
from typing import Any

import yaml

from kerasjob_api import constants as c
from kerasjob_api.names import JOB_NAME_MAX, JOB_NAME_PATTERN
from kerasjob_api.spec import KerasJobSpec
from kerasjob_api.spec_model import rule
from kerasjob_api.status import KerasJobStatus

COLUMNS = [
    ("Phase", "string", ".status.phase", 0),
    ("Workers", "string", ".status.display.workers", 0),
    ("Epoch", "string", ".status.display.epoch", 0),
    ("Step", "string", ".status.display.step", 0),
    ("Loss", "string", ".status.display.loss", 0),
    ("ETA", "string", ".status.display.eta", 0),
    ("Restarts", "integer", ".status.restarts", 0),
    ("Age", "date", ".metadata.creationTimestamp", 0),
    ("Disruptions", "integer", ".status.disruptions", 1),
    ("Reason", "string", ".status.lastFailure.reason", 1),
]
KEPT = {
    "type", "description", "pattern", "enum", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems",
    "maxProperties", "required", "x-kubernetes-validations", "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-int-or-string",
}  # fmt: skip


def structural(schema: dict[str, Any], definitions: dict[str, Any], defaults: bool) -> dict[str, Any]:
    """A structural schema of Kubernetes from one of pydantic's."""
    if "$ref" in schema:
        target = definitions[schema["$ref"].rsplit("/", 1)[-1]]
        schema = {**target, **{k: v for k, v in schema.items() if k != "$ref"}}
    if schema.get("x-kubernetes-int-or-string"):
        return {"x-kubernetes-int-or-string": True}
    if "anyOf" in schema:
        (inner,) = [option for option in schema["anyOf"] if option.get("type") != "null"]
        schema = {**inner, **{k: v for k, v in schema.items() if k not in ("anyOf", "default")}}
        return structural(schema, definitions, defaults)
    out = {key: value for key, value in schema.items() if key in KEPT}
    # Scalars only: an object's default is made of its fields' defaults, once it is there.
    if defaults and isinstance(schema.get("default"), (str, int, bool)):
        out["default"] = schema["default"]
    if out.get("type") == "integer":
        out["format"] = "int64"
    if "properties" in schema:
        out["properties"] = {
            name: structural(value, definitions, defaults) for name, value in schema["properties"].items()
        }
    if "items" in schema:
        out["items"] = structural(schema["items"], definitions, defaults)
    extra = schema.get("additionalProperties")
    if isinstance(extra, dict) and not out.get("x-kubernetes-preserve-unknown-fields"):
        out["additionalProperties"] = structural(extra, definitions, defaults)
    return out


def model_schema(model: type[KerasJobSpec] | type[KerasJobStatus], defaults: bool) -> dict[str, Any]:
    """The structural schema of a model."""
    schema = model.model_json_schema(by_alias=True)
    return structural(schema, schema.get("$defs", {}), defaults)


def crd() -> dict[str, Any]:
    """The CustomResourceDefinition as data."""
    status = model_schema(KerasJobStatus, defaults=False)
    status.pop("required", None)
    conditions = status["properties"]["conditions"]
    conditions |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}
    names = {"kind": c.KIND, "listKind": f"{c.KIND}List", "plural": c.PLURAL, "singular": c.KIND.lower()}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{c.PLURAL}.{c.GROUP}"},
        "spec": {
            "group": c.GROUP,
            "scope": "Namespaced",
            "names": {**names, "shortNames": [c.SHORT_NAME], "categories": ["all"]},
            "versions": [
                {
                    "name": c.VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {
                        "status": {},
                        "scale": {
                            "specReplicasPath": ".spec.workers",
                            "statusReplicasPath": ".status.workers.ready",
                            "labelSelectorPath": ".status.selector",
                        },
                    },
                    "additionalPrinterColumns": [
                        {"name": name, "type": type_, "jsonPath": path} | ({"priority": priority} if priority else {})
                        for name, type_, path, priority in COLUMNS
                    ],
                    "schema": {
                        "openAPIV3Schema": {
                            "type": "object",
                            "description": "A Keras program, trained by a number of worker pods.",
                            "required": ["spec"],
                            "properties": {
                                "apiVersion": {"type": "string"},
                                "kind": {"type": "string"},
                                "metadata": {"type": "object"},
                                "spec": model_schema(KerasJobSpec, defaults=True),
                                "status": status,
                            },
                            "x-kubernetes-validations": [
                                rule(
                                    f"self.metadata.name.size() <= {JOB_NAME_MAX}"
                                    f" && self.metadata.name.matches('{JOB_NAME_PATTERN}')",
                                    f"metadata.name must be at most {JOB_NAME_MAX} characters of a-z, 0-9 and -, begin"
                                    " with a letter, end with a letter or digit: pods and a service are named after it",
                                )
                            ],
                        }
                    },
                }
            ],
        },
    }


def render() -> str:
    """The CRD as YAML, as it is checked in."""
    head = "# Generated from kerasjob_api by `make generate`; do not edit.\n"
    return head + str(yaml.safe_dump(crd(), sort_keys=False, width=120, allow_unicode=True))


if __name__ == "__main__":
    sys.stdout.write(render())
