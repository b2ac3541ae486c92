"""Uids of what is gone: a listing that was under way when it went must not bring it back. Used by the store."""

from __future__ import annotations


class Gone:
    """By namespace; of two generations."""

    def __init__(self) -> None:
        self._now: set[tuple[str, str]] = set()
        self._before: set[tuple[str, str]] = set()

    def add(self, namespace: str, uid: str) -> None:
        """It is gone."""
        self._now.add((namespace, uid))

    def has(self, namespace: str, uid: str) -> bool:
        """Whether it went a short while ago."""
        return (namespace, uid) in self._now or (namespace, uid) in self._before

    def listed(self, namespace: str | None) -> None:
        """After a full listing of a namespace or of all: what went before the one before cannot come back."""
        gone = {entry for entry in self._now if namespace in (None, entry[0])}
        self._before = {entry for entry in self._before if namespace not in (None, entry[0])} | gone
        self._now -= gone
