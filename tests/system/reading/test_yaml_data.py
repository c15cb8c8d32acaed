"""YAML is plain data: bounded aliases, every key once, no objects."""

import pytest

pytest.importorskip("yaml")

from dnas.system.errors import UserError
from dnas.system.reading import parse_yaml, read_yaml


def test_plain_data_comes_back_with_aliases_written_out(tmp_path):
    (tmp_path / "a.yaml").write_text("a: &x [1, 2.5, .inf, b]\nc: *x\nd: {e: true, f: null}\ng: 1e-3\n")
    same = [1, 2.5, float("inf"), "b"]
    assert read_yaml(tmp_path / "a.yaml") == {"a": same, "c": same, "d": {"e": True, "f": None}, "g": "1e-3"}


def test_an_empty_text_is_nothing():
    assert parse_yaml("# nothing\n") is None


MULTIPLYING = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10)
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [1", "expected ',' or"),
        (MULTIPLYING, "its aliases make more than 100,000 entries"),
        ("a: &a [*a]", "its aliases make more than 100,000 entries"),
        ("[" * 10_000, "recursion"),
        ("a: !!timestamp b", "line 1 holds a 'timestamp'"),
        ("a: 2001-12-14", "line 1 holds a 'timestamp'; expected text .in quotes"),
        ("a: !!binary aGVsbG8=", "'binary'"),
        ("a: !!python/object/apply:os.system [ls]", "'python/object/apply:os.system'"),
        (f"a: {'1:' * 10_000}1", "line 1 has a number that is too long"),
        (f"a: 0x{'f' * 10_000}", "line 1 has a number that is too long"),
        ("? [a]\n: b", "unhashable"),
        ("a" * (3 * 2**20), "at most 2,097,152 are read"),
        ("--- a\n--- b\n", "expected a single document"),
        ("a: \x00", "special characters are not allowed"),
    ],
)
def test_what_is_no_plain_yaml_is_named(text, said):
    with pytest.raises(UserError, match=f"^x.yaml is not readable YAML: .*{said}"):
        parse_yaml(text, "x.yaml")


def test_a_key_that_is_set_twice_is_named_with_its_lines():
    with pytest.raises(UserError, match=r"^x.yaml: 'a.b' is set twice, on lines 2 and 3"):
        parse_yaml("a:\n  b: 1\n  b: 2\n", "x.yaml")


def test_bytes_that_are_no_text_are_named(tmp_path):
    (tmp_path / "a.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"a\.yaml is not readable YAML"):
        read_yaml(tmp_path / "a.yaml")
