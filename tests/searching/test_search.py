"""The search loop equals a loop written by hand, and says what went wrong when something does."""

import copy
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close
from torch.utils.data import DataLoader, TensorDataset

from dnas import (
    AlphaAdam,
    Architecture,
    Batch,
    Choice,
    Constant,
    Cosine,
    Decision,
    Discretization,
    EpochReport,
    Evolution,
    FirstOrder,
    GumbelSoftmax,
    Hypergradient,
    Mixture,
    NonFiniteLoss,
    Observer,
    Penalty,
    Perturbation,
    RandomSampling,
    Run,
    SearchSettings,
    Silent,
    Softmax,
    Stop,
    Supernet,
    UniformPath,
    Unrolled,
    UserError,
    WeightSGD,
    search,
    search_step,
)
from dnas.core.mixture import Active
from dnas.data import Batches
from dnas.method.discretization.base import Evaluate, Train
from dnas.method.hypergradient import BilevelProblem, HypergradientResult, InnerStep, Tensors
from dnas.searching.supernet_measures import evaluate_supernet
from dnas.searching.totals import batch_accuracy

NUM_CLASSES = 3


class Net(nn.Module):
    """A convolution, batch norm with running statistics, a choice, dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.op = Choice("op", {"conv": nn.Conv2d(4, 4, 1), "relu": nn.ReLU(), "skip": nn.Identity()})
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(4, NUM_CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.dropout(self.op(self.norm(self.stem(x)))).mean(dim=(2, 3)))


def net(seed: int = 0) -> Net:
    torch.manual_seed(seed)
    return Net()


def batches(count: int, seed: int, size: int = 5) -> list[Batch]:
    generator = torch.Generator().manual_seed(seed)
    return [
        Batch(
            torch.randn(size, 1, 4, 4, generator=generator),
            torch.randint(0, NUM_CLASSES, (size,), generator=generator),
        )
        for _ in range(count)
    ]


TRAIN, VAL = batches(5, 0), batches(3, 1)


class Watcher(Observer):
    """Keeps the alphas and the reports of every epoch."""

    def __init__(self) -> None:
        self.alphas: list[Tensor] = []
        self.reports: list[EpochReport] = []

    def epoch_ended(self, report: EpochReport) -> Stop | None:
        self.alphas.append(report.supernet.alphas["op"].detach().clone())
        self.reports.append(report)
        return None


# --- The loop, written by hand ----------------------------------------------------------------------------------------


def test_the_search_is_the_loop_of_darts_written_by_hand():
    epochs, warmup = 4, 1
    settings = SearchSettings(
        weights=WeightSGD(Cosine(0.2, 0.01), momentum=0.9, weight_decay=1e-3, clip=0.5),
        alphas=AlphaAdam(0.1, (0.5, 0.9), 1e-2),
        epochs=epochs,
        warmup_epochs=warmup,
        seed=3,
    )
    model = net().double()
    model.dropout.p = 0.0
    by_hand = Supernet(copy.deepcopy(model), seed=3)
    train, val = ([Batch(b.inputs.double(), b.targets) for b in data] for data in (TRAIN, VAL))
    watcher = Watcher()
    result = search(model, train, val, settings=settings, observers=[watcher])

    model, alpha = by_hand.model, by_hand.alphas["op"]
    sgd = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(sgd, epochs, eta_min=0.01)
    adam = torch.optim.Adam([alpha], lr=0.1, betas=(0.5, 0.9), weight_decay=1e-2)

    def loss_of(batch: Batch, values: Tensor) -> Tensor:
        with by_hand.bound({"op": Mixture(values)}):
            return F.cross_entropy(model(batch.inputs), batch.targets)

    step = 0
    for epoch in range(epochs):
        losses = []
        for batch in train:
            if epoch >= warmup:
                buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
                adam.zero_grad()
                loss_of(val[step % len(val)], alpha.softmax(0)).backward()
                adam.step()
                for name, buffer in model.named_buffers():
                    buffer.copy_(buffers[name])
            sgd.zero_grad()
            loss = loss_of(batch, alpha.detach().softmax(0))
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            sgd.step()
            losses.append(float(loss.detach()))
            step += 1
        assert_close(watcher.alphas[epoch], alpha.detach(), rtol=0, atol=1e-10)
        row = result.metrics[epoch]
        assert_close(row["train_loss"], sum(losses) / len(losses), rtol=0, atol=1e-10)
        assert_close(row["learning_rate"], schedule.get_last_lr()[0], rtol=0, atol=1e-12)
        schedule.step()
    for name, weight in result.supernet.model.state_dict().items():
        assert_close(weight, model.state_dict()[name], rtol=0, atol=1e-10)


def test_warm_up_epochs_leave_the_alphas_as_they_were():
    supernet, watcher = Supernet(net(), seed=1), Watcher()
    initial = supernet.alphas["op"].detach().clone()
    settings = SearchSettings(epochs=4, warmup_epochs=2)
    result = search(supernet, TRAIN, VAL, settings=settings, observers=[watcher])
    assert [torch.equal(alpha, initial) for alpha in watcher.alphas] == [True, True, False, False]
    assert ["val_loss" in row for row in result.metrics] == [False, False, True, True]


@dataclass(frozen=True)
class Probe(Hypergradient):
    """First order, but it asks for several inner batches, and notes what it is given."""

    steps: int = 3
    seen: list[tuple[list[int], int]] = field(default_factory=list)

    @property
    def num_train_batches(self) -> int:
        return self.steps

    def __call__(
        self, problem: BilevelProblem, weights: Tensors, outer: Tensors, step: InnerStep | None
    ) -> HypergradientResult:
        inner = [_index_of(batch, TRAIN) for batch in problem.train_batches]  # type: ignore[attr-defined]
        self.seen.append((inner, _index_of(problem.val_batch, VAL)))  # type: ignore[attr-defined]
        return FirstOrder()(problem, weights, outer, None)


def _index_of(batch: Batch, among: list[Batch]) -> int:
    return next(index for index, other in enumerate(among) if torch.equal(batch.inputs, other.inputs))


@pytest.mark.parametrize("warmup", [0, 1])
def test_several_inner_steps_look_ahead_to_the_batches_that_follow(warmup: int):
    probe = Probe()
    search(net(), TRAIN, VAL, settings=SearchSettings(hypergradient=probe, epochs=2, warmup_epochs=warmup))
    steps = range(5 * warmup, 10)
    assert probe.seen == [([s % 5, (s + 1) % 5, (s + 2) % 5], s % 3) for s in steps]


def test_looking_ahead_does_not_change_the_batches_of_the_weights():
    unrolled = search(net(), TRAIN, VAL, settings=SearchSettings(hypergradient=Unrolled(3), epochs=1))
    supernet = Supernet(net())
    settings = SearchSettings()
    sgd, adam = settings.weights.build([*supernet.weights().values()]), settings.alphas.build([supernet.alphas["op"]])
    torch.manual_seed(0)
    for step in range(5):
        search_step(
            supernet,
            weight_batch=TRAIN[step],
            weight_optimizer=sgd,
            alpha_batch=VAL[step % 3],
            alpha_optimizer=adam,
            hypergradient=Unrolled(3),
            inner_batches=[TRAIN[(step + k) % 5] for k in (1, 2)],
            clip=5.0,
        )
    assert torch.equal(unrolled.supernet.alphas["op"], supernet.alphas["op"])
    assert all(map(torch.equal, unrolled.supernet.weights().values(), supernet.weights().values()))


@dataclass(frozen=True)
class ProgressNoted(Penalty):
    """No penalty; it notes the progress."""

    seen: list[float] = field(default_factory=list)

    def __call__(
        self, loss: Tensor, alphas: Mapping[str, Tensor], mixtures: Mapping[str, Mixture], progress: Tensor
    ) -> Tensor:
        self.seen.append(float(progress))
        return loss


def test_progress_goes_from_0_towards_1_with_the_steps():
    noted = ProgressNoted()
    search(net(), TRAIN, VAL, settings=SearchSettings(epochs=2, penalties=(noted,)))
    assert_close(noted.seen, [step / 10 for step in range(10)], rtol=0, atol=1e-6)


# --- Measuring --------------------------------------------------------------------------------------------------------


def test_the_supernet_is_measured_on_the_validation_data_as_by_hand():
    watcher, validation = Watcher(), batches(2, 5, size=4)
    measured = []

    class ByHand(Observer):
        def epoch_ended(self, report: EpochReport) -> Stop | None:
            model = copy.deepcopy(report.supernet.model).eval()
            values = report.supernet.alphas["op"].detach().softmax(0)
            model.op.bind({"op": Mixture(values)})
            inputs, targets = (torch.cat([batch[i] for batch in validation]) for i in (0, 1))
            outputs = model(inputs).detach()
            entropy = -(values * values.log()).sum() / math.log(3)
            measured.append(
                {
                    "validation_loss": float(F.cross_entropy(outputs, targets)),
                    "validation_accuracy": float((outputs.argmax(1) == targets).double().mean()),
                    "entropy": float(entropy),
                }
            )
            return None

    settings = SearchSettings(epochs=3, weights=WeightSGD(Constant(0.3)), alphas=AlphaAdam(0.2))
    result = search(net(), TRAIN, VAL, settings=settings, validation=validation, observers=[ByHand(), watcher])
    for row, expected in zip(result.metrics, measured, strict=True):
        assert_close({name: row[name] for name in expected}, expected, rtol=0, atol=1e-6)


def test_without_validation_data_the_alphas_half_is_measured():
    quiet = SearchSettings(epochs=1)
    rows = [
        search(net(), TRAIN, VAL, settings=quiet, validation=data).metrics[0]["validation_loss"] for data in (None, VAL)
    ]
    assert rows[0] == rows[1]


def test_measuring_weighs_batches_by_their_size_and_puts_every_mode_back():
    supernet = Supernet(net().double())
    supernet.model.norm.eval()
    data = [Batch(b.inputs.double(), b.targets) for b in (*batches(1, 0, size=6), *batches(1, 1, size=2))]
    mixtures = supernet.expected(Softmax(), torch.tensor(0.0))
    measured = evaluate_supernet(supernet, mixtures, data)
    one = Batch(torch.cat([b.inputs for b in data]), torch.cat([b.targets for b in data]))
    assert_close(measured, evaluate_supernet(supernet, mixtures, [one]), rtol=0, atol=1e-12)
    assert supernet.model.training
    assert supernet.model.dropout.training
    assert not supernet.model.norm.training


def test_measuring_leaves_no_trace_in_model_or_random_state():
    supernet = Supernet(net())
    before, state = copy.deepcopy(supernet.model.state_dict()), torch.get_rng_state()
    evaluate_supernet(supernet, supernet.expected(Softmax(), torch.tensor(0.0)), VAL)
    assert all(map(torch.equal, before.values(), supernet.model.state_dict().values()))
    assert torch.equal(state, torch.get_rng_state())


def test_accuracy_is_for_class_scores_alone():
    scores = torch.tensor([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7]])
    assert float(batch_accuracy(scores, torch.tensor([1, 0, 0]))) == pytest.approx(2 / 3)
    assert batch_accuracy(scores, torch.tensor([1.0, 0.0, 0.0])) is None
    assert batch_accuracy(scores, torch.zeros(3, 2, dtype=torch.int64)) is None
    assert batch_accuracy((scores,), torch.tensor([1, 0, 0])) is None


# --- Randomness -------------------------------------------------------------------------------------------------------


def outcome(seed: int, **data) -> tuple[list, list, dict]:
    """Metrics, weights and alphas of a search with everything random in it."""
    settings = SearchSettings(relaxation=GumbelSoftmax(), epochs=2, seed=seed, alphas=AlphaAdam(0.1))
    result = search(net(), **({"train": TRAIN, "val": VAL} | data), settings=settings)
    weights = [weight.tolist() for weight in result.supernet.model.state_dict().values()]
    return result.metrics, weights, {name: alpha.tolist() for name, alpha in result.supernet.alphas.items()}


def test_one_seed_gives_one_result_and_another_seed_another():
    first = outcome(0)
    torch.rand(5)
    assert outcome(0) == first
    assert outcome(1)[2] != first[2]


class Drawing(RandomSampling):
    """Writes down the seed that it draws by."""

    def __call__(self, decisions, mixtures, *, evaluate: Evaluate, train: Train):
        seeds_drawn.append(self.seed)
        return super().__call__(decisions, mixtures, evaluate=evaluate, train=train)


seeds_drawn: list[int] = []


@pytest.mark.parametrize("drawing", [RandomSampling(2, seed=3), Evolution(seed=3), Perturbation(seed=3)])
def test_the_seed_of_a_search_is_added_to_that_of_what_its_discretization_draws(drawing: Discretization):
    assert drawing.seeded(4) == replace(drawing, seed=7)  # pyright: ignore[reportCallIssue], all three have a seed
    assert drawing.seeded(0) == drawing


def test_a_search_draws_by_its_seed_when_it_discretizes():
    seeds_drawn.clear()
    settings = SearchSettings(relaxation=UniformPath(), epochs=1, seed=5, discretization=Drawing(2, seed=2))
    search(net(), TRAIN, VAL, settings=settings)
    assert seeds_drawn == [7]


def test_a_search_leaves_the_global_random_state_as_it_was():
    model = net()
    before = torch.get_rng_state()
    search(model, TRAIN, VAL, settings=SearchSettings(relaxation=GumbelSoftmax(), epochs=1))
    assert torch.equal(torch.get_rng_state(), before)


def loader(seed: int, *, shuffle: bool = True) -> DataLoader:
    inputs, targets = (torch.cat([batch[i] for batch in batches(4, seed)]) for i in (0, 1))
    return DataLoader(TensorDataset(inputs, targets), batch_size=4, shuffle=shuffle)


def test_a_dataloader_that_shuffles_is_repeatable_and_its_order_depends_on_the_seed():
    data = {"train": loader(0), "val": loader(1)}
    first = outcome(0, **data)
    torch.rand(5)
    assert outcome(0, **data) == first
    assert outcome(0, train=loader(0, shuffle=False), val=loader(1, shuffle=False))[1] != first[1]


class Noted(nn.Module):
    """Passes on what it gets, and notes the first input of each batch."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[float] = []
        self.op = Choice("op", {"linear": nn.Linear(1, 2), "other": nn.Linear(1, 2)})

    def forward(self, x: Tensor) -> Tensor:
        if self.training and torch.is_grad_enabled():  # the trial of the first batch has no gradient
            self.seen += x.flatten().tolist()
        return self.op(x)


def test_every_epoch_of_a_dataloader_has_all_samples_in_an_order_of_its_own():
    data = TensorDataset(torch.arange(8.0)[:, None], torch.zeros(8, dtype=torch.int64))
    model = Noted()
    shuffled = DataLoader(data, batch_size=2, shuffle=True)
    search(model, shuffled, [(torch.zeros(1, 1), torch.zeros(1, dtype=torch.int64))],
           settings=SearchSettings(epochs=3, warmup_epochs=3))  # fmt: skip
    epochs = [model.seen[i : i + 8] for i in (0, 8, 16)]
    assert all(sorted(epoch) == list(range(8)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


# --- Users' own parts -------------------------------------------------------------------------------------------------


def test_a_criterion_of_named_terms_is_logged_by_name(tmp_path: Path):
    def criterion(outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        return {"fit": F.cross_entropy(outputs, targets), "size": 0.01 * outputs.square().mean()}

    run = Run(tmp_path / "run")
    settings = SearchSettings(epochs=1, log_every=2)
    row = search(net(), TRAIN, VAL, criterion=criterion, settings=settings, run=run).metrics[0]
    assert row["fit"] + row["size"] == pytest.approx(row["train_loss"], rel=1e-5)
    steps = [row for row in run.metrics() if row["phase"] == "step"]
    assert [row["step"] for row in steps] == [2, 4, 5]
    assert all(row["fit"] + row["size"] == pytest.approx(row["train_loss"], rel=1e-5) for row in steps)


def test_a_model_in_evaluation_mode_is_trained_but_parts_of_a_training_model_stay_in_it():
    model = net().eval()
    search(model, TRAIN, VAL, settings=SearchSettings(epochs=1))
    assert model.norm.num_batches_tracked == len(TRAIN)
    model = net()
    model.norm.eval()
    search(model, TRAIN, VAL, settings=SearchSettings(epochs=1))
    assert model.norm.num_batches_tracked == 0


@dataclass(frozen=True)
class Trying(Discretization):
    """Trains on, then keeps the candidate with which alone the supernet is best."""

    needs_training = True
    measured: list[float] = field(default_factory=list)

    def __call__(
        self, decisions: Mapping[str, Decision], mixtures: Mapping[str, Mixture], *, evaluate: Evaluate, train: Train
    ) -> dict[str, str]:
        train(2)
        self.measured.extend(evaluate({"op": ((k,),)}) for k in range(3))
        return {"op": decisions["op"].candidates[self.measured.index(max(self.measured))]}


def test_a_discretization_may_train_and_measure_the_supernet(tmp_path: Path):
    run, watcher, trying = Run(tmp_path / "run"), Watcher(), Trying()
    settings = SearchSettings(discretization=trying, epochs=2, weights=WeightSGD(Constant(0.2)))
    result = search(net(), TRAIN, VAL, settings=settings, run=run, observers=[watcher])
    assert [report.architecture for report in watcher.reports] == [None, None]
    assert not (run.path / "architectures").exists()
    assert torch.equal(result.supernet.alphas["op"], watcher.alphas[-1])  # training on moves the weights alone
    assert result.supernet.model.norm.num_batches_tracked == 4 * len(TRAIN)
    for k, accuracy in enumerate(trying.measured):
        model = copy.deepcopy(result.supernet.model).eval()
        model.op.bind({"op": Mixture(F.one_hot(torch.tensor(k), 3).float())})
        right = torch.cat([model(batch.inputs).argmax(1) == batch.targets for batch in VAL])
        assert accuracy == pytest.approx(float(right.double().mean()))
    assert result.supernet.allowed == {}
    best = ("conv", "relu", "skip")[trying.measured.index(max(trying.measured))]
    assert result.architecture.decisions == {"op": best}


# --- The run folder ---------------------------------------------------------------------------------------------------


def test_a_run_holds_an_architecture_for_every_epoch_and_the_result(tmp_path: Path):
    run, watcher = Run(tmp_path / "run"), Watcher()

    def stamp(kept: dict) -> Architecture:
        return Architecture(kept, "mine", 2, {"size": 3})

    settings = SearchSettings(epochs=3, alphas=AlphaAdam(0.5))
    result = search(net(), TRAIN, VAL, settings=settings, run=run, observers=[watcher], stamp=stamp)
    files = sorted((run.path / "architectures").iterdir())
    assert [file.name for file in files] == ["epoch_0001.json", "epoch_0002.json", "epoch_0003.json"]
    assert [Architecture.load(file) for file in files] == [report.architecture for report in watcher.reports]
    assert run.load_architecture() == result.architecture == watcher.reports[-1].architecture
    assert (result.architecture.space, result.architecture.version) == ("mine", 2)
    summary = run.load_json("search")
    assert (summary["steps"], summary["epochs"]) == (15, 3)
    assert summary["seconds"] == result.seconds > 0
    epochs = [row for row in run.metrics() if row["phase"] == "epoch"]
    assert [{k: v for k, v in row.items() if k not in ("phase", "seconds", "step")} for row in epochs] == result.metrics


def test_calling_a_finished_search_again_changes_nothing(tmp_path: Path):
    run = Run(tmp_path / "run")
    first = search(net(), TRAIN, VAL, settings=SearchSettings(epochs=2), run=run)
    rows = run.metrics()
    again = search(net(), TRAIN, VAL, settings=SearchSettings(epochs=2), run=Run(run.path))
    assert again.architecture == first.architecture
    assert again.metrics == first.metrics
    assert torch.equal(again.supernet.alphas["op"], first.supernet.alphas["op"])
    assert run.metrics() == rows


# --- When the loss is no number ---------------------------------------------------------------------------------------


def checkpoint(run: Run) -> dict:
    return run.load_checkpoint("last")


def assert_finite(state: object) -> None:
    if isinstance(state, Tensor):
        assert bool(state.isfinite().all())
    elif isinstance(state, dict):
        for part in state.values():
            assert_finite(part)
    elif isinstance(state, list | tuple):
        for part in state:
            assert_finite(part)
    elif isinstance(state, float):
        assert math.isfinite(state)


class Breaking(nn.Module):
    """A model whose outputs in train mode are bad from a forward pass on."""

    def __init__(self, inner: nn.Module, at: int, bad: Callable[[Tensor], Tensor]):
        super().__init__()
        self.inner, self.at, self.bad, self.calls = inner, at, bad, 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += self.training
        outputs = self.inner(x)
        return self.bad(outputs) if self.calls >= self.at and self.training else outputs


# With warm-up for one epoch of 5 steps, the forward passes 1 to 5 are weight steps, then alpha and weight steps
# alternate: pass 13 is the weight step of step 9 (counted from 1), pass 14 the alpha step of step 10.
BAD = {
    "NaN": (lambda x: x * math.nan, "train_loss = nan"),
    "infinite": (lambda x: torch.cat([x[:, :1] + math.inf, x[:, 1:]], dim=1), "train_loss = "),
    "gradient": (lambda x: x + torch.where(x == x, 0.0 * (x - x).sqrt(), x), "gradient_norm = nan"),
}


@pytest.mark.parametrize("log_every", [1, 3, 50])
@pytest.mark.parametrize("kind", BAD)
def test_a_loss_that_is_no_number_stops_the_search_and_the_last_good_state_survives(tmp_path, kind, log_every):
    bad, named = BAD[kind]
    run = Run(tmp_path / "run")
    settings = SearchSettings(epochs=4, warmup_epochs=1, log_every=log_every)
    with pytest.raises(NonFiniteLoss) as caught:
        search(Breaking(net(), 15, bad), TRAIN, VAL, settings=settings, run=run)
    message = str(caught.value)
    assert "diverged at step 9" in message
    assert named in message
    assert "learning rate (now 0.0215)" in message
    assert "clip their gradient (now 5.0)" in message
    assert str(run.checkpoint_path("last")) in message
    assert_finite(checkpoint(run))
    assert checkpoint(run)["step"] == 5
    assert "nan" not in run.metrics_path.read_text().lower()
    assert "inf" not in run.metrics_path.read_text().lower()

    healthy = search(Breaking(net(), 1000, bad), TRAIN, VAL, settings=settings, run=Run(run.path))
    assert len(healthy.metrics) == 4
    assert_finite(checkpoint(run))


def test_a_validation_loss_that_is_no_number_stops_the_search_too(tmp_path: Path):
    run = Run(tmp_path / "run")
    broken = [*VAL[:2], Batch(VAL[2].inputs * math.nan, VAL[2].targets)]
    with pytest.raises(NonFiniteLoss, match=r"diverged at step 3 .*val_loss = nan.*No checkpoint had been written yet"):
        search(net(), TRAIN, broken, validation=VAL, settings=SearchSettings(epochs=2, log_every=1), run=run)
    assert not run.checkpoint_path("last").exists()


def test_without_a_run_folder_the_message_names_none():
    with pytest.raises(NonFiniteLoss) as caught:
        search(Breaking(net(), 3, BAD["NaN"][0]), TRAIN, VAL, settings=SearchSettings(epochs=1))
    assert str(caught.value).endswith("skip_non_finite (now 0).")


class Overflowing(WeightSGD):
    """A learning rate at which the third epoch's weights leave the range of float32."""

    def lr_at(self, progress: float) -> float:
        return 0.01 if progress < 0.5 else 3e38


def test_a_weight_that_overflows_in_the_last_update_before_a_checkpoint_is_not_saved(tmp_path: Path):
    run = Run(tmp_path / "run")
    weights = Overflowing(momentum=0.0, weight_decay=1e3, clip=None)
    model = nn.Sequential(nn.Flatten(), Choice("op", {"a": nn.Identity(), "b": nn.Tanh()}), nn.Linear(16, NUM_CLASSES))
    with pytest.raises(NonFiniteLoss, match=r"diverged in step 3 .*2.(weight|bias) holds NaN or infinity"):
        search(model, TRAIN[:1], VAL, settings=SearchSettings(weights=weights, epochs=4, log_every=1), run=run)
    assert checkpoint(run)["step"] == 2
    assert_finite(checkpoint(run))


# --- Mistakes ---------------------------------------------------------------------------------------------------------


class Nothing(Batches):
    """No batch at all."""

    def __len__(self) -> int:
        return 0

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        return iter(())


def test_mistakes_are_told(tmp_path: Path):
    with pytest.raises(ValueError, match="Sequential holds no choice, so there is nothing to search"):
        search(nn.Sequential(nn.Linear(2, 2)), TRAIN, VAL)
    with pytest.raises(ValueError, match="train holds no batch"):
        search(net(), Nothing(), VAL)
    with pytest.raises(ValueError, match="val holds no batch"):
        search(net(), TRAIN, Nothing())
    with pytest.raises(ValueError, match="holds no batches"):
        search(net(), [], VAL)
    with pytest.raises(ValueError, match="can be iterated only once"):
        search(net(), iter(TRAIN), VAL)
    with pytest.raises(ValueError, match=r"must yield pairs \(inputs, targets\)"):
        search(net(), [TRAIN[0].inputs], VAL)
    with pytest.raises(ValueError, match="must give a scalar tensor or a dict"):
        search(net(), TRAIN, VAL, criterion=lambda outputs, targets: outputs)
    with pytest.raises(ValueError, match="warmup_epochs must lie between 0 and epochs = 2; got 3"):
        SearchSettings(epochs=2, warmup_epochs=3)
    with pytest.raises(ValueError, match="epochs must be at least 1"):
        SearchSettings(epochs=0)
    with pytest.raises(ValueError, match="log_every must be at least 1"):
        SearchSettings(log_every=0)


def test_a_folder_of_another_search_is_refused(tmp_path: Path):
    run = Run(tmp_path / "run")
    search(net(), TRAIN, VAL, settings=SearchSettings(epochs=1), run=run)
    before = run.metrics()
    with pytest.raises(ValueError, match=r"another search: settings.seed is 0 there and 1 here"):
        search(net(), TRAIN, VAL, settings=SearchSettings(epochs=1, seed=1), run=run)
    cooler = SearchSettings(epochs=1, weights=WeightSGD(Cosine(0.01, 0.001)))
    with pytest.raises(ValueError, match=r"settings.weights.lr.start is 0.025 there and 0.01 here"):
        search(net(), TRAIN, VAL, settings=cooler, run=run)
    with pytest.raises(ValueError, match="another search: steps_per_epoch is 5 there and 4 here"):
        search(net(), TRAIN[:4], VAL, settings=SearchSettings(epochs=1), run=run)
    other = nn.Sequential(nn.Flatten(), Choice("op", {"conv": nn.Identity(), "x": nn.Identity()}), nn.Linear(16, 3))
    with pytest.raises(ValueError, match=r"of another space: decisions\.op\.candidates.*'skip'.*'x'"):
        search(other, TRAIN, VAL, settings=SearchSettings(epochs=1), run=run)
    wider = net()
    wider.stem = nn.Conv2d(1, 4, 3, bias=False)
    with pytest.raises(ValueError, match=r"another space: model\.stem\.bias is .*\(4,\) there and missing here"):
        search(wider, TRAIN, VAL, settings=SearchSettings(epochs=1), run=run)
    assert run.metrics() == before
    search(
        net(), TRAIN, VAL, settings=SearchSettings(epochs=1, log_every=1, checkpoint_minutes=1, capture=False), run=run
    )


def test_a_checkpoint_that_is_none_is_refused(tmp_path: Path):
    run = Run(tmp_path / "run")
    run.save_checkpoint("last", {"step": 3})
    with pytest.raises(ValueError, match="not the checkpoint of a search: 'steps_per_epoch' is missing"):
        search(net(), TRAIN, VAL, settings=SearchSettings(epochs=1), run=run)
    run.checkpoint_path("last").write_bytes(b"not a zip file")
    with pytest.raises(ValueError, match="damaged or no checkpoint of dnas"):
        search(net(), TRAIN, VAL, settings=SearchSettings(epochs=1), run=run)
    run.checkpoint_path("last").write_text(json.dumps({"step": 3}))
    with pytest.raises(ValueError, match="damaged or no checkpoint of dnas"):
        search(net(), TRAIN, VAL, settings=SearchSettings(epochs=1), run=run)


ACTIVE: Active = ((0, 2),)


def test_candidates_that_are_ruled_out_are_neither_run_nor_kept():
    supernet = Supernet(net())
    supernet.allowed = {"op": ACTIVE}
    runs = []
    supernet.model.op.candidates[1].register_forward_hook(lambda *_: runs.append(1))
    with torch.no_grad():
        supernet.alphas["op"][1] = 100.0
    result = search(supernet, TRAIN, VAL, settings=SearchSettings(epochs=1))
    assert runs == []
    assert result.architecture.decisions["op"] in ("conv", "skip")


def small_search(**arguments):
    model = nn.Sequential(Choice("op", {"relu": nn.ReLU(), "tanh": nn.Tanh()}), nn.Linear(4, 2))
    data = [(torch.ones(2, 4), torch.tensor([0, 1]))]
    return search(model, data, data, settings=SearchSettings(epochs=1), **arguments)


def test_the_path_of_a_run_is_enough(tmp_path):
    result = small_search(run=str(tmp_path / "run"))
    assert Run(tmp_path / "run").load_architecture() == result.architecture


def test_settings_and_displays_of_another_kind_are_refused():
    with pytest.raises(UserError, match=r"display must be a Display .*; got the class Silent. Make an object of it"):
        small_search(display=Silent)
    with pytest.raises(
        UserError, match=r"settings must be a SearchSettings; got .* Write dnas.SearchSettings\(epochs="
    ):
        search(nn.Linear(1, 1), [], [], settings={"epochs": 3})  # type: ignore[arg-type]


def test_a_choice_of_one_candidate_is_said():
    said = []

    class Said(Silent):
        def say(self, text):
            said.append(text)

    model = nn.Sequential(Choice("op", {"relu": nn.ReLU()}), nn.Linear(4, 2))
    data = [(torch.ones(2, 4), torch.tensor([0, 1]))]
    search(model, data, data, settings=SearchSettings(epochs=1), display=Said())
    assert said == ["Note: choice 'op' has one candidate, 'relu': there is nothing to choose."]
