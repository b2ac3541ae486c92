"""The operator: whether it hears, whether it keeps up, what it asks of the API server."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard

from kerasjob_dashboards.panels import OPERATOR, number, over_time, page, query

RATE = "[$__rate_interval]"
# Other programs tell of their processes by the same names.
OF_OPERATORS = "and on (pod, namespace) kerasjob_operator_leader"
# An operator that waits to lead hears of jobs, which are due and stay so: only the leader's queue says something.
QUEUE = "sum(kerasjob_queue_depth and on (pod, namespace) kerasjob_operator_leader == 1)"


def _quantile(part: float, name: str, by: str = "") -> str:
    return f"histogram_quantile({part}, sum by (le{by}) (rate({name}_bucket{RATE})))"


def operator() -> dashboard.Dashboard:
    """The page of the operator."""
    made = page(OPERATOR, "KerasJob / Operator", "The operator's own health and load.")
    made.with_panel(
        number(
            "Leaders",
            "Operators that act. One, or one for each release.",
            "short",
            "sum(kerasjob_operator_leader)",
            thresholds=((None, "red"), (1, "green")),
        )
    )
    made.with_panel(number("Jobs", "That it knows.", "short", "sum(kerasjob_jobs)"))
    made.with_panel(number("Queue", "Jobs that are due and wait.", "short", QUEUE))
    made.with_panel(
        number(
            "Since all was listed",
            "Jobs and pods: the longest of all operators.",
            "s",
            "max(time() - kerasjob_last_resync_timestamp_seconds)",
            thresholds=((None, "green"), (600, "orange"), (1200, "red")),
        )
    )
    made.with_panel(
        number("Passes a second", "Over jobs.", "short", f"sum(rate(kerasjob_reconcile_duration_seconds_count{RATE}))")
    )
    made.with_panel(
        number(
            "Errors a minute",
            "Passes that ended with one.",
            "short",
            f"60 * sum(rate(kerasjob_reconcile_errors_total{RATE})) or vector(0)",
            thresholds=((None, "green"), (1, "orange")),
        )
    )
    made.with_panel(
        over_time(
            "A pass",
            "Time of one pass over one job.",
            "s",
            query(_quantile(0.5, "kerasjob_reconcile_duration_seconds"), "half"),
            query(_quantile(0.99, "kerasjob_reconcile_duration_seconds"), "99 %"),
        )
    )
    made.with_panel(
        over_time(
            "Wait in the queue",
            "From due to the begin of the pass.",
            "s",
            query(_quantile(0.5, "kerasjob_queue_latency_seconds"), "half"),
            query(_quantile(0.99, "kerasjob_queue_latency_seconds"), "99 %"),
        )
    )
    made.with_panel(
        over_time(
            "Queue",
            "Jobs that are due, and passes tried again a second.",
            "short",
            query(QUEUE, "due"),
            query(f"sum(rate(kerasjob_queue_retries_total{RATE}))", "tried again"),
        )
    )
    made.with_panel(
        over_time(
            "Requests to the API server",
            "By verb and answer.",
            "reqps",
            query(f"sum by (verb, code) (rate(kerasjob_api_requests_total{RATE}))", "{{verb}} {{code}}"),
            stacked=True,
        )
    )
    made.with_panel(
        over_time(
            "Their time, 99 %",
            "By verb.",
            "s",
            query(_quantile(0.99, "kerasjob_api_request_duration_seconds", ", verb"), "{{verb}}"),
        )
    )
    made.with_panel(
        over_time(
            "Requests to agents",
            "By what was asked and what came of it.",
            "reqps",
            query(f"sum by (request, result) (rate(kerasjob_agent_requests_total{RATE}))", "{{request}}: {{result}}"),
        )
    )
    made.with_panel(
        over_time(
            "Since a watch last spoke",
            "Servers say at least something every minute or so where there are jobs.",
            "s",
            query("time() - (kerasjob_watch_last_event_timestamp_seconds > 0)", "{{resource}} {{pod}}"),
        )
    )
    made.with_panel(
        over_time(
            "Changes of phase",
            "A minute, by what jobs came to be.",
            "short",
            query(f"60 * sum by (phase) (rate(kerasjob_phase_transitions_total{RATE}))", "{{phase}}"),
        )
    )
    made.with_panel(
        over_time(
            "Memory",
            "Of each operator.",
            "bytes",
            query(f"process_resident_memory_bytes {OF_OPERATORS}", "{{pod}}"),
        )
    )
    made.with_panel(
        over_time(
            "CPU",
            "Of each operator, in cores.",
            "short",
            query(f"rate(process_cpu_seconds_total{RATE}) {OF_OPERATORS}", "{{pod}}"),
        )
    )
    return made
