"""Whatever a library raises becomes one short line that names the file."""

import zlib

import pytest

from dnas.system.errors import UserError
from dnas.system.reading import in_one_line, refusing, shortened


@pytest.mark.parametrize(
    "error",
    [zlib.error("a"), NotImplementedError("a"), RecursionError("a"), SystemError("a"), MemoryError("a"), KeyError("a")],
)
def test_every_exception_becomes_a_line_that_names_the_file(error):
    with pytest.raises(UserError, match=r"^x.npz is damaged: .?a") as caught, refusing("x.npz", "is damaged"):
        raise error
    assert caught.value.__cause__ is error


def test_a_line_of_ours_stays_what_it_is():
    with pytest.raises(UserError, match=r"^ours$"), refusing("x.npz", "is damaged"):
        raise UserError("ours")


def test_an_interruption_is_no_damage():
    with pytest.raises(KeyboardInterrupt), refusing("x.npz", "is damaged"):
        raise KeyboardInterrupt


def test_lines_are_joined_and_a_silent_exception_is_named_by_its_type():
    assert in_one_line(ValueError("\n one \ntwo")) == "one two"
    assert in_one_line(MemoryError()) == "MemoryError"


def test_what_is_quoted_is_short_and_printable():
    assert shortened("x" * 10**6).startswith("'xxx")
    assert (
        max(len(shortened(value)) for value in ("\x1b" * 10**4, ["y" * 99] * 99, 10**10_000, {1: {2: {3: 4}}})) <= 200
    )
    assert in_one_line(ValueError("\x1b[31mred")) == "\\x1b[31mred"
    assert len(in_one_line(ValueError("z" * 10**6))) == 200
