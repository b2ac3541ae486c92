"""Pictures of the documentation: the dashboards from what Prometheus answers, TensorBoard as a browser shows it.

The cluster of `make cluster-up` has no Grafana, so the panels are drawn here, from the same files that Grafana reads.
"""
