"""What was given on the command line: which options with which values, and what stands alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

# What argparse takes for a value although it begins with a hyphen.
_NEGATIVE_NUMBER = re.compile(r"-\d+|-\d*\.\d+")


@dataclass(frozen=True)
class Option:
    """One option as it was given.

    Args:
        name: with hyphens in front and underscores inside, such as --search.warmup_epochs.
        values: what it was given; empty for a flag.
        joined: whether name and value are one word, `--name=value`.
    """

    name: str
    values: tuple[str, ...] = ()
    joined: bool = False

    @property
    def words(self) -> tuple[str, ...]:
        """As it is written."""
        return (f"{self.name}={self.values[0]}",) if self.joined else (self.name, *self.values)


@dataclass(frozen=True)
class Arguments:
    """What was given after the name of a command.

    Args:
        parts: options, and words that belong to none, in the order in which they were written.
    """

    parts: tuple[Option | str, ...] = ()

    @property
    def words(self) -> list[str]:
        """The command line again, without the name of the command."""
        return [word for part in self.parts for word in (part.words if isinstance(part, Option) else (part,))]

    @property
    def names(self) -> frozenset[str]:
        """The options that were given, such as --seed."""
        return frozenset(option.name for option in self._options())

    @property
    def positionals(self) -> tuple[str, ...]:
        """The words that belong to no option."""
        return tuple(part for part in self.parts if isinstance(part, str) and part != "--")

    def values(self, name: str) -> tuple[str, ...]:
        """All values that an option was given, in order."""
        return tuple(value for option in self._options() if option.name == name for value in option.values)

    def last(self, name: str) -> str:
        """The value of an option that counts; empty where there is none."""
        return (self.values(name) or ("",))[-1]

    def after_last(self, name: str) -> Arguments:
        """What was given after the last time that an option was."""
        places = [place for place, part in enumerate(self.parts) if isinstance(part, Option) and part.name == name]
        return Arguments(self.parts[max(places, default=-1) + 1 :])

    def beginning_with(self, name: str, value: str) -> Arguments:
        """These, and an option before all of them."""
        return Arguments((Option(name, (value,)), *self.parts))

    def ending_with(self, name: str, value: str) -> Arguments:
        """These, and an option after the other options."""
        end = self.parts.index("--") if "--" in self.parts else len(self.parts)
        return Arguments((*self.parts[:end], Option(name, (value,)), *self.parts[end:]))

    def without(self, positional: str) -> Arguments:
        """These, but for the first time that a word stands alone."""
        place = self.parts.index(positional)
        return Arguments(self.parts[:place] + self.parts[place + 1 :])

    def with_values(self, name: str, change: Callable[[str], str]) -> Arguments:
        """These, with all values of an option changed."""
        return Arguments(
            tuple(
                replace(part, values=tuple(map(change, part.values)))
                if isinstance(part, Option) and part.name == name
                else part
                for part in self.parts
            )
        )

    def renamed(self, names: Mapping[str, str]) -> Arguments:
        """These, with options called as they are elsewhere under their own names.

        Args:
            names: other name -> own name; both may be beginnings, which end in a point or a hyphen.
        """

        def own(name: str) -> str:
            for other, mine in names.items():
                if name == other or (other.endswith(".") and name.startswith(other)):
                    return mine + name.removeprefix(other)
            return name

        return Arguments(tuple(replace(p, name=own(p.name)) if isinstance(p, Option) else p for p in self.parts))

    def _options(self) -> list[Option]:
        return [part for part in self.parts if isinstance(part, Option)]


def read_arguments(words: Sequence[str], *, flags: Collection[str] = (), lists: Collection[str] = ()) -> Arguments:
    """What was given, from the words after the name of a command.

    Both ways of writing an option are understood: `--num-classes 10` is `--num_classes 10`.

    Args:
        words: of the command line.
        flags: options without a value.
        lists: options with any number of values; all others have one.
    """
    parts: list[Option | str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "--":  # what follows is no option, however it begins
            parts += [word, *rest]
            break
        if not _is_option(word):
            parts.append(word)
            continue
        name, equals, value = word.partition("=")
        name = with_underscores(name)
        if equals:
            parts.append(Option(name, (value,), joined=True))
            continue
        most = 0 if name in flags or not name.startswith("--") else len(rest) if name in lists else 1
        values = []
        while rest and len(values) < most and not _is_option(rest[0]):
            values.append(rest.pop(0))
        parts.append(Option(name, tuple(values)))
    return Arguments(tuple(parts))


def with_underscores(name: str) -> str:
    """`--num-classes` as `--num_classes`."""
    return "--" + name.removeprefix("--").replace("-", "_") if name.startswith("--") else name


def _is_option(word: str) -> bool:
    """Whether argparse takes a word for an option."""
    text = word.partition("=")[0]
    return word.startswith("-") and word != "-" and " " not in text and _NEGATIVE_NUMBER.fullmatch(word) is None
