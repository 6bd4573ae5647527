"""``#SBATCH`` lines: read as sbatch reads them, and nothing else in a script."""

from __future__ import annotations

import pytest
from hpcgate_slurm.directives import OPTIONS, read_directives
from hypothesis import given
from hypothesis import strategies as st

from hpcgate.errors import InvalidSpec


def read(*lines: str) -> dict[str, str]:
    script = "\n".join(["#!/bin/sh", *lines, ""])
    return {directive.name: directive.value for directive in read_directives(script)}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("#SBATCH --time=10", {"time": "10"}),
        ("#SBATCH --time 10", {"time": "10"}),
        ("#SBATCH -t 10", {"time": "10"}),
        ("#SBATCH -t10", {"time": "10"}),
        ("#SBATCH\t-t 10", {"time": "10"}),
        ("#SBATCH -N 2 -n 4 --exclusive", {"nodes": "2", "ntasks": "4", "exclusive": ""}),
        ("#SBATCH -HO", {"hold": "", "overcommit": ""}),
        ("#SBATCH --exclusive=user", {"exclusive": "user"}),
        ("#SBATCH -J 'my job' # a comment", {"job-name": "my job"}),
        ('#SBATCH --job-name="my # job"', {"job-name": "my # job"}),
        ("#SBATCH --ntasks-per-n=3", {"ntasks-per-node": "3"}),
        ("#SBATCH --workdir=/x", {"chdir": "/x"}),
        ("#SBATCH", {}),
        ("##SBATCH --time=1", {}),
        (" #SBATCH --time=1", {}),
        ("#SBATCHED --time=1", {}),
        ("# SBATCH --time=1", {}),
        ("#PBS -l walltime=1", {}),
    ],
)
def test_what_is_read(line, expected):
    assert read(line) == expected


def test_only_what_comes_before_the_first_command():
    assert read("#SBATCH -n1", "", "# words", "#SBATCH -N1", "echo", "#SBATCH --time=1") == {
        "ntasks": "1",
        "nodes": "1",
    }


def test_of_two_the_last_counts():
    assert read("#SBATCH -t 1", "#SBATCH --time=2") == {"time": "2"}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("#SBATCH --tiem=1", "did you mean 'time'"),
        ("#SBATCH -y", "no option -y"),
        ("#SBATCH --time", "needs a value"),
        ("#SBATCH --hold=yes", "takes no value"),
        ("#SBATCH word", "no option"),
        ("#SBATCH --job-name='open", "quotation"),
        ("#SBATCH --m=1", "no option --m"),
        ("#SBATCH -n1 : -n2", "heterogeneous"),
        ("#SBATCH hetjob", "heterogeneous"),
    ],
)
def test_what_is_not_understood_is_named_with_its_line(line, words):
    with pytest.raises(InvalidSpec, match="line 2") as caught:
        read(line)
    assert words in caught.value.message


def test_all_mistakes_are_told_at_once():
    with pytest.raises(InvalidSpec) as caught:
        read("#SBATCH --nosuch", "#SBATCH -n1", "#SBATCH --time")
    assert [error.message.partition(",")[0] for error in caught.value.errors] == ["line 2", "line 4"]


@given(st.text())
def test_any_line_is_read_or_refused(text):
    try:
        found = read(f"#SBATCH {text}")
    except InvalidSpec:
        return
    assert set(found) <= set(OPTIONS)
