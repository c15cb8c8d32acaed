"""What an observer is told after an epoch, and what it may change."""

import torch
from torch import Tensor, nn

from dnas import Choice, EpochReport, Observer, SearchSettings, Softmax, StepReport, Stop, Supernet, WeightSGD, search
from dnas.core.batch import Batch

NUM_TRAIN, NUM_VAL = 3, 2


def batches(count: int, seed: int) -> list[Batch]:
    generator = torch.Generator().manual_seed(seed)
    return [
        Batch(torch.randn(4, 3, generator=generator), torch.randint(0, 2, (4,), generator=generator))
        for _ in range(count)
    ]


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        Choice("op", {"linear": nn.Linear(3, 3), "tanh": nn.Tanh(), "skip": nn.Identity()}), nn.Linear(3, 2)
    )


class Recorder(Observer):
    """Keeps what it is told; stops after `stop_after` epochs."""

    def __init__(self, stop_after: int = 1000):
        self.stop_after = stop_after
        self.reports: list[EpochReport] = []
        self.alphas: list[Tensor] = []

    def epoch_ended(self, report: EpochReport) -> Stop | None:
        self.reports.append(report)
        self.alphas.append(report.supernet.alphas["op"].detach().clone())
        return Stop() if report.epoch >= self.stop_after else None


def run(*observers: Observer, epochs: int = 4, warmup: int = 1, supernet: Supernet | None = None):
    return search(
        supernet or model(),
        batches(NUM_TRAIN, 0),
        batches(NUM_VAL, 1),
        settings=SearchSettings(epochs=epochs, warmup_epochs=warmup, weights=WeightSGD(momentum=0.9)),
        observers=observers,
    )


def test_an_observer_is_told_the_state_at_the_end_of_every_epoch():
    recorder = Recorder()
    result = run(recorder)
    assert [report.epoch for report in recorder.reports] == [1, 2, 3, 4]
    assert [report.step for report in recorder.reports] == [3, 6, 9, 12]
    assert [float(report.progress) for report in recorder.reports] == [0.25, 0.5, 0.75, 1.0]
    for index, (report, alpha) in enumerate(zip(recorder.reports, recorder.alphas, strict=True)):
        assert torch.equal(report.mixtures["op"].values, alpha.softmax(-1))
        assert not report.mixtures["op"].values.requires_grad
        names = ("linear", "tanh", "skip")
        assert report.architecture is not None
        assert report.architecture.decisions == {"op": names[int(alpha.argmax())]}
        assert torch.equal(report.train_batch.inputs, batches(NUM_TRAIN, 0)[-1].inputs)
        assert {"epoch": index + 1, **report.scalars} == result.metrics[index]
    # The first epoch was a warm-up; after that the stream of the alphas goes round at its own pace.
    assert recorder.reports[0].val_batch is None
    for report in recorder.reports[1:]:
        last = (report.step - 1) % NUM_VAL
        assert report.val_batch is not None
        assert torch.equal(report.val_batch.inputs, batches(NUM_VAL, 1)[last].inputs)


def test_any_observer_may_stop_the_search_and_all_are_told():
    first, second = Recorder(stop_after=2), Recorder()
    result = run(first, second)
    assert [report.epoch for report in second.reports] == [1, 2]
    assert len(result.metrics) == 2


def test_an_observer_that_returns_nothing_does_not_stop_the_search():
    class Forgetful(Observer):
        def epoch_ended(self, report: EpochReport) -> Stop | None:
            pass

    assert len(run(Forgetful()).metrics) == 4


def test_an_observer_may_compute_gradients_without_changing_the_search():
    class Sensitivity(Observer):
        def epoch_ended(self, report: EpochReport) -> Stop | None:
            supernet = report.supernet
            mixtures = supernet.sample(Softmax(), report.progress)
            loss, _ = supernet.loss(supernet.weights(), mixtures, report.val_batch or report.train_batch)
            torch.autograd.grad(loss, supernet.alpha_parameters())
            return None

    watched, alone = Supernet(model()), Supernet(model())
    assert run(Sensitivity(), supernet=watched).metrics == run(supernet=alone).metrics
    assert torch.equal(watched.alphas["op"], alone.alphas["op"])


def test_weights_that_an_observer_freezes_stay_and_the_others_move_on():
    class Freezer(Observer):
        def epoch_ended(self, report: EpochReport) -> Stop | None:
            if report.epoch == 2:
                report.supernet.model[0].requires_grad_(False)  # type: ignore[index]
            self.head.append(report.supernet.model[1].weight.detach().clone())
            self.candidate.append(report.supernet.model[0].candidates[0].weight.detach().clone())
            return None

        def __init__(self) -> None:
            self.head: list[Tensor] = []
            self.candidate: list[Tensor] = []

    freezer = Freezer()
    run(freezer)
    moved = [not torch.equal(a, b) for a, b in zip(freezer.candidate, freezer.candidate[1:], strict=False)]
    assert moved == [True, False, False]
    assert all(not torch.equal(a, b) for a, b in zip(freezer.head, freezer.head[1:], strict=False))


def test_an_observer_that_does_nothing_after_a_step_does_not_watch_steps():
    class Watching(Recorder):
        def step_ended(self, report: StepReport) -> None:
            self.last = report

    assert not Recorder().watches_steps
    assert Watching().watches_steps
