"""Retraining: its arithmetic, and that a stop at any point changes nothing."""

import copy
import json
import math
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dnas.core.batch import Batch
from dnas.core.choice import Choice
from dnas.core.run import Run
from dnas.core.schedule import Constant, Cosine
from dnas.data.augmentation import Augmentation
from dnas.data.batches import Batches
from dnas.data.image_batches import ImageBatches
from dnas.data.image_set import ImageSet
from dnas.data.normalization import Normalization
from dnas.searching.settings import WeightSGD
from dnas.space import NasBench201Space
from dnas.space.drop_path import DropPath
from dnas.system.display import Display, Silent
from dnas.system.errors import NonFiniteLoss, UserError
from dnas.system.interrupt import Interrupted, stop_request
from dnas.system.random_state import seeded
from dnas.task import Classification
from dnas.training.evaluate import as_batches
from dnas.training.loop import TrainingLoop
from dnas.training.retrain import retrain
from dnas.training.settings import RetrainSettings
from tests.support.replay import Replayed

NUM_CLASSES = 3
STEPS = 4  # per epoch


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tensors this small are only slowed down by more, by far where the cores are busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def images(seed: int = 0) -> ImageBatches:
    """4 batches of 6 augmented images of 3 x 6 x 6 pixels."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (24, 3, 6, 6), generator=generator, dtype=torch.uint8)
    labels = torch.arange(24) % NUM_CLASSES
    return ImageBatches(
        ImageSet(pixels, labels, ("a", "b", "c"), "random images"),
        batch_size=6,
        augmentation=Augmentation(pad=1, cutout=2),
        normalization=Normalization((0.5,) * 3, (0.3,) * 3),
        seed=seed,
        shuffle=True,
    )


class Small(nn.Module):
    """A convolution, batch norm, drop-path and dropout: all that has state or draws random numbers."""

    def __init__(self, width: int = 4, *, auxiliary: bool = False) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.path = DropPath()
        self.dropout = nn.Dropout(0.2)
        self.linear = nn.Linear(width, NUM_CLASSES)
        self.auxiliary = nn.Linear(width, NUM_CLASSES) if auxiliary else None

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        x = self.norm(self.convolution(x)).relu()
        x = self.dropout((x + self.path(x)).mean((2, 3)))
        if self.auxiliary is not None and self.training:
            return self.linear(x), self.auxiliary(x)
        return self.linear(x)


def small(**arguments) -> Small:
    torch.manual_seed(0)
    return Small(**arguments)


def vectors(num_batches: int = STEPS, seed: int = 0) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    return [
        (
            torch.randn(5, 4, generator=generator, dtype=torch.float64),
            torch.randint(0, NUM_CLASSES, (5,), generator=generator),
        )
        for _ in range(num_batches)
    ]


def linear() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(4, NUM_CLASSES, dtype=torch.float64)


def quick(**changes) -> RetrainSettings:
    return RetrainSettings(**{"epochs": 3, "log_every": 3, **changes})


class Killed(BaseException):
    """Stands for the end of the process: nobody catches it."""


class At(Display):
    """Does something after a step."""

    def __init__(self, step: int, action: Callable[[], object]) -> None:
        self.step = step
        self.action = action
        self.said: list[str] = []

    def update(self, phase: str, done: int, total: int, scalars: Mapping[str, float]) -> None:
        if done == self.step:
            self.action()

    def say(self, text: str) -> None:
        self.said.append(text)


def kill() -> None:
    raise Killed


def metrics(run: Run) -> list[dict]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in run.metrics()]


def assert_same(one: nn.Module, other: nn.Module) -> None:
    for (name, mine), theirs in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs), name


# Arithmetic


@pytest.mark.parametrize("lr_changes", ["epoch", "step"])
def test_training_is_sgd_with_clipping_and_one_learning_rate_per_epoch_or_step(lr_changes):
    settings = quick(
        lr_changes=lr_changes,
        weights=WeightSGD(lr=Cosine(0.5, 0.0), momentum=0.9, weight_decay=0.1, nesterov=True, clip=0.3),
        label_smoothing=0.2,
    )
    reference, data = linear(), vectors()
    optimizer = torch.optim.SGD(reference.parameters(), lr=0.5, momentum=0.9, weight_decay=0.1, nesterov=True)
    for epoch in range(3):
        for step, (inputs, targets) in enumerate(data):
            progress = (epoch + (step / len(data) if lr_changes == "step" else 0)) / 3
            optimizer.param_groups[0]["lr"] = 0.25 * (1 + math.cos(math.pi * progress))
            optimizer.zero_grad()
            F.cross_entropy(reference(inputs), targets, label_smoothing=0.2).backward()
            nn.utils.clip_grad_norm_(reference.parameters(), 0.3)
            optimizer.step()
    trained = retrain(linear(), data, settings=settings)
    torch.testing.assert_close(trained.weight, reference.weight, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("auxiliary", [True, False])
def test_the_auxiliary_head_adds_its_weighted_loss_where_it_is_wanted(auxiliary: bool):
    class TwoHeads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.main, self.side = linear(), linear()

        def forward(self, x: Tensor):
            return (self.main(x), self.side(x)) if self.training else self.main(x)

    before = TwoHeads()
    settings = quick(
        epochs=1, auxiliary=auxiliary, weights=WeightSGD(lr=Constant(1.0), momentum=0.0, weight_decay=0.0, clip=None)
    )
    trained = retrain(copy.deepcopy(before), vectors(1), settings=settings)
    moved = [b.weight - t.weight for b, t in ((before.main, trained.main), (before.side, trained.side))]
    torch.testing.assert_close(moved[1], (0.4 if auxiliary else 0.0) * moved[0], rtol=1e-12, atol=1e-15)


def test_drop_path_grows_linearly_from_0():
    seen, network = [], small()
    for step in range(1, 3 * STEPS + 1):
        watch = At(step, lambda: seen.append(network.path.probability))
        retrain(network, images(), settings=quick(drop_path=0.3), display=watch)
    assert seen == pytest.approx([0.0] * STEPS + [0.1] * STEPS + [0.2] * STEPS)


def test_a_network_without_drop_path_or_auxiliary_head_trains_under_the_default_recipe_without_a_warning():
    retrain(linear(), vectors(), settings=quick(drop_path=0.2, auxiliary=True))


def test_convolutions_are_trained_in_channels_last_format():
    trained = retrain(small(), images(), settings=quick(epochs=1))
    assert trained.convolution.weight.is_contiguous(memory_format=torch.channels_last)
    assert not trained.convolution.weight.is_contiguous()


def test_a_network_that_flattens_with_view_is_trained_in_contiguous_format():
    class Flattening(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution = nn.Conv2d(3, 2, 3)
            self.linear = nn.Linear(32, NUM_CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            x = self.convolution(x)
            return self.linear(x.view(len(x), -1))

    watch = At(-1, kill)
    trained = retrain(Flattening(), images(), settings=quick(epochs=1), display=watch, validation=images())
    assert trained.convolution.weight.is_contiguous()
    assert "flatten" in watch.said[0]


def test_the_callers_random_state_and_signal_handlers_are_left_alone():
    torch.manual_seed(7)
    before, handler = torch.get_rng_state(), signal.getsignal(signal.SIGINT)
    network = small()
    torch.set_rng_state(before)
    retrain(network, images(), settings=quick(epochs=1))
    assert torch.equal(torch.get_rng_state(), before)
    assert signal.getsignal(signal.SIGINT) is handler


def test_the_result_depends_on_the_seed_and_not_on_the_global_random_state():
    results = []
    for seed, other in ((1, 10), (1, 11), (2, 10)):
        network = small()
        torch.manual_seed(other)
        results.append(retrain(network, images(), settings=quick(epochs=1, seed=seed)))
    assert_same(results[0], results[1])
    assert not torch.equal(results[0].linear.weight, results[2].linear.weight)


def test_validation_changes_nothing_but_what_is_logged(tmp_path):
    with_it, without = Run(tmp_path / "with"), Run(tmp_path / "without")
    one = retrain(small(), images(), settings=quick(), run=with_it, validation=images(seed=9))
    other = retrain(small(), images(), settings=quick(), run=without)
    assert_same(one, other)
    extra = {f"validation_{name}" for name in ("loss", "top1", "top5", "balanced_accuracy")}
    rows = [{name: value for name, value in row.items() if name not in extra} for row in metrics(with_it)]
    assert rows == metrics(without)
    assert all(extra <= set(row) for row in metrics(with_it) if row["phase"] == "epoch")


# What is written


def test_metrics_are_means_over_the_epoch_so_far(tmp_path):
    run, data = Run(tmp_path), vectors()
    still = WeightSGD(lr=Constant(0.0))
    retrain(linear(), data, settings=quick(epochs=2, weights=still), run=run)
    with torch.no_grad():
        losses = [float(F.cross_entropy(linear()(inputs), targets)) for inputs, targets in data]
        right = [float((linear()(inputs).argmax(1) == targets).double().mean()) for inputs, targets in data]
    steps = [row for row in run.metrics() if row["phase"] == "step"]
    assert [row["step"] for row in steps] == [3, 4, 6, 8]  # every third, and the last of an epoch
    assert [row["loss"] for row in steps] == pytest.approx(
        [sum(losses[:3]) / 3, sum(losses) / 4, sum(losses[:2]) / 2, sum(losses) / 4]
    )
    epochs = [row for row in run.metrics() if row["phase"] == "epoch"]
    assert [(row["epoch"], row["step"]) for row in epochs] == [(0, 4), (1, 8)]
    assert epochs[0]["train_top1"] == pytest.approx(sum(right) / 4)


def test_a_finished_training_leaves_its_time_and_settings(tmp_path):
    retrain(linear(), vectors(), settings=quick(), run=Run(tmp_path))
    summary = Run(tmp_path).load_json("retrain")
    assert (summary["epochs"], summary["steps"]) == (3, 12)
    assert summary["seconds"] > 0
    assert summary["settings"] == json.loads(json.dumps(quick().to_data()))


# Stopping and going on


@pytest.mark.parametrize("step", [1, 3, 4, 6, 11, 12])
@pytest.mark.parametrize("checkpoint_minutes", [0.0, 10.0])
def test_a_killed_training_goes_on_to_bit_identical_results(tmp_path, step: int, checkpoint_minutes: float):
    settings = quick(checkpoint_minutes=checkpoint_minutes)
    whole, parts = Run(tmp_path / "whole"), Run(tmp_path / "parts")
    expected = retrain(small(auxiliary=True), images(), settings=settings, run=whole, validation=images(seed=9))
    with pytest.raises(Killed):
        retrain(
            small(auxiliary=True),
            images(),
            settings=settings,
            run=parts,
            validation=images(seed=9),
            display=At(step, kill),
        )
    network = small(auxiliary=True)
    torch.manual_seed(99)  # another process has another random state
    if parts.checkpoint_path("last").exists():
        nn.init.ones_(network.linear.weight)  # nor do the weights it begins with matter
    trained = retrain(network, images(), settings=settings, run=parts, validation=images(seed=9))
    assert_same(trained, expected)
    assert metrics(parts) == metrics(whole)
    one, other = (run.load_checkpoint("last") for run in (parts, whole))
    for index, state in other["optimizer"]["state"].items():
        assert torch.equal(one["optimizer"]["state"][index]["momentum_buffer"], state["momentum_buffer"])


def test_a_training_killed_twice_goes_on_to_bit_identical_results(tmp_path):
    settings = quick(checkpoint_minutes=0)
    expected = retrain(small(), images(), settings=settings)
    for step in (5, 7):
        with pytest.raises(Killed):
            retrain(small(), images(), settings=settings, run=Run(tmp_path), display=At(step, kill))
    assert_same(retrain(small(), images(), settings=settings, run=Run(tmp_path)), expected)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("step", [5, 8, 12])
def test_a_signal_saves_after_the_step_and_names_the_folder(tmp_path, step: int, number: int):
    expected = retrain(small(), images(), settings=quick())
    with pytest.raises(Interrupted, match=rf"saved after step {step} of 12 in .*{tmp_path.name}"):
        retrain(
            small(),
            images(),
            settings=quick(),
            run=Run(tmp_path),
            display=At(step, lambda: os.kill(os.getpid(), number)),
        )
    assert Run(tmp_path).load_checkpoint("last")["step"] == step
    assert_same(retrain(small(), images(), settings=quick(), run=Run(tmp_path)), expected)


def test_a_signal_without_a_run_folder_says_that_nothing_was_saved():
    stop = At(5, lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(Interrupted, match="nothing was saved"):
        retrain(small(), images(), settings=quick(), display=stop)


@pytest.mark.slow
def test_a_process_that_is_killed_at_once_goes_on_in_another_to_bit_identical_results(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(
        textwrap.dedent("""
        import os, signal, sys
        import torch
        from dnas import Run, retrain
        from tests.training.test_retrain import At, images, quick, small

        folder, step = sys.argv[1], int(sys.argv[2])
        stop = At(step, lambda: os.kill(os.getpid(), signal.SIGKILL))
        network = retrain(small(), images(), settings=quick(checkpoint_minutes=0), run=Run(folder), display=stop)
        torch.save(network.state_dict(), folder + "/weights.pt")
        """)
    )

    def train(folder: str, step: int) -> int:
        command = [sys.executable, str(script), str(tmp_path / folder), str(step)]
        root = Path(__file__).parents[2]
        environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
        return subprocess.run(command, cwd=root, env=environment, check=False).returncode

    assert train("whole", 0) == 0
    assert train("parts", 7) == -signal.SIGKILL
    assert train("parts", 0) == 0
    one, other = (torch.load(tmp_path / name / "weights.pt", weights_only=True) for name in ("whole", "parts"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_finished_training_is_loaded_and_not_repeated(tmp_path):
    class Refusing(Batches):
        def __len__(self) -> int:
            return STEPS

        def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
            raise AssertionError("trained again")

    expected = retrain(small(), images(), settings=quick(), run=Run(tmp_path))
    seconds = Run(tmp_path).load_json("retrain")["seconds"]
    torch.manual_seed(99)
    assert_same(retrain(Small(), Refusing(), settings=quick(), run=Run(tmp_path)), expected)
    assert Run(tmp_path).load_json("retrain")["seconds"] == seconds


def test_rows_of_a_run_that_was_killed_before_its_first_checkpoint_are_not_kept_twice(tmp_path):
    with pytest.raises(Killed):
        retrain(small(), images(), settings=quick(), run=Run(tmp_path), display=At(3, kill))
    assert len(Run(tmp_path).metrics()) == 1
    retrain(small(), images(), settings=quick(), run=Run(tmp_path))
    assert [row["step"] for row in Run(tmp_path).metrics() if row["phase"] == "step"] == [3, 4, 6, 8, 9, 12]


def test_another_number_of_threads_is_noted(tmp_path):
    with pytest.raises(Killed):
        retrain(small(), images(), settings=quick(), run=Run(tmp_path), display=At(6, kill))
    state = Run(tmp_path).load_checkpoint("last")
    Run(tmp_path).save_checkpoint("last", {**state, "threads": state["threads"] + 1})
    watch = At(-1, kill)
    retrain(small(), images(), settings=quick(), run=Run(tmp_path), display=watch)
    assert any("threads" in text for text in watch.said)


# Errors


def test_a_checkpoint_of_another_network_is_refused_by_the_first_difference(tmp_path):
    retrain(small(), images(), settings=quick(), run=Run(tmp_path))
    network = small(width=5)
    before = copy.deepcopy(network)
    with pytest.raises(ValueError, match=r"network\.convolution\.weight is a tensor of shape \(4, 3, 3, 3\) there and"):
        retrain(network, images(), settings=quick(), run=Run(tmp_path))
    assert_same(network, before)
    with pytest.raises(ValueError, match=r"another training: network\.auxiliary\.weight is missing there"):
        retrain(small(auxiliary=True), images(), settings=quick(), run=Run(tmp_path))


def test_a_checkpoint_of_other_settings_is_refused(tmp_path):
    retrain(small(), images(), settings=quick(), run=Run(tmp_path))
    with pytest.raises(ValueError, match=r"another training: settings\.epochs is 3 there and 4 here"):
        retrain(small(), images(), settings=quick(epochs=4), run=Run(tmp_path))
    with pytest.raises(ValueError, match="another training: steps_per_epoch is 4 there and 2 here"):
        retrain(small(), list(images().epoch(0))[:2], settings=quick(), run=Run(tmp_path))


def test_how_often_something_is_logged_or_saved_may_change_when_a_training_goes_on(tmp_path):
    with pytest.raises(Killed):
        retrain(small(), images(), settings=quick(), run=Run(tmp_path), display=At(6, kill))
    retrain(small(), images(), settings=quick(log_every=1, checkpoint_minutes=0, capture=False), run=Run(tmp_path))


def test_the_checkpoint_of_something_else_is_refused(tmp_path):
    Run(tmp_path).save_checkpoint("last", {"step": 3, "supernet": {}})
    with pytest.raises(ValueError, match="not the checkpoint of a training: 'seconds' is missing"):
        retrain(small(), images(), settings=quick(), run=Run(tmp_path))


def test_a_damaged_checkpoint_is_refused(tmp_path):
    retrain(small(), images(), settings=quick(), run=Run(tmp_path))
    path = Run(tmp_path).checkpoint_path("last")
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match="damaged"):
        retrain(small(), images(), settings=quick(), run=Run(tmp_path))


def poisoned(batch: int) -> list[tuple[Tensor, Tensor]]:
    data = vectors()
    data[batch][0].fill_(math.nan)
    return data


def test_a_loss_that_is_not_finite_stops_with_the_step_the_rate_and_what_to_lower():
    with pytest.raises(
        FloatingPointError, match=r"at or before step 2: the loss is nan.* Lower the weights' learning rate.*0.025"
    ):
        retrain(linear(), poisoned(1), settings=quick())


@pytest.mark.parametrize("checkpoint_minutes", [0.0, 10.0])
def test_the_last_good_checkpoint_is_kept_when_the_loss_diverges(tmp_path, checkpoint_minutes: float):
    class LaterPoison(Batches):
        def __len__(self) -> int:
            return STEPS

        def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
            yield from (Batch(*pair) for pair in (poisoned(1) if epoch else vectors())[start:])

    settings = quick(checkpoint_minutes=checkpoint_minutes)
    with pytest.raises(FloatingPointError, match="last good checkpoint is kept"):
        retrain(linear(), LaterPoison(), settings=settings, run=Run(tmp_path))
    state = Run(tmp_path).load_checkpoint("last")
    assert state["step"] == (STEPS + 1 if checkpoint_minutes == 0 else STEPS)
    assert state["network"]["weight"].isfinite().all()


def test_a_step_of_infinite_loss_is_not_saved_though_its_gradients_were_finite(tmp_path):
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = linear()

        def forward(self, x: Tensor) -> Tensor:
            return self.linear(x).masked_fill(torch.tensor([False, False, True]), -math.inf)

    data = vectors()
    data[0][1].zero_()
    data[1][1].fill_(2)
    with pytest.raises(FloatingPointError, match="before step 2: the loss is inf"):
        retrain(Masked(), data, settings=quick(checkpoint_minutes=0), run=Run(tmp_path))
    assert Run(tmp_path).load_checkpoint("last")["step"] == 1


def test_weights_that_are_not_finite_are_found_though_the_loss_still_was(tmp_path):
    # The last step of the training spoils the weights: no loss comes after it.
    data = [(torch.full((1, 4), 1e200, dtype=torch.float64), torch.tensor([0]))]
    huge = WeightSGD(lr=Constant(1e200), momentum=0.0, weight_decay=0.0, clip=None)
    network = linear()
    nn.init.zeros_(network.weight)
    with pytest.raises(FloatingPointError, match="weight holds NaN or infinity"):
        retrain(network, data, settings=quick(epochs=1, weights=huge), run=Run(tmp_path))
    assert not Run(tmp_path).checkpoint_path("last").exists()


def test_a_network_with_nothing_to_train_is_told():
    with pytest.raises(ValueError, match="Identity has no weights to train"):
        retrain(nn.Identity(), vectors(), settings=quick())


def test_a_network_that_is_no_classifier_is_told():
    with pytest.raises(ValueError, match=r"must give logits \(batch, classes\)"):
        retrain(nn.Conv2d(3, 3, 1), images(), settings=quick())


def test_batches_that_end_before_their_length_are_told():
    class Short(Batches):
        def __len__(self) -> int:
            return STEPS

        def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
            yield from (Batch(*pair) for pair in vectors(2)[start:])

    with pytest.raises(ValueError, match="ended after 2 of 4 batches"):
        retrain(linear(), Short(), settings=quick())


# Settings


def test_the_defaults_are_the_recipe_of_darts():
    settings = RetrainSettings()
    assert (settings.epochs, settings.batch_size, settings.channels, settings.cells) == (600, 96, 36, 20)
    assert (settings.auxiliary, settings.auxiliary_weight, settings.drop_path) == (True, 0.4, 0.2)
    assert (settings.cutout, settings.label_smoothing) == (16, 0.0)
    weights = settings.weights
    assert (weights.momentum, weights.weight_decay, weights.clip, weights.nesterov) == (0.9, 3e-4, 5.0, False)
    assert [weights.lr_at(progress) for progress in (0.0, 0.5, 1.0)] == pytest.approx([0.025, 0.0125, 0.0])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("batch_size", 0),
        ("channels", 0),
        ("cells", -1),
        ("log_every", 0),
        ("auxiliary_weight", -0.1),
        ("cutout", -1),
        ("checkpoint_minutes", math.nan),
        ("drop_path", 1.0),
        ("label_smoothing", 1.0),
    ],
)
def test_a_setting_out_of_its_range_is_told_by_name(name: str, value: float):
    with pytest.raises(ValueError, match=f"{name} must be .*; got {value}"):
        RetrainSettings(**{name: value})


@pytest.mark.parametrize(("side", "pixels"), [(32, 16), (8, 4), (64, 32), (224, 112), (28, 14)])
def test_cutout_is_in_proportion_to_the_image(side: int, pixels: int):
    assert RetrainSettings().cutout_pixels(side) == pixels


# --- Recorded steps ---------------------------------------------------------------------------------------------------


def small_cell_network() -> nn.Module:
    torch.manual_seed(0)
    space = NasBench201Space()
    architecture = space.random(torch.Generator().manual_seed(3))
    return space.network(architecture, channels=2, cells=1, num_classes=3)


def test_recorded_steps_train_as_the_usual_ones_do():
    """Running statistics, drop-path that grows from epoch to epoch and a falling learning rate among it."""
    generator = torch.Generator().manual_seed(1)
    data = [Batch(torch.randn(4, 3, 8, 8, generator=generator), torch.tensor([0, 1, 2, 0])) for _ in range(3)]
    settings = RetrainSettings(epochs=4, drop_path=0.4, log_every=1)
    trained, replays = [], 0
    for recorded in (False, True):
        network = small_cell_network()
        recorder = Replayed(
            lambda: [tensor for group in loop.training_step._moving() for tensor in group],  # noqa: B023
            lambda: [torch.default_generator],
        )
        loop = TrainingLoop(
            network,
            as_batches(data),
            settings,
            None,
            Silent(),
            "retrain",
            None,
            Classification(settings.label_smoothing),
            recorder=recorder if recorded else None,
        )
        with seeded(0), stop_request() as request:
            loop.run_epochs(request)
        trained.append(network.state_dict())
        replays += recorder.num_replays
    assert replays == 12 - 3
    for name, tensor in trained[0].items():
        assert torch.equal(tensor, trained[1][name]), name


def test_training_in_bf16_keeps_float32_weights():
    network = small_cell_network()
    batch = Batch(torch.randn(4, 3, 8, 8), torch.tensor([0, 1, 2, 0]))
    seen: list[torch.dtype] = []
    network.get_submodule("stem").register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    retrain(network, [batch], settings=RetrainSettings(epochs=1, precision="bf16"))
    assert torch.bfloat16 in seen
    assert {weight.dtype for weight in network.parameters()} == {torch.float32}


# Without a gradient


class Detached(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x):
        return self.layer(x).detach()


def test_a_network_with_choices_left_is_refused():
    network = nn.Sequential(Choice("act", {"relu": nn.ReLU(), "skip": nn.Identity()}), nn.Linear(4, 3))
    with pytest.raises(UserError, match="still has choices, such as 'act': derive"):
        retrain(network, [(torch.zeros(2, 4), torch.zeros(2, dtype=torch.long))])


def test_a_network_whose_outputs_have_no_gradient_is_refused_at_the_first_step():
    data = [(torch.randn(8, 4), torch.zeros(8, dtype=torch.int64))]
    with pytest.raises(ValueError, match="The loss of Detached has no gradient"):
        retrain(Detached(), data)


@pytest.mark.parametrize("bad", [(torch.zeros(2, 4), torch.tensor([0, 3])), (torch.zeros(2, 5), torch.tensor([0, 1]))])
def test_a_batch_that_does_not_fit_is_named_by_its_number(bad):
    good = (torch.zeros(2, 4), torch.tensor([0, 1]))
    with pytest.raises(UserError, match=r"[Bb]atch 1 of train \(epoch 0\)"):
        retrain(nn.Linear(4, 3), [good, bad], settings=RetrainSettings(epochs=1))


def test_a_training_stops_at_the_step_whose_inputs_or_gradient_are_not_finite_and_says_which():
    good, bad = ((torch.full((2, 4), value), torch.tensor([0, 1])) for value in (1.0, float("nan")))
    with pytest.raises(NonFiniteLoss, match=r"step 2: the loss is nan.*batch 1 of train .*: its inputs hold"):
        retrain(nn.Linear(4, 3), [good, bad], settings=RetrainSettings(epochs=1, log_every=50))

    def root(outputs, targets):  # its gradient at 0 is infinite
        return (outputs - outputs.detach()).abs().sum().sqrt()

    with pytest.raises(NonFiniteLoss, match=r"step 1: the gradient of weight holds NaN.* are finite"):
        retrain(nn.Linear(4, 3), [good], criterion=root, settings=RetrainSettings(epochs=1, log_every=50))
