"""Errors that the command line shows as one line."""

from dataclasses import replace

import pytest

import dnas
from dnas.cli import main, spaces
from tests.support.cli import refused


@pytest.mark.parametrize("builtin", [ValueError, ImportError])
def test_a_missing_package_is_a_users_error_and_an_import_error(builtin):
    assert issubclass(dnas.MissingPackage, (dnas.UserError, builtin))


def test_a_diverged_search_is_a_users_error_and_an_arithmetic_one():
    assert issubclass(dnas.NonFiniteLoss, dnas.UserError)
    assert issubclass(dnas.NonFiniteLoss, ArithmeticError)


def test_a_users_mistake_is_one_line(monkeypatch):
    def run(config, given):
        raise dnas.UserError("no such thing")

    monkeypatch.setattr(spaces, "COMMAND", replace(spaces.COMMAND, run=run))
    assert refused("spaces") == "no such thing"


@pytest.mark.parametrize("kind", [ValueError, ArithmeticError, ImportError, TypeError])
def test_a_mistake_of_ours_keeps_its_traceback(monkeypatch, kind):
    def run(config, given):
        raise kind("a mistake of ours")

    monkeypatch.setattr(spaces, "COMMAND", replace(spaces.COMMAND, run=run))
    with pytest.raises(kind, match="a mistake of ours"):
        main(["spaces"])
