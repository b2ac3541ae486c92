"""The brain: what is observed, what is decided, and the port by which it is done.

Imported by the operator and by the local runner. No kopf, no kubernetes, no I/O, no clock: time, randomness and the
cluster are arguments.
"""
