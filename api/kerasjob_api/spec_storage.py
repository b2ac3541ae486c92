"""`spec.storage`, `spec.data` and `spec.checkpoint`, typed: what is read and written."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field

from kerasjob_api.spec_model import ABSOLUTE_PATH, NAME, NO_DATA_PATH, OWN_DIRECTORY, STORE_URI, Model, rule


class S3(Model):
    """How to reach S3."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                rule(
                    "!has(self.kmsKeyId) || (has(self.encryption) && self.encryption.startsWith('aws:kms'))",
                    "kmsKeyId is for encryption aws:kms or aws:kms:dsse",
                    fieldPath=".kmsKeyId",
                )
            ]
        }
    )

    endpoint: str | None = Field(
        default=None,
        pattern=r"^https?://[^\s]+$",
        max_length=2048,
        description="URL of an S3 server; AWS where not given.",
    )
    region: str | None = Field(default=None, max_length=64, description="Region; the server's default where not given.")
    secret_name: str | None = Field(
        default=None,
        pattern=NAME,
        max_length=253,
        description="Secret with AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, optionally, AWS_SESSION_TOKEN. "
        "Where not given, the pod's own identity is used.",
    )
    addressing_style: Literal["auto", "path", "virtual"] = Field(
        default="auto",
        description="Whether the bucket stands in the path or in the host's name; auto: in the path where an endpoint"
        " is given.",
    )
    encryption: Literal["AES256", "aws:kms", "aws:kms:dsse"] | None = Field(
        default=None, description="Server-side encryption of what is written; the bucket's default where not given."
    )
    kms_key_id: str | None = Field(
        default=None, min_length=1, max_length=2048, description="Key for aws:kms; the account's own where not given."
    )


class Storage(Model):
    """The store that `s3://` URIs of this job mean."""

    s3: S3 = Field(default=S3(), description="How to reach S3.")


class Data(Model):
    """Data that is brought to every worker before the program starts."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                rule(
                    f"!self.path.matches(r'{NO_DATA_PATH}')", f"data[].path must be {OWN_DIRECTORY}", fieldPath=".path"
                )
            ]
        }
    )

    uri: str = Field(pattern=STORE_URI, max_length=2048, description="An object, or a prefix that ends with `/`.")
    path: str = Field(pattern=ABSOLUTE_PATH, max_length=4096, description="Where it is put in the pod.")


class Best(Model):
    """The best checkpoints by a metric that `fit` shows at the end of an epoch."""

    metric: str = Field(min_length=1, max_length=253, description="Name as in Keras's logs: `val_loss`, `accuracy`.")
    mode: Literal["auto", "min", "max"] = Field(
        default="auto", description="Whether less or more is better; `auto` tells by the name."
    )
    number: int = Field(default=1, ge=1, le=1000, description="How many of the best stay.")


class Keep(Model):
    """Which checkpoints stay. Those that stay for good are Keras files (`model.keras`) as well."""

    last: int = Field(default=3, ge=1, le=1000, description="How many of the newest stay.")
    every_epochs: int | None = Field(
        default=None, ge=1, le=1_000_000, description="One in so many epochs stays for good."
    )
    every_steps: int | None = Field(
        default=None, ge=1, le=1_000_000_000, description="One in so many training steps stays for good."
    )
    best: Best | None = Field(default=None, description="The best by a metric stay.")


class Export(Model):
    """The model that the program trained last, in the store once the program has ended well."""

    uri: str = Field(
        pattern=STORE_URI,
        max_length=2048,
        description="The model lies under `uri/<job uid>/`; `status.export` says where.",
    )
    format: Literal["keras", "saved_model", "weights"] = Field(
        default="keras",
        description="keras: a file for `keras.models.load_model`; saved_model: for TensorFlow Serving; weights: for"
        " `model.load_weights`.",
    )


class Checkpoint(Model):
    """Where and how often state is saved."""

    uri: str = Field(pattern=STORE_URI, max_length=2048, description="State lives under `uri/<job uid>/`.")
    every_epochs: int = Field(default=1, ge=1, le=1_000_000, description="Save at the end of each n-th epoch.")
    every_steps: int | None = Field(
        default=None, ge=1, le=1_000_000_000, description="Save after each n-th training step as well."
    )
    every_seconds: int | None = Field(
        default=None, ge=1, le=31_536_000, description="Save at the first step after so many seconds as well."
    )
    keep: Keep = Field(default=Keep(), description="Which checkpoints stay.")
