"""Windows as days, months and years."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import example, given
from hypothesis import strategies as st

from hpcgate.model.periods import Cover, Span, cover, date_of, day_of, day_of_period, periods_of

SECONDS = st.integers(0, 4_000_000_000)


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def test_a_moment_is_of_all_time_a_year_a_month_and_a_day():
    assert periods_of(at("2026-11-22T23:59:59")) == (0, 2026, 202611, 20261122)
    assert periods_of(-5) == (0, 1970, 197001, 19700101)
    assert periods_of(2**62) == (0, 9999, 999912, 99991231)


def test_a_day_is_a_number_and_a_period():
    day = day_of(at("2024-02-29T12:00"))
    assert day_of_period(20240229) == day
    assert date_of(day).isoformat() == "2024-02-29"


def test_all_time_is_a_period():
    assert cover(None, None) == Cover((Span(0, 0),), ())
    assert cover(None, None, by_day=True) == Cover((Span(1970_01_01, 9999_12_31),), ())


def test_a_window_is_made_of_as_few_periods_as_there_can_be():
    found = cover(at("2023-11-29T10:00"), at("2026-02-02T00:00:01"))
    assert found.spans == (
        Span(2024, 2025),
        Span(202312, 202312),
        Span(202601, 202601),
        Span(20231130, 20231130),
        Span(20260201, 20260201),
    )
    assert found.edges == (
        (at("2023-11-29T10:00"), at("2023-11-30")),
        (at("2026-02-02"), at("2026-02-02T00:00:01")),
    )


def test_a_window_within_a_day_or_over_midnight_is_one_edge():
    for since, until in (("2026-03-01T10:00", "2026-03-01T11:00"), ("2026-03-01T23:00", "2026-03-02T01:00")):
        assert cover(at(since), at(until)) == Cover((), ((at(since), at(until)),))
    assert cover(5, 5) == Cover((), ()) == cover(9, 5)


@given(SECONDS | st.none(), SECONDS | st.none(), SECONDS, st.booleans())
@example(at("2026-01-01"), at("2027-01-01"), at("2026-12-31T23:59:59"), False)
@example(at("2024-02-29"), at("2024-03-01"), at("2024-02-29"), False)
def test_every_second_of_a_window_is_in_it_once(since, until, moment, by_day):
    found = cover(since, until, by_day=by_day)
    times = sum(span.first <= period <= span.last for span in found.spans for period in periods_of(moment))
    times += sum(begin <= moment < end for begin, end in found.edges)
    inside = (since is None or since <= moment) and (until is None or moment < until)
    assert times == inside
