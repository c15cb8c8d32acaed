"""Pictures that a run has given to TensorBoard."""

from pathlib import Path

import pytest


def first_picture(run: Path) -> bytes:
    """The first picture of the architecture; without CairoSVG, which draws it, the test is skipped."""
    pytest.importorskip("cairosvg", exc_type=OSError)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "tensorboard" / "pictures"))
    events.Reload()
    return events.Images("architecture")[0].encoded_image_string
