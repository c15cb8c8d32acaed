"""A data set that nobody reads, and machines whose steps follow a formula, for plans."""

from dnas.data import Catalog
from dnas.data.resize import ResizeRule
from dnas.jobs.planning.fit import Measured, Sizes

GIB = 2**30  # bytes


def catalog(*, train: int = 1000, test: int = 0, native: int = 224) -> Catalog:
    """A data set that nobody reads."""

    def read(rule: ResizeRule, progress: object, skip_unreadable: bool) -> object:
        raise AssertionError("a plan reads no images")

    return Catalog("photos", ("a", "b", "c", "d"), train, test, native, read)  # type: ignore[arg-type]


class Machine:
    """Steps whose seconds and bytes follow a formula; `speed` 1 does the paper's step on 64 pixels in 2.6 s."""

    def __init__(self, speed: float = 1.0, per_volume: float = 20.0):
        self.speed, self.per_volume = speed, per_volume
        self.measured: list[Sizes] = []

    def __call__(self, sizes: Sizes) -> Measured:
        self.measured.append(sizes)
        step = (0.01 * sizes.cells + 1.5e-8 * sizes.work) / self.speed
        return Measured(
            step=step,
            weight_step=0.4 * step,
            evaluation=0.2 * step,
            memory=round(0.3 * GIB + self.per_volume * sizes.volume),
            taken=5 * step,
            selection=0.03 * step,
            tuning_step=0.3 * step,
        )
