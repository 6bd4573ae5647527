"""When an unreachable host is asked again."""

from __future__ import annotations

import pytest

from hpcgate.errors import TransportError
from hpcgate.transport.breaker import Breaker

DOWN = TransportError("host is down")
NO = TransportError("wrong key", transient=False)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def breaker(clock):
    return Breaker(clock=clock, vary=lambda low, high: (low + high) / 2)


def test_a_few_failures_change_nothing(breaker):
    for _ in range(2):
        breaker.failed(DOWN)
        breaker.check()
    assert not breaker.is_open


def test_then_calls_fail_at_once_until_one_may_try(breaker, clock):
    for _ in range(3):
        breaker.failed(DOWN)
    assert breaker.is_open
    with pytest.raises(TransportError, match=r"host is down \(not tried again for 2 s\)") as caught:
        breaker.check()
    assert caught.value.transient
    clock.now += 2.1
    breaker.check()


def test_pauses_double_up_to_a_limit(breaker, clock):
    pauses = []
    breaker.failed(DOWN)
    breaker.failed(DOWN)
    for _ in range(8):
        breaker.failed(DOWN)
        begun = clock.now
        while breaker.is_open:
            clock.now += 0.5
        pauses.append(clock.now - begun)
    assert pauses == [2, 4, 8, 16, 32, 60, 60, 60]


def test_success_starts_anew(breaker):
    for _ in range(3):
        breaker.failed(DOWN)
    breaker.succeeded()
    breaker.check()
    breaker.failed(DOWN)
    breaker.check()


def test_a_refusal_is_not_tried_again_at_once(breaker):
    breaker.failed(NO)
    with pytest.raises(TransportError, match="wrong key") as caught:
        breaker.check()
    assert not caught.value.transient


def test_delays_vary():
    breaker = Breaker()
    assert len({breaker.retry_delay_s() for _ in range(10)}) > 1
