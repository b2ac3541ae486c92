"""What all parts of a KerasJob's typed spec are made of: the base model, patterns, one CEL rule."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from pydantic.config import JsonDict

# A URI of a store: S3, or a directory (a mounted volume, or the local runner's).
STORE_URI = r"^(s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/.*)?|file:///.*|/.*)$"
ABSOLUTE_PATH = r"^/[^\x00]*$"
# A volume there would hide what the image needs, or be no directory of its own.
NO_DATA_PATH = r"^[/.]+$|(^|/)\.\.(/|$)|^/+(\./+)*(bin|boot|dev|etc|lib|lib64|proc|run|sbin|sys|usr|var/run)(/|$)"
OWN_DIRECTORY = "a directory of its own: not /, nothing with .., nothing of the system (/etc, /proc, /usr, …)"
MANAGER = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[^\s/]+$"
NAME = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"

# Objects of core/v1 whose schema is Kubernetes's own: kept whole here, checked by the API server when the pod is made.
CoreObject = Annotated[dict[str, Any], Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})]
# A recipe's words are Keras's: kept whole here, checked by `recipe.py` and, where Keras is, by the worker.
RecipeObject = Annotated[dict[str, Any], Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})]
Quantity = Annotated[str | int, Field(json_schema_extra={"x-kubernetes-int-or-string": True})]


def rule(expression: str, message: str, **extra: str) -> JsonDict:
    """One CEL rule of the CRD."""
    return {"rule": expression, "message": message, **extra}


class Model(BaseModel):
    """camelCase outside, snake_case inside; frozen; an unknown field is an error."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)


class Resources(Model):
    """Resources of a container, as in core/v1."""

    limits: dict[str, Quantity] = Field(default={}, max_length=64, description="Limits of the container.")
    requests: dict[str, Quantity] = Field(default={}, max_length=64, description="Requests of the container.")
