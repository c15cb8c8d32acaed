"""Settings survive the way through plain data, and no file can name code that is not ours."""

import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, suppress
from dataclasses import dataclass, field, fields
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonargparse import ArgumentError, ArgumentParser
from torch import Tensor

import dnas
from dnas import (
    AlphaAdam,
    Anchor,
    Argmax,
    BetaDecay,
    ConjugateGradient,
    Constant,
    Cosine,
    DartsSpace,
    Dirichlet,
    DirichletPrior,
    Discretization,
    ExactProduct,
    ExpectedCost,
    Exponential,
    FiniteDifference,
    FirstOrder,
    GumbelSoftmax,
    Hypergradient,
    Linear,
    Mixture,
    Neumann,
    Observer,
    OneStep,
    Penalty,
    RandomSampling,
    Relaxation,
    Schedule,
    SearchSettings,
    Sigmoid,
    Smoothing,
    Softmax,
    Space,
    Threshold,
    Unrolled,
    Warmup,
    WeightAdamW,
    WeightSGD,
    ZeroOne,
)
from dnas.system.plain_data import check_only_own_parts, to_plain
from tests.support.contracts import public_parts

COST = ExpectedCost({"op": [1.5, 2.0], "normal.edges": [[0.0, 1.0], [2.0, 3.0]]}, target=4.0, exponent=0.5)
OF_PENALTY: dict[type, Relaxation] = {ZeroOne: Sigmoid(), DirichletPrior: Dirichlet(), Anchor: Dirichlet()}
SETTINGS = [
    SearchSettings(),
    SearchSettings(
        relaxation=GumbelSoftmax(Linear(5.0, 0.5), hard=False, compute_all=True),
        hypergradient=OneStep(FiniteDifference(0.02), clip=3.0),
        discretization=Threshold(0.3),
        penalties=(BetaDecay(Linear(0.0, 25.0)), COST),
        weights=WeightSGD(Constant(0.1), momentum=0.0, weight_decay=1e-5, nesterov=False, clip=None),
        alphas=AlphaAdam(1e-3, betas=(0.9, 0.99), weight_decay=0.0),
        epochs=7,
        warmup_epochs=2,
        seed=5,
        log_every=3,
        checkpoint_minutes=0.5,
    ),
    SearchSettings(Sigmoid(), OneStep(ExactProduct()), Argmax()),
    SearchSettings(Softmax(), Unrolled(3, clip=1.0), weights=WeightSGD(Cosine(0.2, 0.0), nesterov=True)),
    SearchSettings(hypergradient=Neumann(4, rate=0.1, stochastic=True)),
    SearchSettings(hypergradient=ConjugateGradient(5, tolerance=1e-4, damping=0.1), relaxation=GumbelSoftmax()),
    SearchSettings(hypergradient=FirstOrder()),
    *(
        SearchSettings(relaxation=part, discretization=Argmax() if part.trains_alphas else RandomSampling())
        for part in public_parts(dnas.method.relaxation, Relaxation, {})
    ),
    *(
        SearchSettings(discretization=part, relaxation=Sigmoid() if isinstance(part, Threshold) else Softmax())
        for part in public_parts(dnas.method.discretization, Discretization, {})
    ),
    *(
        SearchSettings(penalties=(part,), relaxation=OF_PENALTY.get(type(part), Softmax()))
        for part in public_parts(dnas.method.penalty, Penalty, {ExpectedCost: [COST]})
    ),
    *(SearchSettings(smoothing=part) for part in public_parts(dnas.method.smoothing, Smoothing, {})),
    *(SearchSettings(observers=(part,)) for part in public_parts(dnas.searching.observer, Observer, {})),
    SearchSettings(weights=WeightSGD(lr=Exponential(0.1, 0.01))),
    SearchSettings(weights=WeightAdamW(lr=Warmup(Cosine(1e-3, 0.0), share=0.2), betas=(0.9, 0.95))),
]
SPACES = [
    space()
    for name in dnas.__all__
    if name.endswith("Space") and issubclass(space := getattr(dnas, name), Space) and space is not Space
]


@dataclass(frozen=True)
class Whole:
    """What a file may hold."""

    search: SearchSettings = SearchSettings()
    space: Space = DartsSpace()


def read(data: Any) -> Whole:
    """What the command line reads from plain data."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Whole, None, sub_configs=False)
    with redirect_stderr(StringIO()):
        config = parser.instantiate(parser.parse_object(data))
    return Whole(config.search, config.space)


@pytest.mark.parametrize("settings", SETTINGS, ids=range(len(SETTINGS)))
def test_settings_come_back_equal_from_plain_data_in_a_yaml_file(settings: SearchSettings):
    plain = yaml.safe_load(yaml.safe_dump({"search": to_plain(settings)}))
    check_only_own_parts(plain["search"], "config.yaml", "search")
    assert read(plain).search == settings


@pytest.mark.parametrize("space", [DartsSpace(2, ("none", "skip_connect"), True), *SPACES])
def test_spaces_come_back_equal(space: Space):
    plain = yaml.safe_load(yaml.safe_dump({"space": to_plain(space)}))
    check_only_own_parts(plain["space"], "config.yaml", "space")
    assert read(plain).space == space


def test_every_public_part_is_written_with_its_public_name():
    kinds = (Relaxation, Hypergradient, Discretization, Penalty, Schedule, Space, type(ExactProduct()).__base__)
    used = {type(value) for settings in SETTINGS for value in _values(settings)} | set(map(type, SPACES))
    ours = {
        part for name in dnas.__all__ if isinstance(part := getattr(dnas, name), type) and issubclass(part, kinds)
    } - set(kinds)
    assert {part for part in ours if not getattr(part, "__abstractmethods__", None)} == used & ours
    for settings in SETTINGS:
        assert to_plain(settings)["relaxation"]["class_path"] == f"dnas.{type(settings.relaxation).__name__}"


def _values(value: Any) -> Iterator[Any]:
    """A dataclass and everything in it."""
    yield value
    if isinstance(value, tuple):
        for item in value:
            yield from _values(item)
    elif hasattr(value, "__dataclass_fields__"):
        for entry in fields(value):
            yield from _values(getattr(value, entry.name))


def test_data_classes_become_mappings_and_parts_carry_their_class():
    assert to_plain(WeightSGD(lr=Constant(0.5), clip=None)) == {
        "class_path": "dnas.WeightSGD",
        "init_args": {
            "lr": {"class_path": "dnas.Constant", "init_args": {"value": 0.5}},
            "momentum": 0.9,
            "weight_decay": 3e-4,
            "nesterov": False,
            "clip": None,
        },
    }
    assert to_plain(AlphaAdam(lr=0.1)) == {"lr": 0.1, "betas": [0.5, 0.999], "weight_decay": 1e-3}
    assert to_plain({"folder": Path("a") / "b", "pair": (1, "x")}) == {"folder": str(Path("a/b")), "pair": [1, "x"]}


@dataclass(frozen=True)
class Temperature(Relaxation):
    """A user's own part; `computed` is no setting."""

    value: float = 2.0
    computed: float = field(init=False, default=1.0)

    def sample(self, alpha: Tensor, progress: Tensor, generator: Any) -> Mixture:
        return self.expected(alpha, progress)

    def expected(self, alpha: Tensor, progress: Tensor) -> Mixture:
        return Mixture((alpha / self.value).softmax(-1))


class Plain(Relaxation):
    """A part that is no dataclass."""

    def sample(self, alpha: Tensor, progress: Tensor, generator: Any) -> Mixture:
        return self.expected(alpha, progress)

    def expected(self, alpha: Tensor, progress: Tensor) -> Mixture:
        return Mixture(alpha.softmax(-1))


def test_a_users_part_is_written_with_its_import_path_and_is_not_followed_from_a_file():
    plain = to_plain(SearchSettings(relaxation=Temperature(3.0)))
    assert plain["relaxation"] == {"class_path": f"{__name__}.Temperature", "init_args": {"value": 3.0}}
    assert read({"search": plain}).search.relaxation == Temperature(3.0)
    with pytest.raises(ValueError, match=r"config.yaml: search.relaxation.class_path is .*Temperature.*--trust"):
        check_only_own_parts(plain, "config.yaml", "search")


def test_what_cannot_be_written_is_told():
    with pytest.raises(ValueError, match=r"got a Plain. Make a part of your own a frozen dataclass"):
        to_plain(SearchSettings(relaxation=Plain()))
    with pytest.raises(ValueError, match="got a set"):
        to_plain({"a": {1, 2}})


EVIL = "dnas_test_evil.Part"
# Each of these, put into a run's config.yaml, would import and run code that is not ours.
ATTACKS = {
    "an import path": {"relaxation": EVIL},
    "a class path": {"relaxation": {"class_path": EVIL}},
    "a class path deeper down": {
        "relaxation": {"class_path": "dnas.GumbelSoftmax", "init_args": {"temperature": EVIL}}
    },
    "in a list": {"penalties": [{"class_path": EVIL}]},
    "YAML in a text": {"relaxation": f"{{class_path: {EVIL}}}"},
    "JSON in a text": {"relaxation": f'{{"class_path": "{EVIL}"}}'},
    "JSON in a text in a list": {"penalties": [f'{{"class_path": "{EVIL}"}}']},
    "an escaped path in YAML": {"relaxation": '{class_path: "dnas_test_evil\\x2ePart"}'},
    "all settings as text": f"{{relaxation: {EVIL}}}",
    "a file of settings": "settings.yaml",
    "a file without a suffix": "settings",
    "a file for settings further down": {"weights": "weights"},
    "a dotted key": {"relaxation.class_path": EVIL},
    "a set": {"penalties": {EVIL}},
    "a path through our modules": {"relaxation": {"class_path": "dnas.system.plain_data.re.compile"}},
    "a class of ours that is not public": {"relaxation": {"class_path": "dnas.searching.loop.SearchLoop"}},
    "blanks around it": {"relaxation": f" {EVIL}\n"},
}
# What jsonargparse makes nothing of by itself.
HARMLESS = {
    "a file for settings further down",
    "JSON in a text in a list",
    "a path through our modules",
    "a class of ours that is not public",
    "blanks around it",
}


@pytest.fixture
def evil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A module that leaves a mark when it is imported, and files of settings that name it, in the working folder."""
    code = "import sys\nsys.dnas_test_mark = True\nimport dnas\nclass Part(dnas.Softmax): ...\n"
    (tmp_path / "dnas_test_evil.py").write_text(code)
    for name in ("settings.yaml", "settings"):
        (tmp_path / name).write_text(f"relaxation: {EVIL}\n")
    (tmp_path / "weights").write_text(f"lr: {EVIL}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dnas_test_mark", False, raising=False)
    yield
    sys.modules.pop("dnas_test_evil", None)


@pytest.mark.parametrize("attack", ATTACKS)
def test_no_way_of_naming_foreign_code_gets_through(evil, attack: str):
    with pytest.raises(ValueError, match=r"^RUN/config.yaml: search"):
        check_only_own_parts(ATTACKS[attack], "RUN/config.yaml", "search")


@pytest.mark.parametrize("attack", [name for name in ATTACKS if name not in HARMLESS])
def test_each_of_these_ways_is_a_real_one(evil, attack: str):
    with suppress(ArgumentError, TypeError):  # by then it has been imported
        read({"search": ATTACKS[attack]})
    assert sys.dnas_test_mark  # type: ignore[attr-defined]


def test_plain_words_are_let_through_in_lists_alone():
    check_only_own_parts({"candidates": ["none", "sep_conv_3x3", "1e-3"], "costs": {"normal.edges": [1.0, None]}}, "f")
    with pytest.raises(ValueError, match=r"f: candidates\[1\] is 'os.path'"):
        check_only_own_parts({"candidates": ["none", "os.path"]}, "f")
    with pytest.raises(ValueError, match="f: temperature is 'none'"):
        check_only_own_parts({"temperature": "none"}, "f")
    with pytest.raises(ValueError, match="f: when must be a number, text, list or mapping; got a bytes"):
        check_only_own_parts({"when": b"dnas.Softmax"}, "f")


def test_a_word_is_data_where_a_setting_is_one_and_nowhere_else():
    check_only_own_parts({"search": {"precision": "tf32"}}, "config.yaml")
    with pytest.raises(ValueError, match="relaxation is 'tf32'"):
        check_only_own_parts({"relaxation": "tf32"}, "config.yaml")
    with pytest.raises(ValueError, match="precision is 'a file'"):
        check_only_own_parts({"precision": "a file"}, "config.yaml")
