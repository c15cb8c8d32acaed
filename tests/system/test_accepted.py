"""Settings of another type than expected: converted where one thing is meant, refused in a sentence elsewhere."""

import math
from dataclasses import MISSING, fields, is_dataclass
from inspect import isabstract
from pathlib import Path

import numpy as np
import pytest

import dnas
from dnas import (
    Argmax,
    Constant,
    Dirichlet,
    Entropy,
    ExactProduct,
    GumbelSoftmax,
    OneStep,
    RetrainSettings,
    SearchSettings,
    SkipStop,
    Softmax,
    Stage,
    UserError,
    WeightSGD,
)

EXAMPLES = {"costs": "parameters", "target": 1.0, "value": 1.0, "start": 0.5, "end": 0.1, "terms": 2, "rate": 0.1}
EXAMPLES |= {"steps": 2, "schedule": Constant(1.0)}


def settings_of_dnas() -> list[type]:
    """The public dataclasses whose settings a user writes, and that take no functions."""
    public = [getattr(dnas, name) for name in dnas.__all__]
    kinds = (
        *(dnas.Schedule, dnas.Relaxation, dnas.Hypergradient, dnas.Penalty, dnas.Discretization, dnas.Smoothing),
        *(dnas.Observer, dnas.Space),
    )
    found = [kind for kind in public if isinstance(kind, type) and is_dataclass(kind) and not isabstract(kind)]
    alone = (SearchSettings, RetrainSettings, WeightSGD, dnas.AlphaAdam, Stage, dnas.ShrinkSettings)
    return [kind for kind in found if issubclass(kind, kinds) or kind in alone]


def settings() -> list[tuple[type, str]]:
    return [
        (kind, field.name)
        for kind in settings_of_dnas()
        for field in fields(kind)
        if field.init and "Mapping" not in str(field.type)
    ]


@pytest.mark.parametrize(("kind", "name"), settings(), ids=lambda one: getattr(one, "__name__", one))
def test_every_setting_of_every_part_refuses_an_object_in_a_sentence(kind, name):
    has_none = [field.name for field in fields(kind) if field.default is MISSING is field.default_factory]
    needed = {name: EXAMPLES[name] for name in has_none}
    with pytest.raises(UserError, match=rf"^{name}.* must be .*; got an object\.$"):
        kind(**{**needed, name: object()})


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (lambda: WeightSGD(lr=0.1).lr, Constant(0.1)),
        (lambda: WeightSGD(lr=np.float32(0.5)).lr, Constant(0.5)),  # type: ignore[arg-type]
        (lambda: Entropy(weight=1).weight, Constant(1.0)),
        (lambda: Stage(skip_dropout=0.2).skip_dropout, Constant(0.2)),
        (lambda: SearchSettings(relaxation="gumbel").relaxation, GumbelSoftmax()),
        (lambda: SearchSettings(relaxation="GumbelSoftmax").relaxation, GumbelSoftmax()),
        (lambda: SearchSettings(relaxation="gumbel_softmax").relaxation, GumbelSoftmax()),
        (lambda: SearchSettings(relaxation="dnas.Softmax").relaxation, Softmax()),
        (lambda: SearchSettings(relaxation="dirichlet").relaxation, Dirichlet()),
        (lambda: OneStep(mixed="exact").mixed, ExactProduct()),
        (lambda: SearchSettings(penalties=Entropy()).penalties, (Entropy(),)),
        (lambda: SearchSettings(penalties=["entropy"]).penalties, (Entropy(),)),
        (lambda: SearchSettings(observers="skip").observers, (SkipStop(),)),
        (lambda: SearchSettings(epochs=np.int64(3)).epochs, 3),
        (lambda: dnas.AlphaAdam(betas=[0.1, 0.2]).betas, (0.1, 0.2)),  # type: ignore[arg-type]
        (lambda: dnas.DartsSpace(candidates=["none", "skip_connect"]).candidates, ("none", "skip_connect")),
    ],
)
def test_what_can_only_mean_one_thing_is_taken_for_it(given, meant):
    found = given()
    assert found == meant
    assert type(found) is type(meant)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            lambda: SearchSettings(relaxation=Dirichlet),
            r"got the class Dirichlet. Make an object of it: dnas.Dirichlet",
        ),
        (lambda: SearchSettings(relaxation="s"), r"'s' could be Sigmoid or Softmax; known are Dirichlet, Gumbel"),
        (lambda: SearchSettings(relaxation="gumble"), r"there is no Relaxation 'gumble'; known are Dirichlet"),
        (lambda: SearchSettings(penalties="expected"), r"ExpectedCost needs costs, target: write dnas.ExpectedCost\("),
        (lambda: SearchSettings(epochs="3"), r"epochs must be a whole number; got the text '3'. Write it without quo"),
        (lambda: SearchSettings(epochs=3.5), r"epochs must be a whole number; got 3.5\."),
        (lambda: SearchSettings(epochs=True), r"epochs must be a whole number; got True\."),
        (lambda: SearchSettings(precision="bf32"), r"precision must be one of 'float32', 'tf32', 'bf16'; got the text"),
        (lambda: SearchSettings(discretization=Softmax()), r"discretization must be a Discretization \(dnas.Argmax"),
        (lambda: SearchSettings(alphas={"lr": 0.1}), r"alphas must be an AlphaAdam; .* Write dnas.AlphaAdam\(lr="),
        (lambda: SearchSettings(penalties=[Entropy(), 3]), r"penalties\[1\] must be a Penalty"),
        (
            lambda: WeightSGD(lr=math.sin),
            r"lr must be a Schedule .* Put a function of your own into a frozen dataclass",
        ),
        (lambda: WeightSGD(clip="5.0"), r"clip must be a number or None; got the text '5.0'. Write it without quotes"),
        (lambda: RetrainSettings(epochs=None), r"epochs must be a whole number; got None"),
        (lambda: dnas.AlphaAdam(betas=(0.1,)), r"betas must be 2 values"),
    ],
)
def test_the_rest_is_refused_and_told_what_to_write(given, message):
    with pytest.raises(UserError, match=message):
        given()


def test_a_part_of_a_users_own_is_taken_as_it_is():
    class Own(Argmax):
        pass

    own = Own()
    assert SearchSettings(discretization=own).discretization is own


def test_a_run_is_given_as_it_is_or_by_its_path(tmp_path):
    from dnas.core.run import Run, as_run

    run = Run(tmp_path)
    assert as_run(run) is run
    assert as_run(None) is None
    assert [as_run(place).path for place in (str(tmp_path), tmp_path)] == [tmp_path, tmp_path]  # type: ignore[union-attr]
    assert Path(run) == tmp_path
    with pytest.raises(UserError, match=r"run must be the path of a folder, such as 'runs/x', or .*; got 3"):
        as_run(3)  # type: ignore[arg-type]
