"""Scikit-learn's handwritten digits: 1,797 images of 8 x 8 pixels that come with the package."""

from __future__ import annotations

import numpy as np
import torch

from dnas.data.catalog import Catalog, decoded_catalog
from dnas.data.image_set import ImageSet
from dnas.system.errors import MissingPackage


def load_digits() -> ImageSet:
    """The digits as `(1797, 1, 8, 8)` uint8 in 10 classes; their 17 grey levels are spread over 0 to 255.

    From E. Alpaydin and C. Kaynak, 1998, https://doi.org/10.24432/C50P49. There is no test part.

    Raises:
        MissingPackage: scikit-learn is not installed.
    """
    try:
        from sklearn import datasets
    except ImportError as error:
        raise MissingPackage(
            'The digits come with scikit-learn. Install it: pip install ".[cli]" in a clone of dnas'
        ) from error
    pixels, labels = datasets.load_digits(return_X_y=True)
    images = np.rint(np.asarray(pixels).reshape(-1, 1, 8, 8) * (255 / 16)).astype(np.uint8)
    return ImageSet(
        torch.from_numpy(images),
        torch.from_numpy(np.asarray(labels).astype(np.int64)),
        class_names=tuple(str(digit) for digit in range(10)),
        name="digits",
    )


def open_digits() -> Catalog:
    """The catalog of the digits."""
    return decoded_catalog("digits", load_digits(), None)
