"""Data: from folders, files and data sets to batches on a device.

What a batch is stands in `core`; what targets mean, in `task`.
"""

from dnas.data.array_set import ArraySet
from dnas.data.augmentation import Augmentation, standard_augmentation
from dnas.data.batches import Batches
from dnas.data.carried import CarriedBatches, ContinuedBatches
from dnas.data.catalog import Catalog
from dnas.data.cifar import load_cifar
from dnas.data.cycle import Cycle
from dnas.data.decode import Progress, decode_image, to_channels
from dnas.data.digits import load_digits
from dnas.data.folder import load_folder
from dnas.data.hub import load_hub
from dnas.data.image_batches import ImageBatches
from dnas.data.image_set import ImageSet
from dnas.data.iterable_batches import IterableBatches
from dnas.data.load import load_source, open_source
from dnas.data.normalization import Normalization, measure_normalization
from dnas.data.resize import ResizeRule
from dnas.data.sample_kind import SampleKind, image_kind
from dnas.data.sample_set import SampleSet, to_device_if_it_fits
from dnas.data.source import Source
from dnas.data.split import halves, set_aside_test, stratified_split
from dnas.data.text import Corpus, TextBatches, Vocabulary, load_text

__all__ = [
    "ArraySet",
    "Augmentation",
    "Batches",
    "CarriedBatches",
    "Catalog",
    "ContinuedBatches",
    "Corpus",
    "Cycle",
    "ImageBatches",
    "ImageSet",
    "IterableBatches",
    "Normalization",
    "Progress",
    "ResizeRule",
    "SampleKind",
    "SampleSet",
    "Source",
    "TextBatches",
    "Vocabulary",
    "decode_image",
    "halves",
    "image_kind",
    "load_cifar",
    "load_digits",
    "load_folder",
    "load_hub",
    "load_source",
    "load_text",
    "measure_normalization",
    "open_source",
    "set_aside_test",
    "standard_augmentation",
    "stratified_split",
    "to_channels",
    "to_device_if_it_fits",
]
