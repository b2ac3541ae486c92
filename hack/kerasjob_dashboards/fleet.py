"""All jobs: who trains, who waits, what is lost to what."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard

from kerasjob_dashboards.panels import FLEET, chosen, number, over_time, page, query, rows

OURS = 'namespace=~"$namespace"'


def of_each(metric: str) -> str:
    """A series for each job, whichever operator told of it: one that takes over is another pod."""
    return f"max by (namespace, name) ({metric}{{{OURS}}})"


def fleet() -> dashboard.Dashboard:
    """The first page that a platform team looks at."""
    made = page(FLEET, "KerasJob / Fleet", "All jobs of the chosen namespaces.")
    made.with_variable(chosen("namespace", "Namespace", "label_values(kerasjob_info, namespace)", several=True))
    for title, phases, color in (
        ("Running", "Running", "green"),
        ("Waiting", "Pending|Starting", "blue"),
        ("Recovering", "Restarting", "orange"),
        ("Failed", "Failed", "red"),
    ):
        made.with_panel(
            number(
                title,
                f"Jobs in phase {phases.replace('|', ' or ')}.",
                "short",
                f'sum(kerasjob_jobs{{{OURS},phase=~"{phases}"}}) or vector(0)',
                thresholds=((None, "text"), (1, color)),
            )
        )
    made.with_panel(
        number("Workers", "Workers that are ready, of all jobs.", "short", f"sum(kerasjob_workers_ready{{{OURS}}})")
    )
    made.with_panel(
        number(
            "Goodput",
            "Mean over the jobs: time in training steps that count, of all their time.",
            "percentunit",
            f"avg(kerasjob_goodput_ratio{{{OURS}}})",
            thresholds=((None, "red"), (0.5, "orange"), (0.8, "green")),
        )
    )
    made.with_panel(
        rows(
            "Jobs",
            "Each job as of now.",
            {
                "Done": of_each("kerasjob_progress_ratio"),
                "Steps": of_each("kerasjob_progress_total_step"),
                "Loss": of_each("kerasjob_progress_loss"),
                "Workers": of_each("kerasjob_workers_ready"),
                "Restarts": of_each("kerasjob_status_restarts"),
                "Disruptions": of_each("kerasjob_status_disruptions"),
                "Goodput": of_each("kerasjob_goodput_ratio"),
            },
            parts=("Done", "Goodput"),
        )
    )
    made.with_panel(
        over_time(
            "Jobs by phase",
            "How many jobs are in each phase.",
            "short",
            query(f"sum by (phase) (kerasjob_jobs{{{OURS}}})", "{{phase}}"),
            stacked=True,
        )
    )
    made.with_panel(
        over_time(
            "Workers",
            "Wanted and ready.",
            "short",
            query(f"sum(kerasjob_workers_desired{{{OURS}}})", "wanted"),
            query(f"sum(kerasjob_workers_ready{{{OURS}}})", "ready"),
        )
    )
    made.with_panel(
        over_time(
            "Goodput of each job",
            "Time in training steps that count, of all time since its start.",
            "percentunit",
            query(of_each("kerasjob_goodput_ratio"), "{{namespace}}/{{name}}"),
            links_to_job=True,
        )
    )
    made.with_panel(
        over_time(
            "Lost workers, by reason",
            "Restarts count against failurePolicy.maxRestarts, disruptions do not. Per minute, of all namespaces.",
            "short",
            query("60 * sum by (reason) (rate(kerasjob_restarts_total[$__rate_interval]))", "restart: {{reason}}"),
            query("60 * sum by (reason) (rate(kerasjob_disruptions_total[$__rate_interval]))", "{{reason}}"),
        )
    )
    made.with_panel(
        over_time(
            "Where the time goes",
            "Jobs in each phase, as seconds a second.",
            "short",
            query(f"sum by (phase) (rate(kerasjob_phase_seconds_total{{{OURS}}}[$__rate_interval]))", "{{phase}}"),
            stacked=True,
        )
    )
    made.with_panel(
        over_time(
            "From start to the first step",
            "Of the jobs that began to train, half and 95 %. Of all namespaces.",
            "s",
            *(
                query(
                    f"histogram_quantile({part}, sum by (le) (rate(kerasjob_time_to_first_step_seconds_bucket[1h])))",
                    name,
                )
                for part, name in ((0.5, "half"), (0.95, "95 %"))
            ),
        )
    )
    made.with_panel(
        over_time(
            "Age of the newest checkpoint",
            "Of jobs that run and have saved.",
            "s",
            query(
                f"time() - {of_each('kerasjob_checkpoint_saved_timestamp_seconds')} and on (namespace, name)"
                ' kerasjob_status_phase{phase="Running"} == 1',
                "{{namespace}}/{{name}}",
            ),
            links_to_job=True,
        )
    )
    made.with_panel(
        over_time(
            "Loss",
            "Of each job.",
            "short",
            query(of_each("kerasjob_progress_loss"), "{{namespace}}/{{name}}"),
            links_to_job=True,
        )
    )
    return made
