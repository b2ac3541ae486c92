"""What Prometheus learns of a job: bounded in number, gone with the job."""

import re
import time

from prometheus_client import CollectorRegistry, generate_latest
from tests.unit.operator.test_health import job

from kerasjob_core.times import to_rfc3339
from kerasjob_operator.job_metrics import JobCollector
from kerasjob_operator.store import Store

# docs/metrics.md states it.
SERIES_OF_A_JOB_MAX = 24


def scraped(**status) -> str:
    registry, store = CollectorRegistry(), Store("image")
    registry.register(JobCollector(store.jobs))
    store.put_job(job(**status))
    return generate_latest(registry).decode()


def value(text: str, series: str) -> float:
    (found,) = re.findall(rf"^{re.escape(series)} (\S+)$", text, re.MULTILINE)
    return float(found)


def a_full_status(**changes) -> dict:
    phases = ("Pending", "Starting", "Running", "Restarting", "Suspended")
    return {
        "phase": "Running",
        "phaseSince": to_rfc3339(time.time() - 100),
        "phaseSeconds": dict.fromkeys(phases, 100),
        "resolved": {"image": "i:1", "seed": 3},
        "checkpoint": {"uri": "s3://b/c", "step": 5, "savedAt": "2026-01-01T00:00:00Z"},
        "restarts": 2,
        "disruptions": 1,
        "progress": {
            "totalStep": 7,
            "percent": "25.0",
            "etaSeconds": 30,
            "trainSeconds": 250,
            "metrics": [{"name": f"metric{i}", "value": "1"} for i in range(31)] + [{"name": "loss", "value": "0.5"}],
        },
        **changes,
    }


def test_goodput_is_the_part_of_the_time_that_went_into_steps_and_suspended_time_is_none():
    text = scraped(**a_full_status())
    # 100 s each of Pending, Starting, Restarting, and 200 s of Running.
    assert 0.49 < value(text, 'kerasjob_goodput_ratio{name="m",namespace="default"}') <= 0.5
    assert 200 <= value(text, 'kerasjob_phase_seconds_total{name="m",namespace="default",phase="Running"}') < 210
    assert value(text, 'kerasjob_phase_seconds_total{name="m",namespace="default",phase="Suspended"}') == 100


def test_a_job_that_has_ended_grows_no_older():
    conditions = [{"type": "Complete", "status": "True", "reason": "x", "lastTransitionTime": "2026-01-01T00:00:00Z"}]
    text = scraped(**a_full_status(phase="Succeeded", conditions=conditions))
    assert value(text, 'kerasjob_goodput_ratio{name="m",namespace="default"}') == 0.625
    assert "kerasjob_progress_eta_seconds{" not in text


def test_the_number_of_series_of_a_job_is_bounded():
    series = [line for line in scraped(**a_full_status()).splitlines() if 'name="m"' in line]
    assert 18 <= len(series) <= SERIES_OF_A_JOB_MAX


def test_when_it_saved_last_is_told_as_a_time():
    text = scraped(**a_full_status())
    assert value(text, 'kerasjob_checkpoint_saved_timestamp_seconds{name="m",namespace="default"}') == 1767225600


def test_when_it_ended_is_told_as_a_time_and_nothing_before():
    series = 'kerasjob_completion_timestamp_seconds{name="m",namespace="default"}'
    assert series not in scraped(**a_full_status())
    assert value(scraped(**a_full_status(completionTime="2026-01-01T00:00:00Z")), series) == 1767225600
