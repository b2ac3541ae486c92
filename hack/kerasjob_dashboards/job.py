"""One job: where it stands, how fast it is and what slows it, what it saves, what it has lost."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard

from kerasjob_dashboards.panels import JOB, PER_ROW, chosen, number, over_time, page, query, states

OF_JOB = 'namespace="$namespace",name="$job"'
# As the PodMonitor labels what it scrapes. Queries take the maximum over pods, so that a worker that is replaced, or an
# operator that takes over, goes on with the same line.
OF_PODS = 'namespace="$namespace",kerasjob_dev_job="$job"'
BY_SLOT = "worker {{kerasjob_dev_slot}}"


def job() -> dashboard.Dashboard:
    """The page of one job."""
    made = page(JOB, "KerasJob / Job", "One job and its workers.")
    made.with_variable(chosen("namespace", "Namespace", "label_values(kerasjob_info, namespace)", several=False))
    names = 'label_values(kerasjob_info{namespace="$namespace"}, name)'
    made.with_variable(chosen("job", "Job", names, several=False))
    where = dashboard.TextBoxVariable("tensorboard").label("TensorBoard at").default_value("http://localhost:6006")
    made.with_variable(where)
    made.link(dashboard.DashboardLink("TensorBoard").url("$tensorboard").target_blank(True))
    _now(made)
    _training(made)
    _speed(made)
    _saving(made)
    _losses(made)
    return made


def _now(made: dashboard.Dashboard) -> None:
    made.with_panel(
        number("Done", "Of the current `fit`.", "percentunit", f"max(kerasjob_progress_ratio{{{OF_JOB}}})"),
    )
    made.with_panel(
        number("Left", "How long the current `fit` takes yet.", "s", f"max(kerasjob_progress_eta_seconds{{{OF_JOB}}})")
    )
    made.with_panel(number("Steps", "Of the whole program.", "short", f"max(kerasjob_progress_total_step{{{OF_JOB}}})"))
    made.with_panel(number("Loss", "Of the epoch so far.", "short", f"max(kerasjob_progress_loss{{{OF_JOB}}})"))
    made.with_panel(
        number(
            "Goodput",
            "Time in training steps that count, of all time since the start.",
            "percentunit",
            f"max(kerasjob_goodput_ratio{{{OF_JOB}}})",
            thresholds=((None, "red"), (0.5, "orange"), (0.8, "green")),
        )
    )
    made.with_panel(
        number(
            "Age of the checkpoint",
            "Since the newest was committed.",
            "s",
            f"time() - max(kerasjob_checkpoint_saved_timestamp_seconds{{{OF_JOB}}})",
            thresholds=((None, "green"), (1800, "orange"), (3600, "red")),
        )
    )
    made.with_panel(
        states(
            "Phase",
            "What the job was, and is.",
            query(f"max by (phase) (kerasjob_status_phase{{{OF_JOB}}})", "{{phase}}"),
        )
    )


def _training(made: dashboard.Dashboard) -> None:
    made.with_row(dashboard.Row("Training"))
    made.with_panel(
        over_time(
            "Metrics",
            "What the program was compiled with, over the epoch so far, as the first worker tells it.",
            "short",
            query(f'max by (name) (kerasjob_trainer_metric{{{OF_PODS},kerasjob_dev_slot="0"}})', "{{name}}"),
            width=12,
        )
    )
    made.with_panel(
        over_time(
            "Steps",
            "Training steps of the whole program.",
            "short",
            query(f"max(kerasjob_progress_total_step{{{OF_JOB}}})", "steps"),
            width=6,
        )
    )
    made.with_panel(
        over_time(
            "Workers",
            "Wanted and ready.",
            "short",
            query(f"max(kerasjob_workers_desired{{{OF_JOB}}})", "wanted"),
            query(f"max(kerasjob_workers_ready{{{OF_JOB}}})", "ready"),
            width=6,
        )
    )


def _speed(made: dashboard.Dashboard) -> None:
    made.with_row(dashboard.Row("Speed"))
    buckets = f"kerasjob_trainer_step_duration_seconds_bucket{{{OF_PODS}}}[$__rate_interval]"
    made.with_panel(
        over_time(
            "Samples per second",
            "Over all workers.",
            "short",
            query(f"max(kerasjob_trainer_samples_per_second{{{OF_PODS}}})", "samples/s"),
            width=6,
        )
    )
    made.with_panel(
        over_time(
            "Step, 95 %",
            "Duration of training steps on each worker. All wait for the slowest.",
            "s",
            query(f"histogram_quantile(0.95, sum by (le, kerasjob_dev_slot) (rate({buckets})))", BY_SLOT),
            width=6,
        )
    )
    waited = f"rate(kerasjob_trainer_data_wait_seconds_total{{{OF_PODS}}}[$__rate_interval])"
    spent = f"rate(kerasjob_trainer_step_duration_seconds_sum{{{OF_PODS}}}[$__rate_interval])"
    made.with_panel(
        over_time(
            "Wait for data",
            "Part of the steps' time. Much of it means that the input pipeline is too slow.",
            "percentunit",
            query(f"sum by (kerasjob_dev_slot) ({waited}) / sum by (kerasjob_dev_slot) ({spent})", BY_SLOT),
            width=6,
            thresholds=((None, "transparent"), (0.2, "orange")),
        )
    )
    made.with_panel(
        over_time(
            "Memory",
            "Of each trainer's process, and of TensorFlow on each GPU.",
            "bytes",
            query(f"max by (kerasjob_dev_slot) (kerasjob_trainer_memory_bytes{{{OF_PODS}}})", BY_SLOT),
            query(
                f"max by (kerasjob_dev_slot, gpu) (kerasjob_trainer_gpu_memory_bytes{{{OF_PODS}}})",
                f"{BY_SLOT}, GPU {{{{gpu}}}}",
            ),
            width=6,
        )
    )


def _saving(made: dashboard.Dashboard) -> None:
    made.with_row(dashboard.Row("Checkpoints"))
    seconds = f"kerasjob_checkpoint_duration_seconds_bucket{{{OF_PODS}}}[$__rate_interval]"
    made.with_panel(
        over_time(
            "Time to commit",
            "From the snapshot to its commit in the store, 95 %; training goes on meanwhile.",
            "s",
            query(f"histogram_quantile(0.95, sum by (le) (rate({seconds})))", "95 %"),
        )
    )
    made.with_panel(
        over_time(
            "Size", "Of the newest checkpoint.", "bytes", query(f"max(kerasjob_checkpoint_bytes{{{OF_PODS}}})", "bytes")
        )
    )
    made.with_panel(
        over_time(
            "Not saved",
            "Given up, or left out since those before were on their way; since the pods began.",
            "short",
            query(f"sum(kerasjob_checkpoint_failures_total{{{OF_PODS}}})", "given up"),
            query(f"sum(kerasjob_checkpoints_left_out_total{{{OF_PODS}}})", "left out"),
            thresholds=((None, "transparent"), (1, "orange")),
        )
    )


def _losses(made: dashboard.Dashboard) -> None:
    made.with_row(dashboard.Row("What it has lost"))
    made.with_panel(
        over_time(
            "Time in each phase",
            "Since the job was made.",
            "s",
            query(f"max by (phase) (kerasjob_phase_seconds_total{{{OF_JOB}}})", "{{phase}}"),
            stacked=True,
        )
    )
    made.with_panel(
        over_time(
            "Losses",
            "Restarts count against failurePolicy.maxRestarts, disruptions do not.",
            "short",
            query(f"max(kerasjob_status_restarts{{{OF_JOB}}})", "restarts"),
            query(f"max(kerasjob_status_disruptions{{{OF_JOB}}})", "disruptions"),
        )
    )
    made.with_panel(
        over_time(
            "Last recovery",
            "From the loss to the next training step, and what of it went into reading the state and finding the data.",
            "s",
            query(f"max(kerasjob_recovery_seconds{{{OF_PODS}}})", "in all"),
            query(f"max(kerasjob_restore_seconds{{{OF_PODS}}})", "the state"),
            query(f"max(kerasjob_data_seek_seconds{{{OF_PODS}}})", "the data"),
        )
    )
    made.with_panel(
        states(
            "Agents",
            "The state of each worker's agent.",
            query(
                f"max by (kerasjob_dev_slot, state) (kerasjob_agent_state{{{OF_PODS}}} == 1)",
                f"{BY_SLOT}: {{{{state}}}}",
            ),
            width=PER_ROW,
        )
    )
