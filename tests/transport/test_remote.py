"""How a command becomes a line for a shell, and its output is cut out of what comes back; without any ssh."""

from __future__ import annotations

import random
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcgate.errors import OutputTooLarge
from hpcgate.transport.remote import MAX_NOISE_BYTES, Stream, exit_status, line

MARK = "0123456789abcdef"


def feed(data: bytes, *, seed: int = 0) -> Stream:
    """A stream that got this in parts of any size."""
    stream, parts = Stream(MARK), random.Random(seed)
    while data:
        size = parts.choice((1, 2, 7, 30, 1000))
        stream.feed(data[:size])
        data = data[size:]
    return stream


@given(noise=st.binary(max_size=200), data=st.binary(max_size=200), seed=st.integers(0, 1000))
def test_what_stands_between_the_markers(noise, data, seed):
    stream = feed(noise + f"{MARK}.begin\n".encode() + data + f"{MARK}.end exit 7\n".encode() + b"bye\n", seed=seed)
    assert (stream.began, stream.ended) == (True, True)
    assert (stream.data, stream.size, exit_status(stream), stream.noise) == (data, len(data), 7, b"")


@given(data=st.binary(max_size=500), seed=st.integers(0, 1000))
def test_what_has_not_begun_is_noise(data, seed):
    stream = feed(data, seed=seed)
    assert (stream.began, stream.ended, stream.noise, stream.data, stream.size) == (False, False, data, b"", 0)


@pytest.mark.parametrize(
    ("said", "status"), [("exit 0", 0), ("exit 153", 153), ("kill 137", -9), ("kill 127", 127), ("exit 137", 137)]
)
def test_status(said, status):
    assert exit_status(feed(f"{MARK}.begin\n{MARK}.end {said}\n".encode())) == status


def test_size_is_never_more_than_was_printed():
    stream = Stream(MARK)
    for part in (f"{MARK}.begin\n", "x" * 100, f"{MARK}.end exi"):
        stream.feed(part.encode())
        assert stream.size <= 100
    assert not stream.ended
    stream.feed(b"t 0\n")
    assert stream.size == 100


def test_a_shell_that_talks_without_end():
    stream = Stream(MARK)
    stream.feed(b"x" * MAX_NOISE_BYTES)
    with pytest.raises(OutputTooLarge, match="login shell"):
        stream.feed(b"x")


def test_an_echoed_line_holds_no_marker():
    echoed = line(["true"], {}, 1.0, MARK).encode()
    stream = feed(echoed)
    assert not stream.began
    stream = feed(f"{MARK}.begin\n".encode() + echoed)
    assert not stream.ended


# Not through `subprocess`' own argument handling: what a login shell would do with the line is what counts.
@given(
    argument=st.text(st.characters(blacklist_characters="\0", blacklist_categories=("Cs",)), max_size=50),
    shell=st.sampled_from(["dash", "bash"]),
)
def test_every_argument_survives_the_shell(argument, shell):
    argv = [shell, "-c", line(["printf", "%s", argument], {"V": argument}, 10.0, MARK)]
    done = subprocess.run(argv, capture_output=True, check=False, stdin=subprocess.DEVNULL)
    stream = feed(done.stdout)
    assert (stream.data, exit_status(stream)) == (argument.encode(), 0)
