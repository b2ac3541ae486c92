"""The kopf operator: the brain (`kerasjob_core`) with Kubernetes for a body.

handlers -> store -> work queue -> loop (observe, decide, apply); the poller asks agents beside it.
"""
