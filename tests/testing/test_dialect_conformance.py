"""The kit for dialects on the dialect that `hpcgate plugin new` writes, and on ones that are wrong."""

from __future__ import annotations

import importlib.util
import logging
import sys

import pytest

from hpcgate.hookspecs import hookimpl
from hpcgate.plugin.scaffold import create
from hpcgate.server.errors import Problem
from hpcgate.testing.dialects.server import ADMIN, running
from hpcgate.testing.dialects.suite import DialectConformance


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    """The module of the dialect, and the package's own test module."""
    root = create("tickets", tmp_path_factory.mktemp("scaffold") / "new", "dialect")
    load("hpcgate_dialect_tickets", root / "hpcgate_dialect_tickets" / "__init__.py")
    dialect = importlib.import_module("hpcgate_dialect_tickets.dialect")
    yield dialect, load("tickets_conformance", root / "tests" / "test_conformance.py")
    for name in ("hpcgate_dialect_tickets.dialect", "hpcgate_dialect_tickets", "tickets_conformance"):
        del sys.modules[name]


def load(name, path):
    spec = importlib.util.spec_from_file_location(name, path, submodule_search_locations=[str(path.parent)])
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class TestExample(DialectConformance):
    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _facts(cls, example):
        cls.facts = example[1].TestTicketsDialect.facts

    @pytest.fixture(scope="class")
    @classmethod
    def plugin(cls, example):
        return example[1].dialect


# --- the kit finds what is wrong


class Plugin:
    def __init__(self, dialect):
        self.dialect = dialect

    @hookimpl
    def hpcgate_register_dialects(self, register):
        register(self.dialect)


def native_errors(dialect):
    dialect.render_error = Problem.response
    return "test_an_unknown_path", ("/no/such/path",)


def errors_that_break(dialect):
    def render_error(problem):
        raise ZeroDivisionError

    dialect.render_error = render_error
    return "test_a_method_that_does_not_go_with_the_path", ()


def redirects(dialect):
    def patch(gateway, app):
        from flask import redirect, request

        app.before_request(lambda: None if request.path.endswith("/") else redirect(f"{request.url}/"))

    dialect.patch = patch
    return "test_no_slash_too_many_or_too_few_is_a_redirect", ()


def jobs_for_everybody(dialect):
    def patch(gateway, app):
        find = gateway.foreign.job
        gateway.foreign.job = lambda principal, *args: find(ADMIN, *args)

    dialect.patch = patch
    return "test_the_job_of_another_is_not_there", ()


def tokens_of_other_dialects(dialect):
    def patch(gateway, app):
        check = gateway.identities.authenticate
        gateway.identities.authenticate = lambda token, dialect: check(token, "another")

    dialect.patch = patch
    return "test_a_token_of_this_dialect_is_good", ()


def tokens_in_the_log(dialect):
    def patch(gateway, app):
        from flask import request

        app.before_request(lambda: logging.getLogger("hpcgate.x").info("%s", dict(request.headers)))

    dialect.patch = patch
    return "test_nothing_secret_is_logged", ()


def a_document_of_somewhere_else(dialect):
    def patch(gateway, app):
        app.view_functions["api-docs.openapi_json"] = lambda: {
            "openapi": "3.0.3",
            "info": {"title": "x", "version": "1"},
            "paths": {"/x": {}},
            "servers": [{"url": "/elsewhere"}],
        }

    dialect.patch = patch
    return "test_its_document_is_valid_and_names_where_it_is", ()


def strict_about_the_content_type(dialect):
    def patch(gateway, app):
        from flask import abort, request

        app.before_request(lambda: abort(415) if request.method == "POST" and not request.is_json else None)

    dialect.patch = patch
    return "test_a_body_is_read_whatever_its_content_type_says", ()


@pytest.mark.parametrize(
    "wrong",
    [
        native_errors,
        errors_that_break,
        redirects,
        jobs_for_everybody,
        tokens_of_other_dialects,
        tokens_in_the_log,
        a_document_of_somewhere_else,
        strict_about_the_content_type,
    ],
)
def test_the_kit_bites(example, wrong, tmp_path, log_watch):
    package, own = example

    class Wrong(package.TicketsDialect):
        def create_app(self, gateway, settings):
            app = super().create_app(gateway, settings)
            getattr(self, "patch", lambda gateway, app: None)(gateway, app)
            return app

    dialect = Wrong()
    test, arguments = wrong(dialect)
    facts = own.TestTicketsDialect.facts
    with log_watch.diverted(), running(Plugin(dialect), facts, tmp_path / "home") as served:
        kit = DialectConformance()
        kit.facts = facts
        with pytest.raises(AssertionError):
            getattr(kit, test)(served, *arguments)
