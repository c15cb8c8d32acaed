"""Train a network that is no longer searched."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn

from dnas.core.run import Run
from dnas.data.batches import Batches
from dnas.system.display import Display, Silent
from dnas.system.interrupt import stop_request
from dnas.system.processes import check_not_wrapped, check_one_process
from dnas.system.random_state import seeded
from dnas.training.evaluate import as_batches
from dnas.training.loop import TrainingLoop
from dnas.training.settings import RetrainSettings


def retrain(
    network: nn.Module,
    train: Batches | Iterable[Any],
    *,
    settings: RetrainSettings = RetrainSettings(),
    run: Run | None = None,
    display: Display = Silent(),
    phase: str = "retrain",
    validation: Batches | Iterable[Any] | None = None,
) -> nn.Module:
    """Train a classifier with cross entropy; the network itself is trained and comes back in evaluation mode.

    With a run folder the training can be stopped by Ctrl-C or killed, and calling it again with the same arguments
    goes on from the last checkpoint, on the CPU to bit-identical results. A training that has finished is not
    repeated: its weights are loaded.

    Args:
        network: any module that maps inputs to logits `(batch, classes)`, with the weights to start from. One that
            gives `(logits, auxiliary logits)` in train mode is trained on
            `loss(logits) + auxiliary_weight * loss(auxiliary logits)`. Its convolutions are put into channels-last
            memory format where its layers allow that.
        train: `(inputs, targets)`, targets `(batch,)` int64.
        settings: batch size, channels, cells and cutout among them are for who makes the data and the network.
        run: folder of this training alone, for metrics, checkpoints and, at the end, network.pt and retrain.json. With
            `search_run.child("retrain")` it is the trained network that `dnas.load(search_run.path, model=...)` gives.
        display: where progress is shown, under the name `phase`.
        validation: measured after each epoch and logged; nothing is decided by it.

    Raises:
        UserError: no classifier, nothing to train, outputs without a gradient, several processes, or the checkpoint is
            of another network or of other settings.
        NonFiniteLoss: the loss or a weight became NaN or infinite; the last good checkpoint is kept.
        Interrupted: Ctrl-C; a checkpoint has been written.

    Example:
        >>> network = nn.Linear(4, 3)
        >>> data = [(torch.randn(8, 4), torch.randint(0, 3, (8,)))]
        >>> retrain(network, data, settings=RetrainSettings(epochs=2)).training
        False
    """
    check_one_process("a training")
    check_not_wrapped(network)
    loop = TrainingLoop(network, as_batches(train), settings, run, display, phase, validation)
    try:
        with seeded(settings.seed), stop_request() as request:
            loop.resume()
            loop.run_epochs(request)
        loop.finish()
    finally:
        if run is not None:
            run.close()
    return network.eval()
