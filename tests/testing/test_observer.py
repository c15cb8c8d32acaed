"""All observers keep the contract, and it names what is wrong with one that does not."""

import doctest
from dataclasses import dataclass, field

import pytest
import torch

import dnas.searching.observer
import dnas.testing.observer
from dnas.searching.observer import (
    AdaptiveDecay,
    EigenvalueStop,
    EpochReport,
    GoBack,
    HessianEigenvalue,
    Observer,
    OperationFreeze,
    Sharpening,
    SkipStop,
    StepReport,
    Stop,
)
from dnas.testing import check_observer
from tests.support.contracts import public_parts

AT_ONCE = Sharpening(factor=1e-9, delta=1, window=1, start=1)
DIAGNOSTICS = (HessianEigenvalue,)
EXAMPLES = {
    HessianEigenvalue: [HessianEigenvalue(), HessianEigenvalue(every=2, iterations=3)],
    EigenvalueStop: [EigenvalueStop(), EigenvalueStop(AT_ONCE)],
    AdaptiveDecay: [AdaptiveDecay(), AdaptiveDecay(AT_ONCE)],
    OperationFreeze: [OperationFreeze(), OperationFreeze(0.9, 2), OperationFreeze(0.9, 2, 2, "validation")],
    SkipStop: [SkipStop(), SkipStop(most=1)],
}


@pytest.mark.parametrize("observer", public_parts(dnas.searching.observer, Observer, EXAMPLES), ids=repr)
def test_every_observer_keeps_the_contract(observer):
    check_observer(observer, changes_search=not isinstance(observer, DIAGNOSTICS))


@pytest.mark.parametrize(
    "observer", [EigenvalueStop(AT_ONCE), AdaptiveDecay(AT_ONCE), OperationFreeze(0.9, 2), SkipStop(most=1)], ids=repr
)
def test_one_that_changes_the_search_is_no_diagnostic(observer):
    with pytest.raises(AssertionError, match=f"{type(observer).__name__} (changed|changes|stops)"):
        check_observer(observer)


def test_the_example_in_the_documentation_runs():
    assert doctest.testmod(dnas.testing.observer) == (0, 3)


@dataclass(frozen=True)
class Broken(Observer):
    """Watches, with one fault."""

    fault: str
    calls: list[int] = field(default_factory=list, compare=False)

    def step_ended(self, report: StepReport) -> None:
        if self.fault == "clears gradients after a step":
            for weight in report.supernet.weights().values():
                weight.grad = None

    def epoch_ended(self, report: EpochReport) -> Stop | GoBack | None:
        report.memory["epochs"] = [*report.memory.get("epochs", []), report.epoch]
        supernet = report.supernet
        match self.fault:
            case "takes global random numbers":
                torch.rand(())
            case "remembers on itself":
                self.calls.append(1)
            case "leaves the gradient mode off":
                torch.set_grad_enabled(False)
            case "moves an alpha":
                with torch.no_grad():
                    supernet.alphas["normal"].mul_(1.001)
            case "fills .grad":
                loss, _ = supernet.loss(supernet.weights(), report.mixtures, report.train_batch)
                loss.backward()
            case "freezes":
                next(iter(supernet.weights().values())).requires_grad_(False)
            case "rules out":
                supernet.allowed["normal"] = ((0, 1), (0, 1, 2), (0, 1, 2))
            case "adjusts":
                report.weight_optimizer.param_groups[0]["weight_decay"] = 0.1
            case "keeps an object":
                report.memory["report"] = Stop()
            case "keeps a report":
                report.memory["number"] = {1: lambda: None}
            case "logs a tensor":
                report.scalars["loss"] = torch.ones(())  # type: ignore[assignment]
            case "takes back":
                del report.scalars["entropy"]
            case "overwrites":
                report.scalars["entropy"] = 0.0
            case "stops in the future":
                return Stop(report.epoch + 1)
            case "stops before the first epoch":
                return Stop(0)
            case "goes forward":
                return GoBack(report.epoch)
            case "goes back to what it does not keep":
                return GoBack(report.epoch - 1) if report.epoch == 3 else None
            case "stops":
                return Stop()
            case "counts in a global":
                report.scalars["count"] = float(next(COUNT))
            case "forgets a shared list":
                # A list that is only held here, and not in the memory that is read back.
                shared = report.memory.setdefault("shared", [])
                report.scalars["same"] = float(SEEN.setdefault(id(supernet), shared) is shared)
        return None


COUNT = iter(range(10**9))
SEEN: dict[int, list[int]] = {}


@pytest.mark.parametrize(
    ("fault", "complaint"),
    [
        ("takes global random numbers", "changed the random state"),
        ("remembers on itself", "changed itself"),
        ("leaves the gradient mode off", "changed the gradient mode"),
        ("moves an alpha", "changed alphas normal"),
        ("fills .grad", "changed the .grad of"),
        ("clears gradients after a step", "changed the .grad of"),
        ("freezes", "changed requires_grad of"),
        ("rules out", "changed what is allowed"),
        ("adjusts", "changed what is allowed, or the optimizer's settings"),
        ("keeps an object", "keeps in its memory what a checkpoint cannot hold"),
        ("keeps a report", "keeps in its memory what a checkpoint cannot hold"),
        ("logs a tensor", "logs loss = tensor"),
        ("takes back", "takes back what others have logged"),
        ("overwrites", "changes what is logged by the search itself"),
        ("stops in the future", r"gives Stop\(epoch=2\) after epoch 1"),
        ("stops before the first epoch", r"gives Stop\(epoch=0\) after epoch 1"),
        ("goes forward", r"gives GoBack\(epoch=1\) after epoch 1"),
        ("goes back to what it does not keep", r"gives GoBack\(epoch=2\) after epoch 3"),
        ("stops", "stops the search"),
        ("counts in a global", "goes on differently|does something else"),
        ("forgets a shared list", "goes on differently when its memory was saved and read"),
    ],
)
def test_the_contract_names_what_is_wrong(fault, complaint):
    with torch.enable_grad(), pytest.raises(AssertionError, match=f"Broken .*({complaint})"):
        check_observer(Broken(fault))


def test_one_without_a_fault_passes():
    check_observer(Broken("none"))
