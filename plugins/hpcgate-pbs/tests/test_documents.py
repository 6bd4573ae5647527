"""The three forms of an answer, whole and broken."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hpcgate_pbs.documents import read_dsv, read_json, read_plain
from hpcgate_pbs.observe import key_of
from hypothesis import given
from hypothesis import strategies as st

KEY = "01J00000000000000000000001"


def text_of(jobs, *, tab="\t"):
    data = {"timestamp": 1772524900, "pbs_version": "23.06.06", "pbs_server": "head", "Jobs": jobs}
    return json.dumps(data, indent=tab, separators=(",", f":{tab}"), ensure_ascii=False) + "\n"


def one(text):
    (row,) = read_json(text).objects.values()
    return row


def test_parts_of_an_attribute_are_flat():
    row = one(text_of({"1.head": {"Resource_List": {"ncpus": 4, "walltime": "01:00:00"}, "Priority": 0}}))
    assert row == {"Resource_List.ncpus": "4", "Resource_List.walltime": "01:00:00", "Priority": "0"}


def test_the_clock_and_the_version_are_read():
    document = read_json(text_of({}))
    assert (document.timestamp, document.version, document.objects) == (1772524900.0, "23.06.06", {})


@pytest.mark.parametrize("token", ["005", "1e5", "0x1f", "nan", "Infinity", "-7", "+3", "1.50"])
def test_a_name_that_looks_like_a_number_stays_what_it_is(token):
    text = text_of({"1.head": {"Job_Name": "NAME", "job_state": "Q"}}).replace('"NAME"', token)
    assert one(text) == {"Job_Name": token, "job_state": "Q"}


@pytest.mark.parametrize("tab", ["\t", "    "])
@pytest.mark.parametrize(
    "value",
    [
        'say "hello"',
        'ends with "',
        '"',
        "two\nlines",
        'two "quoted"\nlines, "here"',
        "a backslash \\ here",
        "bash function () { echo\n}",
        "tab\there",
        'a: "b",\nc',
    ],
)
def test_values_that_were_not_escaped_are_read(value, tab):
    """Older PBS leave environment values as they are."""
    text = text_of({"1.head": {"Variable_List": {"BAD": "VALUE", "HPCGATE_JOB_KEY": KEY}, "substate": 42}}, tab=tab)
    row = one(text.replace("VALUE", value))
    assert row["substate"] == "42"
    assert key_of(row) == KEY


def test_the_first_of_two_equal_keys_stands():
    text = text_of({"1.head": {"job_state": "R", "x": 1}}).replace('"x":\t1', '"job_state":\t"F"')
    assert one(text) == {"job_state": "R"}


def test_objects_that_stand_twice_are_put_together():
    text = text_of({"1.head": {"Resource_List": {"a": 1}, "x": 1}})
    assert one(text.replace('"x":\t1', '"Resource_List":\t{\n"a":\t2,\n"b":\t3\n}')) == {
        "Resource_List.a": "1",
        "Resource_List.b": "3",
    }


@pytest.mark.parametrize("broken", ["\n\t\t}\n\t}\n}\n", "\n}\n", ""])
def test_an_answer_that_was_cut_off_is_none(broken):
    """Jobs that are missing at its end must not look gone."""
    whole = text_of({"1.head": {"job_state": "R"}, "2.head": {"Job_Name": "005"}}).replace('"005"', "005")
    cut = whole[: whole.index('\t\t"2.head"')].rstrip().rstrip(",") + broken
    with pytest.raises(ValueError, match=r"."):
        read_json(cut)


@pytest.mark.parametrize("text", ["", "\n", "qstat: something", "[]", "{}", '{"Jobs": {}}', "null", "<Data></Data>"])
def test_what_is_no_answer_is_none(text):
    with pytest.raises(ValueError, match=r"."):
        read_json(text)


@given(st.text())
def test_json_never_breaks_otherwise(text):
    with suppress(ValueError):
        read_json(text)


@given(st.dictionaries(st.text(min_size=1), st.text()))
def test_what_is_json_is_read_as_json(variables):
    row = one(text_of({"1.head": {"Variable_List": variables, "job_state": "R"}}))
    assert row == {f"Variable_List.{name}": value for name, value in variables.items()} | {"job_state": "R"}


# --- dsv ----------------------------------------------------------------------------------------------------------


def test_dsv_takes_bars_and_line_breaks_inside_values():
    text = (
        "Job Id: 1.head|Job_Name=a|b|job_state=R|Variable_List=A=one\ntwo|three,B=\\|\n"
        f"Job Id: 2.head|job_state=Q|Variable_List=X=1,HPCGATE_JOB_KEY={KEY},Y=2\n"
    )
    objects = read_dsv(text).objects
    assert objects["1.head"] == {"Job_Name": "a|b", "job_state": "R", "Variable_List": "A=one\ntwo|three,B=|"}
    assert key_of(objects["2.head"]) == KEY


def test_dsv_of_nothing_is_nothing():
    assert read_dsv("").objects == {}


def test_dsv_refuses_what_is_none():
    with pytest.raises(ValueError, match="no object"):
        read_dsv("usage: qstat [-f]\n")


def test_a_key_inside_another_value_is_not_the_jobs_own():
    row = {"Variable_List": f"A=x\\,HPCGATE_JOB_KEY={KEY},B=1"}
    assert key_of(row) is None


# --- plain --------------------------------------------------------------------------------------------------------


def test_plain_joins_wrapped_lines():
    text = "Job Id: 1.head\n    Submit_arguments = -l se\n\tlect=1\n    comment = a = b\n\nJob Id: 2.head\n    x = 1\n"
    assert read_plain(text).objects == {
        "1.head": {"Submit_arguments": "-l select=1", "comment": "a = b"},
        "2.head": {"x": "1"},
    }


@pytest.mark.parametrize("text", ["cannot connect\n", "Job Id: 1.head\n    no attribute\n"])
def test_plain_refuses_what_is_none(text):
    with pytest.raises(ValueError, match=r"."):
        read_plain(text)
