"""A watch that is idle is well; one that does not tell of what a listing found is deaf."""

import pytest

from kerasjob_operator.hearing import DEAF_SECONDS, Hearing
from kerasjob_operator.metrics import MISSED_EVENTS


@pytest.fixture
def now():
    return [0.0]


@pytest.fixture
def hearing(now):
    hearing = Hearing("kerasjobs", clock=lambda: now[0])
    hearing.begin()
    return hearing


def test_a_watch_where_nothing_happens_is_not_deaf(hearing, now):
    hearing.hear(7)
    for _ in range(5):
        assert hearing.listed([5, 7]) == 0
        now[0] += 300
    assert not hearing.is_deaf


def test_a_change_that_is_heard_a_moment_after_the_listing_is_no_miss(hearing, now):
    hearing.listed([7])
    now[0] += 1
    hearing.hear(8)
    now[0] += DEAF_SECONDS + 1
    assert not hearing.is_deaf
    assert hearing.listed([7, 8]) == 0


def test_a_watch_that_misses_changes_is_deaf_and_they_are_counted(hearing, now):
    hearing.hear(7)
    before = MISSED_EVENTS.labels("kerasjobs")._value.get()
    hearing.listed([7, 8, 9])
    assert not hearing.is_deaf
    now[0] += DEAF_SECONDS + 1
    assert hearing.is_deaf
    assert hearing.listed([7, 8, 9]) == 2
    assert MISSED_EVENTS.labels("kerasjobs")._value.get() == before + 2
    assert hearing.is_deaf, "since the first listing that it missed"
    hearing.hear(9)
    assert not hearing.is_deaf


def test_what_was_listed_before_the_watch_began_need_not_be_heard(now):
    hearing = Hearing("kerasjobs", clock=lambda: now[0])
    hearing.listed([7])
    hearing.begin()
    now[0] += DEAF_SECONDS + 1
    assert not hearing.is_deaf
