"""`spec.tensorBoard`, typed."""

from __future__ import annotations

from pydantic import Field

from kerasjob_api.spec_model import STORE_URI, Model, Resources


class TensorBoard(Model):
    """A TensorBoard beside the job, that shows what the program's callbacks write while it trains."""

    enabled: bool = Field(default=True, description="Whether there is one.")
    uri: str | None = Field(
        default=None,
        pattern=STORE_URI,
        max_length=2048,
        description="Event files are kept under `uri/<job uid>/tensorboard/`; that of the checkpoints where not given.",
    )
    resources: Resources = Field(
        default=Resources(requests={"cpu": "100m", "memory": "512Mi"}, limits={"memory": "2Gi"}),
        description="Resources of its container.",
    )
