"""What a network takes and gives."""

from __future__ import annotations

import pytest

from dnas.data.resize import ResizeRule
from dnas.shipping.interface import Interface
from tests.support.network_spec import RGB


def test_an_interface_without_classes_is_refused():
    with pytest.raises(ValueError, match="needs the names of its classes"):
        Interface((), ResizeRule(8), RGB)
