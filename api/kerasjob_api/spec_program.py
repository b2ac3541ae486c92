"""`spec.program`, typed: what is run."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict, Field, field_validator

from kerasjob_api.constants import SOURCE_MAX_BYTES
from kerasjob_api.recipe import with_text_keys
from kerasjob_api.spec_model import NAME, Model, RecipeObject, rule


class Code(Model):
    """Where the program's files come from; they are copied to the working directory, which is on `sys.path`."""

    config_map: str = Field(
        pattern=NAME,
        max_length=253,
        description="Name of a ConfigMap in the job's namespace whose keys are the program's files.",
    )


class Program(Model):
    """The Keras program, written as for one machine. Exactly one of script, module, source and recipe."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                rule(
                    "[has(self.script), has(self.module), has(self.source), has(self.recipe)].filter(x, x).size() == 1",
                    "exactly one of program.script, program.module, program.source and program.recipe must be given",
                ),
                rule(
                    "!has(self.recipe) || !has(self.args) || self.args.size() == 0",
                    "a recipe takes no arguments",
                    fieldPath=".args",
                ),
            ]
        }
    )

    script: str | None = Field(
        default=None,
        min_length=1,
        max_length=4096,
        description="A file: absolute in the image, or relative to the code.",
    )
    module: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$",
        max_length=255,
        description="A module, run as `python -m` does.",
    )
    source: str | None = Field(
        default=None, min_length=1, max_length=SOURCE_MAX_BYTES, description="The program itself."
    )
    recipe: RecipeObject | None = Field(
        default=None,
        description="The program without Python: data, preprocessing, model, compile, fit, callbacks, evaluate, export,"
        " in Keras's own names and arguments (docs/recipe.md).",
    )
    args: tuple[Annotated[str, Field(max_length=4096)], ...] = Field(
        default=(), max_length=256, description="Arguments of the program (`sys.argv[1:]`)."
    )
    code: Code | None = Field(default=None, description="Where the program's files come from.")

    @field_validator("recipe", mode="before")
    @classmethod
    def _as_the_server_has_it(cls, value: Any) -> Any:
        return with_text_keys(value)
