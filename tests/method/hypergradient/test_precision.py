"""Reduced precision is off inside and back afterwards, whichever way it was switched on."""

from collections.abc import Callable, Iterator

import pytest
import torch

from dnas.method.hypergradient.precision import _switches, full_precision, in_precision, tf32_products

TENSORS = {"w": torch.zeros(1)}


def settings() -> dict[str, object]:
    """Everything that can be read of both settings."""
    found: dict[str, object] = {str(i): switch.fp32_precision for i, switch in enumerate(_switches())}
    older = {"matmul": torch.get_float32_matmul_precision, "cudnn": lambda: torch.backends.cudnn.allow_tf32}
    for name, read in older.items():
        try:
            found[name] = read()
        except RuntimeError:
            found[name] = "unreadable"
    return found | {"general": torch.backends.fp32_precision, "autocast": torch.is_autocast_enabled("cpu")}


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """PyTorch's defaults are back after each test."""
    torch.backends.fp32_precision = "none"
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = True
    for switch, value in zip(_switches(), ["none", "tf32", "tf32", "none", "none", "none"], strict=True):
        switch.fp32_precision = value
    defaults = settings()
    yield
    torch.backends.fp32_precision = "none"
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = True
    for switch, value in zip(_switches(), ["none", "tf32", "tf32", "none", "none", "none"], strict=True):
        switch.fp32_precision = value
    assert settings() == defaults


def new_matmul() -> None:
    torch.backends.cuda.matmul.fp32_precision = "tf32"


def new_general() -> None:
    torch.backends.fp32_precision = "tf32"


def new_onednn() -> None:
    torch.backends.mkldnn.matmul.fp32_precision = "bf16"
    torch.backends.mkldnn.conv.fp32_precision = "bf16"


def new_conv_without_rnn() -> None:
    torch.backends.cudnn.rnn.fp32_precision = "ieee"


def older_cublas() -> None:
    torch.backends.cuda.matmul.allow_tf32 = True


def older_cudnn_off() -> None:
    torch.backends.cudnn.allow_tf32 = False


def both() -> None:
    torch.set_float32_matmul_precision("high")
    torch.backends.fp32_precision = "tf32"


SETTINGS: dict[str, Callable[[], None]] = {
    "defaults": lambda: None,
    "high": lambda: torch.set_float32_matmul_precision("high"),
    "medium": lambda: torch.set_float32_matmul_precision("medium"),
    **{f.__name__: f for f in (new_matmul, new_general, new_onednn, new_conv_without_rnn)},
    **{f.__name__: f for f in (older_cublas, older_cudnn_off, both)},
}


@pytest.mark.parametrize("switch_on", SETTINGS.values(), ids=SETTINGS)
def test_float32_products_are_in_float32_and_all_settings_come_back(switch_on: Callable[[], None]):
    switch_on()
    before = settings()
    with full_precision(TENSORS):
        assert {switch.fp32_precision for switch in _switches()} <= {"ieee", "none"}
    assert settings() == before
    with pytest.raises(KeyError), full_precision(TENSORS):
        raise KeyError
    assert settings() == before


@pytest.mark.parametrize("setting", ["defaults", "high", "medium", "older_cublas"])
def test_a_model_can_read_the_older_setting_inside(setting: str):
    SETTINGS[setting]()
    with full_precision(TENSORS):
        assert torch.get_float32_matmul_precision() == "highest"
        assert not torch.backends.cuda.matmul.allow_tf32
        with torch.backends.cudnn.flags(enabled=False):  # what a recurrent model needs for a second backward
            pass


def test_a_setting_that_was_inherited_still_is():
    new_general()
    with full_precision(TENSORS):
        pass
    torch.backends.fp32_precision = "none"
    assert torch.backends.cuda.matmul.fp32_precision == "none"


def test_autocast_is_off_inside():
    a = torch.randn(4, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (a @ a).dtype == torch.bfloat16
        with full_precision(TENSORS):
            assert (a @ a).dtype == torch.float32
        assert (a @ a).dtype == torch.bfloat16


def test_products_in_tf32_are_a_setting_of_the_block_alone():
    before = torch.get_float32_matmul_precision()
    with tf32_products():
        assert torch.get_float32_matmul_precision() == "high"
    assert torch.get_float32_matmul_precision() == before


def test_an_unknown_precision_is_refused():
    refusal = pytest.raises(ValueError, match="float32, tf32 or bf16; got 'half'")
    with refusal, in_precision("half", torch.device("cpu")):
        pass
