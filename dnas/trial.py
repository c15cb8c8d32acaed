"""The search step of a job on random images: what planning and profiling run."""

from __future__ import annotations

from collections.abc import Callable

import torch

from dnas.batch import Batch
from dnas.execution import Stepper
from dnas.job import Job, build_supernet_model
from dnas.memory import available_memory, check_batch_fits, peak_memory, reset_peak_memory
from dnas.mixture import Mixture
from dnas.supernet import Supernet
from dnas.supernet_measures import evaluate_supernet

_IN_CHANNELS = 3  # what the images have is known only when they are decoded; it matters little
# Below this size a batch is not checked before it is tried: it takes little.
_CHECKED_BATCH = 16


class Trial:
    """The supernet and optimizers of a job, and one batch that serves every step.

    Args:
        job: with channels, cells and image size.
        num_classes: of the data.
        batch_size: images in the batch.
        device: where it runs.
    """

    def __init__(self, job: Job, *, num_classes: int, batch_size: int, device: torch.device):
        assert job.image_size is not None
        self.search = job.search
        model = build_supernet_model(job, num_classes=num_classes, in_channels=_IN_CHANNELS)
        model = model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.supernet = Supernet(model, seed=job.seed).to(device)
        self.stepper = Stepper(self.supernet, job.search, say=lambda text: None)
        self.weight_optimizer = self.stepper.weight_optimizer
        self.alpha_optimizer = self.stepper.alpha_optimizer
        generator = torch.Generator().manual_seed(job.seed)
        inputs = torch.randn(batch_size, _IN_CHANNELS, job.image_size, job.image_size, generator=generator)
        targets = torch.randint(num_classes, (batch_size,), generator=generator)
        self.batch = Batch(inputs.to(device).contiguous(memory_format=torch.channels_last), targets.to(device))

    def step(self) -> None:
        """One architecture step and one weight step."""
        count = max(self.search.hypergradient.num_train_batches, 1)
        self.stepper.take([self.batch] * count, self.batch, 0.0)

    def weight_step(self) -> None:
        """One step of the weights alone, as in the warm-up."""
        self.stepper.take([self.batch], None, 0.0)

    def evaluate(self) -> None:
        """What the supernet's evaluation after each epoch does with a batch."""
        mixtures = self.supernet.expected(self.search.relaxation, torch.tensor(0.0))
        evaluate_supernet(self.supernet, mixtures, [self.batch])

    def draw(self) -> dict[str, Mixture]:
        """The mixtures of a step, without gradient."""
        with torch.no_grad():
            return self.supernet.sample(self.search.relaxation, torch.tensor(0.0))


def memory_of_small_batches(make: Callable[[int], Trial], batch_size: int, device: torch.device) -> dict[int, int]:
    """Peak memory of a step with an eighth and a quarter of the batch; nothing where the batch is small anyway.

    Too large a batch ends a process on a CPU without a word, so it is not simply tried.

    Args:
        make: a trial with a given batch size.

    Returns:
        Batch size -> bytes.

    Raises:
        ValueError: by these two the whole batch will not fit; the message says which will.
    """
    if batch_size < _CHECKED_BATCH:
        return {}
    available = available_memory(device)
    measured = {size: _step_memory(make, size, device) for size in (batch_size // 8, batch_size // 4)}
    check_batch_fits(measured, available, batch_size)
    return measured


def _step_memory(make: Callable[[int], Trial], batch_size: int, device: torch.device) -> int:
    reset_peak_memory(device)
    make(batch_size).step()
    return peak_memory(device)
