"""`spec.failurePolicy.rules`: what the user wants done about a failure, instead of what follows from its evidence."""

from __future__ import annotations

import functools
from typing import Any

import re2

from kerasjob_api.spec_failure import FailurePolicy, FailureRule
from kerasjob_api.status import FailureStatus


def matching(policy: FailurePolicy, failure: FailureStatus) -> tuple[int, FailureRule] | None:
    """The first rule that matches, and its index; None where none does."""
    return next(((index, rule) for index, rule in enumerate(policy.rules) if _matches(rule, failure)), None)


def action_for(policy: FailurePolicy, failure: FailureStatus) -> str | None:
    """FailJob, RestartJob or Ignore; None where no rule matches."""
    found = matching(policy, failure)
    return None if found is None else found[1].action


def _matches(rule: FailureRule, failure: FailureStatus) -> bool:
    codes = rule.on_exit_codes
    if codes is not None and (
        failure.exit_code is None or (failure.exit_code in codes.values) != (codes.operator == "In")
    ):
        return False
    if rule.on_reasons is not None and failure.reason not in rule.on_reasons:
        return False
    if rule.on_workers is not None and failure.worker not in rule.on_workers:
        return False
    return rule.on_message is None or pattern(rule.on_message).search(failure.message) is not None


@functools.lru_cache(maxsize=256)
def pattern(text: str) -> Any:
    """A compiled pattern. Raises ValueError with what is wrong with it.

    RE2 takes time in proportion to the message, whatever the pattern: the operator serves others too.
    """
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(text, options)
    except re2.error as error:
        words = error.args[0] if error.args else "no pattern"
        raise ValueError(words.decode() if isinstance(words, bytes) else str(words)) from None
