"""What an installation may set about the brain."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """progress_interval_seconds: how often `status.progress` may be written; each write is one request per job, so 15 s
    keeps 2,000 running jobs under 140 requests a second.
    """

    progress_interval_seconds: float = 15.0
