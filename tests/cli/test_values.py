from __future__ import annotations

import time

import pytest

from hpcgate.cli.values import parse_duration, parse_memory, parse_moment, parse_pair


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("90s", 90),
        ("15m", 900),
        ("1h30m", 5400),
        ("1d", 86_400),
        ("30D", 30 * 86_400),
        ("2w", 14 * 86_400),
        ("5:00", 300),
        ("1:30:00", 5400),
        ("2-00:00:00", 2 * 86_400),
        ("1-12", 36 * 3600),
        ("1-12:30", 36 * 3600 + 1800),
    ],
)
def test_durations(text: str, seconds: int) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "0s", "-5", "1:2:3:4", "1.5h", "soon", "5x", "1:300", "1 h"])
def test_what_is_no_duration_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match="is no time"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "mebibytes"),
    [("512", 512), ("512M", 512), ("4G", 4096), ("4GiB", 4096), ("1.5g", 1536), ("1T", 1 << 20), ("2048K", 2)],
)
def test_sizes(text: str, mebibytes: int) -> None:
    assert parse_memory(text) == mebibytes


@pytest.mark.parametrize("text", ["", "4X", "G", "-1G", "12K", "0", "1e3"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"size|less than 1 MiB"):
        parse_memory(text)


def test_moments(monkeypatch: pytest.MonkeyPatch) -> None:
    assert parse_moment("2026-01-31T12:00:00+01:00") == 1769857200
    assert parse_moment("1970-01-01T00:00:10Z") == 10
    assert abs(parse_moment("2h") - (time.time() - 7200)) < 5
    with pytest.raises(ValueError, match="'tomorrow' is no time"):
        parse_moment("tomorrow")


def test_pairs() -> None:
    assert parse_pair("a=b=c") == ("a", "b=c")
    assert parse_pair("a=") == ("a", "")
    for text in ("a", "=b"):
        with pytest.raises(ValueError, match="KEY=VALUE"):
            parse_pair(text)
