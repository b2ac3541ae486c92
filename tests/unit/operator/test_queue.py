"""The work queue: due once, never two passes of one job at once, back-off that doubles and is forgotten."""

import asyncio

import pytest

from kerasjob_operator.queue import BACKOFF_MAX_SECONDS, HEAP_SLACK, WorkQueue

A, B = ("ns", "a"), ("ns", "b")


@pytest.fixture
def clock():
    return [0.0]


@pytest.fixture
def queue(clock):
    return WorkQueue(clock=lambda: clock[0], jitter=lambda: 1.0)


async def taken(queue):
    """The key that is due now, or None."""
    try:
        return await asyncio.wait_for(queue.take(), 0.02)
    except TimeoutError:
        return None


async def test_a_key_is_due_once_however_often_it_is_added(queue):
    for _ in range(3):
        queue.add(A)
    assert await taken(queue) == A
    queue.release(A)
    assert await taken(queue) is None


async def test_the_soonest_delay_counts(queue, clock):
    queue.add(A, 10)
    queue.add(A, 1)
    queue.add(A, 5)
    clock[0] = 1.0
    assert await taken(queue) == A
    queue.release(A)
    clock[0] = 20.0
    assert await taken(queue) is None


async def test_a_key_added_during_its_pass_waits_for_its_end(queue):
    queue.add(A)
    assert await taken(queue) == A
    queue.add(A)
    queue.add(B)
    assert await taken(queue) == B
    assert await taken(queue) is None
    queue.release(A)
    assert await taken(queue) == A


async def test_back_off_doubles_up_to_a_limit_and_is_forgotten(queue, clock):
    delays = []
    for _ in range(12):
        queue.retry(A)
        delays.append(queue._due[A] - clock[0])
        clock[0] += delays[-1]
        assert await taken(queue) == A
        queue.release(A)
    assert delays[:3] == pytest.approx([0.2, 0.4, 0.8])
    assert delays[-1] == BACKOFF_MAX_SECONDS
    queue.succeeded(A)
    queue.retry(A)
    assert queue._due[A] - clock[0] == pytest.approx(0.2)


async def test_a_job_that_fails_for_days_is_still_tried(queue):
    queue._failures[A] = 5000
    queue.retry(A)
    assert queue._due[A] == BACKOFF_MAX_SECONDS


async def test_only_what_is_due_counts_as_depth(queue):
    queue.add(A)
    queue.add(B, 60)
    assert queue.depth() == 1


async def test_the_servers_retry_after_is_honoured(queue):
    queue.retry(A, at_least=7.0)
    assert queue._due[A] == 7.0


async def test_a_waiter_wakes_for_a_new_key(queue):
    waiter = asyncio.create_task(queue.take())
    await asyncio.sleep(0)
    queue.add(B)
    assert await asyncio.wait_for(waiter, 1) == B


async def test_jobs_that_are_due_in_a_month_take_no_more_room_with_each_pass(queue, clock):
    keys = [("ns", str(n)) for n in range(100)]
    for _ in range(50):
        for key in keys:
            queue.add(key)
            assert await queue.take() == key
            queue.add(key, 30 * 86400)
            queue.add(key, 20 * 86400)
            queue.release(key)
            clock[0] += 1
    assert sum(map(len, queue._lanes.values())) <= 2 * len(keys) + HEAP_SLACK
    clock[0] += 30 * 86400
    assert {await queue.take() for _ in keys} == set(keys)
    assert await taken(queue) is None


async def test_what_somebody_waits_for_goes_before_thousands_but_leaves_them_a_share(queue):
    urgent = {("ns", f"suspended {n}") for n in range(9)}
    queue.is_urgent = urgent.__contains__
    for n in range(1000):
        queue.add(("ns", f"new {n}"))
    for key in urgent:
        queue.add(key)
    order = [await queue.take() in urgent for _ in range(14)]
    assert order == [True, True, True, False] * 3 + [False, False]


async def test_a_key_that_waits_and_becomes_urgent_is_taken_once(queue, clock):
    queue.add(A)
    queue.add(B)
    queue.is_urgent = {B}.__contains__
    clock[0] = 5.0
    queue.add(B)
    assert queue.oldest_overdue_seconds() == 5, "it waits since it was due first"
    assert [await taken(queue) for _ in range(3)] == [B, A, None]


async def test_an_urgent_key_that_is_added_in_its_pass_is_urgent_after_it(queue):
    queue.add(B)
    assert await taken(queue) == B
    queue.add(A)
    queue.is_urgent = {B}.__contains__
    queue.add(B)
    queue.release(B)
    assert await taken(queue) == B


async def test_back_off_is_no_less_for_what_is_urgent(queue, clock):
    queue.is_urgent = {A}.__contains__
    queue.retry(A)
    assert await taken(queue) is None
    clock[0] += 0.2
    assert await taken(queue) == A
