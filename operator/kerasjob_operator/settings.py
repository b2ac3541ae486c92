"""What an installation may set, from KERASJOB_* environment variables. Read once, by `__main__`."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields


@dataclass(frozen=True)
class OperatorSettings:
    """Each field is the environment variable KERASJOB_<FIELD>.

    namespaces: comma-separated; empty means all, and needs the ClusterRole.
    namespace: the operator's own, where its key and its Lease are kept.
    identity: its name among several, of which one acts; the host's name where not given.
    s3_endpoint, s3_region, s3_secret_name: of jobs that say nothing of S3; the secret is in the job's own namespace.
    default_image: of worker pods whose job names none.
    progress_interval_seconds: how often a job's progress may be written (one request per running job).
    poll_interval_seconds: how often the agents of a job that does not train yet are asked.
    resync_seconds: how often everything is listed again: an event lost with a broken watch is not lost for ever.
    queue_workers: passes at the same time; a pass waits for the API server most of its time.
    monitoring_namespace: whose pods may read the workers' metrics.
    log_format: text, or json: one object a line.
    """

    namespaces: str = ""
    namespace: str = "kerasjob-system"
    identity: str = ""
    default_image: str = "kerasjob/trainer:0.1.0"
    s3_endpoint: str = ""
    s3_region: str = ""
    s3_secret_name: str = ""
    progress_interval_seconds: float = 15.0
    poll_interval_seconds: float = 1.0
    resync_seconds: float = 300.0
    queue_workers: int = 16
    port: int = 8080
    monitoring_namespace: str = "monitoring"
    log_level: str = "INFO"
    log_format: str = "text"

    @property
    def watched(self) -> tuple[str, ...]:
        """The namespaces to watch; empty means all."""
        return tuple(part.strip() for part in self.namespaces.split(",") if part.strip())


def from_environment(environment: Mapping[str, str]) -> OperatorSettings:
    """Reads the settings. Raises ValueError with all faults at once."""
    values: dict[str, object] = {}
    faults = []
    for field in fields(OperatorSettings):
        name = f"KERASJOB_{field.name.upper()}"
        text = environment.get(name)
        if text is None:
            continue
        kind: Callable[[str], object] = type(getattr(OperatorSettings, field.name))
        try:
            values[field.name] = kind(text)
        except ValueError:
            faults.append(f"{name}: expected {getattr(kind, '__name__', kind)}, got {text!r}")
            continue
        value = values[field.name]
        if isinstance(value, (int, float)) and not 0 < value < math.inf:
            faults.append(f"{name}: must be greater than 0, got {text}")
    if (level := str(values.get("log_level", "INFO"))) not in logging.getLevelNamesMapping():
        faults.append(f"KERASJOB_LOG_LEVEL: expected DEBUG, INFO, WARNING or ERROR, got {level!r}")
    if (form := values.get("log_format", "text")) not in ("text", "json"):
        faults.append(f"KERASJOB_LOG_FORMAT: expected text or json, got {form!r}")
    if faults:
        raise ValueError("; ".join(faults))
    return OperatorSettings(**values)  # type: ignore[arg-type]
