"""All schedules keep the contract, and it names what is wrong with one that does not."""

import doctest
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

import dnas.core.schedule
import dnas.testing.schedule
from dnas.core.schedule import Constant, Cosine, Exponential, Linear, Schedule, Warmup
from dnas.testing import check_schedule

EXAMPLES = {
    Constant: Constant(2.0),
    Linear: Linear(0.03, 0.3),
    Cosine: Cosine(0.025, 0.001),
    Exponential: Exponential(0.4, 0.2),
    Warmup: Warmup(Cosine(0.025, 0.001), share=0.2, start=0.1),
}


def public_schedules() -> list[Schedule]:
    """An example of every schedule that the module defines; a new one must be added above."""
    kinds = [kind for kind in Schedule.__subclasses__() if kind.__module__ == dnas.core.schedule.__name__]
    assert kinds
    missing = [kind.__name__ for kind in kinds if kind.__name__ not in dnas.__all__]
    assert not missing, f"dnas does not export {missing}"
    return [EXAMPLES[kind] for kind in kinds]


@pytest.mark.parametrize("schedule", public_schedules(), ids=repr)
def test_every_schedule_keeps_the_contract(schedule):
    check_schedule(schedule)


def test_the_example_in_the_documentation_runs():
    assert doctest.testmod(dnas.testing.schedule) == (0, 2)


@dataclass(frozen=True)
class Broken(Schedule):
    """The progress itself, with one fault."""

    fault: str
    calls: list[int] = field(default_factory=list, compare=False)

    def __call__(self, progress: Tensor) -> Tensor:
        value = progress.clone()
        match self.fault:
            case "takes random numbers":
                torch.rand(())
            case "writes into the progress":
                progress.add_(1e-3)
            case "remembers":
                self.calls.append(1)
            case "is noisy":
                value = value + next(NOISE)
            case "is a vector":
                value = value[None]
            case "widens":
                value = value.double()
            case "is not finite":
                value = value.log()
            case "reads":
                value = torch.full_like(progress, float(progress))
            case "branches":
                value = value if progress < 0.5 else 1 - value
        return value


NOISE = iter(range(10**9))


@pytest.mark.parametrize(
    ("fault", "complaint"),
    [
        ("takes random numbers", "changed the random state"),
        ("writes into the progress", "changed progress"),
        ("remembers", "changed itself"),
        ("is noisy", "another number when called again"),
        ("is a vector", r"gives shape \(1,\)"),
        ("widens", "gives torch.float64 for torch.float32"),
        ("is not finite", "is not finite at 0"),
        ("reads", "reads the progress on the host"),
        ("branches", "reads the progress on the host"),
    ],
)
def test_the_contract_names_what_is_wrong(fault, complaint):
    with pytest.raises(AssertionError, match=f"Broken .*{complaint}"):
        check_schedule(Broken(fault))


def test_the_toy_without_a_fault_keeps_the_contract():
    check_schedule(Broken("none"))
