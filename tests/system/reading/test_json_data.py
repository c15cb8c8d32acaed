"""JSON is plain data with every key once."""

import pytest

from dnas.system.errors import UserError
from dnas.system.reading import parse_json, read_json


def test_plain_data_comes_back(tmp_path):
    (tmp_path / "a.json").write_text('{"a": [1, 2.5, "b", true, null]}')
    assert read_json(tmp_path / "a.json") == {"a": [1, 2.5, "b", True, None]}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "Expecting property name"),
        ("[" * 100_000, "recursion"),
        ("1" * 5000, "digits"),
        ('{"a": 1, "b": 2, "a": 3}', "'a' is there twice"),
        ('{"a": NaN}', "NaN is no finite number"),
        ("[-Infinity]", "-Infinity is no finite number"),
        ("1e999", "'1e999' is no finite number"),
    ],
)
def test_what_is_no_json_is_named(text, said):
    with pytest.raises(UserError, match=f"^x.json is not JSON: .*{said}"):
        parse_json(text, "x.json")


def test_numbers_that_are_not_finite_can_be_asked_for():
    assert parse_json("[Infinity, 1e999]", finite=False) == [float("inf"), float("inf")]
