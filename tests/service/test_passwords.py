"""How passwords are kept."""

from __future__ import annotations

import time
from importlib.util import find_spec, module_from_spec

import pytest

from hpcgate.service.passwords import check_password, hash_password


@pytest.fixture
def unhurried():
    """The module as it is outside of tests."""
    spec = find_spec("hpcgate.service.passwords")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_password_is_checked_against_its_hash(unhurried):
    stored = unhurried.hash_password("correct horse")
    assert unhurried.check_password("correct horse", stored)
    assert not unhurried.check_password("correct house", stored)


def test_a_hash_takes_the_work_that_makes_guessing_dear(unhurried):
    began = time.process_time()
    stored = unhurried.hash_password("correct horse")
    assert time.process_time() - began > 0.03
    assert not check_password("correct horse", stored), "the same work is needed to check it"


def test_a_hash_is_salted_and_holds_nothing_of_the_password():
    one, other = (hash_password("correct horse") for _ in range(2))
    assert one != other
    assert "correct" not in one
