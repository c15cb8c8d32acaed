"""Errors that the command line shows as one line."""

import pytest

import dnas
from dnas.cli import parser
from tests.support.cli import refused


@pytest.mark.parametrize("builtin", [ValueError, ImportError])
def test_a_missing_package_is_a_users_error_and_an_import_error(builtin):
    assert issubclass(dnas.MissingPackage, (dnas.UserError, builtin))


def test_a_diverged_search_is_a_users_error_and_an_arithmetic_one():
    assert issubclass(dnas.NonFiniteLoss, dnas.UserError)
    assert issubclass(dnas.NonFiniteLoss, ArithmeticError)


def test_a_users_mistake_is_one_line(monkeypatch):
    def work(config):
        raise dnas.UserError("no such thing")

    monkeypatch.setitem(parser.COMMANDS, "spaces", parser.COMMANDS["spaces"]._replace(work=work))
    assert refused("spaces") == "no such thing"


@pytest.mark.parametrize("kind", [ValueError, ArithmeticError, ImportError, TypeError])
def test_a_mistake_of_ours_keeps_its_traceback(monkeypatch, kind):
    def work(config):
        raise kind("a mistake of ours")

    monkeypatch.setitem(parser.COMMANDS, "spaces", parser.COMMANDS["spaces"]._replace(work=work))
    with pytest.raises(kind, match="a mistake of ours"):
        parser.main(["spaces"])
