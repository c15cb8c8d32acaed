"""What was given on the command line: options, their values, and words that stand alone."""

import pytest

from dnas.cli.arguments import Option, read_arguments

KNOWN = {"flags": {"--trust", "--json"}, "lists": {"--recipes", "--beside"}}


@pytest.mark.parametrize(
    ("written", "understood"),
    [
        ("--num-classes", "--num_classes"),
        ("--num_classes", "--num_classes"),
        ("--num-classes=a-b", "--num_classes=a-b"),
        ("--search.warmup-epochs", "--search.warmup_epochs"),
        ("--", "--"),
        ("my-run", "my-run"),
        ("-1", "-1"),
    ],
)
def test_hyphens_in_options_are_underscores_and_values_stay(written: str, understood: str):
    assert read_arguments([written]).words == [understood]


@pytest.mark.parametrize(
    ("words", "positionals"),
    [
        (["RUN"], ("RUN",)),
        (["--epochs", "2", "RUN"], ("RUN",)),
        (["--epochs=2", "--trust", "RUN", "--cells", "3"], ("RUN",)),
        (["-h", "RUN"], ("RUN",)),
        (["--epochs", "2"], ()),
        (["RUN", "--beside", "A", "B", "--trust"], ("RUN",)),
        (["RUN", "--", "--epochs", "2"], ("RUN", "--epochs", "2")),
        (["RUN", "- said he"], ("RUN", "- said he")),
        (["-1"], ("-1",)),
        ([], ()),
    ],
)
def test_words_that_belong_to_no_option(words: list[str], positionals: tuple[str, ...]):
    assert read_arguments(words, **KNOWN).positionals == positionals


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (["--seed", "3"], Option("--seed", ("3",))),
        (["--seed", "-3"], Option("--seed", ("-3",))),
        (["--seed=-3"], Option("--seed", ("-3",), joined=True)),
        (["--time", "-3min"], Option("--time")),
        (["--recipes", "a", "b"], Option("--recipes", ("a", "b"))),
        (["--trust", "x"], Option("--trust")),
        (["--search.weights.lr.start", "0.05"], Option("--search.weights.lr.start", ("0.05",))),
    ],
)
def test_an_option_has_its_values(words: list[str], option: Option):
    given = read_arguments(words, **KNOWN)
    assert given.parts[0] == option
    assert given.words == words


def test_the_last_value_counts():
    given = read_arguments(["--seed", "1", "--cells", "3", "--seed=2"])
    assert given.values("--seed") == ("1", "2")
    assert given.last("--seed") == "2"
    assert given.last("--channels") == ""
    assert given.names == {"--seed", "--cells"}


def test_what_was_given_after_an_option():
    given = read_arguments(["--epochs", "1", "--recipe", "a", "--recipe", "b", "--cells", "3"])
    assert given.after_last("--recipe").names == {"--cells"}
    assert given.after_last("--seed") == given


def test_changes_leave_the_rest_as_it_was():
    given = read_arguments(["gdas", "--recipe=a", "--seed", "1", "--", "b"])
    assert given.beginning_with("--recipe", "x").words == ["--recipe", "x", *given.words]
    assert given.ending_with("--cells", "3").words == ["gdas", "--recipe=a", "--seed", "1", "--cells", "3", "--", "b"]
    assert given.without("gdas").words == given.words[1:]
    assert given.with_values("--recipe", str.upper).words == ["gdas", "--recipe=A", *given.words[2:]]
