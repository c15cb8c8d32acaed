"""A user's own network: saved, loaded in another process, and exported with any inputs and outputs."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

import dnas
from dnas.system.errors import UserError

MODULE = """
from torch import nn
import dnas


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.act = dnas.Choice("act", {"relu": nn.ReLU(), "tanh": nn.Tanh()})
        self.norm, self.head = nn.BatchNorm1d(4), nn.Linear(4, 2)

    def forward(self, x, scale):
        x = self.act(self.norm(x) * scale)
        return {"what": self.head(x), "where": (x, x.mean(1))}
"""
exec(MODULE)  # the same class here and in the other process
RELU = dnas.Architecture({"act": "relu"})


def example(count: int = 3) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {"x": torch.randn(count, 4, generator=generator), "scale": torch.randn(count, 1, generator=generator)}


def trained() -> nn.Module:
    torch.manual_seed(0)
    network = dnas.derive(Net(), RELU)  # noqa: F821
    network(**example(8))  # moves the running statistics
    return network.eval()


def test_a_saved_network_is_loaded_in_a_new_process(tmp_path: Path):
    network = trained()
    dnas.save(network, RELU, tmp_path / "model")
    (tmp_path / "net.py").write_text(MODULE)
    torch.save(example(), tmp_path / "example.pt")
    code = "import torch, dnas, net; network = dnas.load('model', model=net.Net); "
    code += "torch.save(network(**torch.load('example.pt'))['what'], 'outputs.pt')"
    path = str(Path(dnas.__file__).parents[1])
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": path},
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert torch.equal(torch.load(tmp_path / "outputs.pt"), network(**example())["what"])


def test_another_module_than_the_saved_one_is_refused(tmp_path: Path):
    dnas.save(trained(), RELU, tmp_path)
    model = nn.Sequential(dnas.Choice("act", {"relu": nn.ReLU(), "tanh": nn.Tanh()}), nn.Linear(4, 2))
    with pytest.raises(UserError, match="belongs to another network"):
        dnas.load(tmp_path, model=model)


def test_what_is_not_derived_is_neither_saved_nor_exported(tmp_path: Path):
    for work in (lambda: dnas.save(Net(), RELU, tmp_path), lambda: dnas.export(Net(), example(), tmp_path)):  # noqa: F821
        with pytest.raises(UserError, match=r"Net still has choices, such as 'act': derive what was found"):
            work()
    assert not list(tmp_path.iterdir())


class TimeFirst(nn.Module):
    """Takes (time, batch, 3), a number for each sample and a table; gives (time, batch, 2) and (batch, 2)."""

    def __init__(self):
        super().__init__()
        self.layer = nn.LSTM(3, 2)

    def forward(self, x, scale, table):
        outputs, _ = self.layer(x @ table)
        return outputs, outputs[-1] * scale[:, None]


def test_the_batch_may_be_in_any_dimension_and_in_another_one_of_each_input(tmp_path: Path):
    import onnxruntime

    torch.manual_seed(0)
    network = TimeFirst().eval()
    inputs = (torch.randn(4, 4, 3), torch.randn(4), torch.randn(3, 3))  # as many steps as samples
    files = dnas.export(network, inputs, tmp_path / "export", batch_dim=(1, 0, None))
    assert [file.deviation is not None and file.deviation <= 1e-4 for file in files] == [True] * 4
    session = onnxruntime.InferenceSession(str(files[0].path), providers=["CPUExecutionProvider"])
    for count in (1, 7):
        inputs = (torch.randn(4, count, 3), torch.randn(count), inputs[2])
        given = {name: x.numpy() for name, x in zip(("x", "scale", "table"), inputs, strict=True)}
        for got, wanted in zip(session.run(None, given), network(*inputs), strict=True):
            np.testing.assert_allclose(got, wanted.detach().numpy(), atol=1e-4)


@pytest.mark.parametrize(
    ("batch_dim", "message"),
    [
        (2, r"batch_dim is 2, but a tensor of the example has 2 dimensions"),
        ({"x": 0}, r"one for each tensor in the structure of the example.*got \{'x': 0\}"),
        ({"x": 0, "scale": 1}, r"finds \[1, 3\] samples"),
        ({"x": None, "scale": None}, r"finds no samples"),
        (1, r"batch must be the first dimension, or the one that dnas\.export is given|cannot take the example"),
    ],
)
def test_a_dimension_that_is_not_the_batch_is_refused(batch_dim, message, tmp_path: Path):
    with pytest.raises(UserError, match=message):
        dnas.export(trained(), example(), tmp_path / "export", formats=("state_dict",), batch_dim=batch_dim)
    assert not (tmp_path / "export").exists()


def test_a_dict_in_and_a_dict_out_are_named_in_the_graph_for_any_batch(tmp_path: Path):
    import onnxruntime

    network = trained()
    files = dnas.export(network, example(), tmp_path / "export")
    assert all(file.deviation is not None and file.deviation <= 1e-4 for file in files)
    session = onnxruntime.InferenceSession(str(files[0].path), providers=["CPUExecutionProvider"])
    assert [entry.name for entry in session.get_inputs()] == ["x", "scale"]
    names = [entry.name for entry in session.get_outputs()]
    assert names == ["what", "where_0", "where_1"]
    inputs = example(7)
    got = dict(zip(names, session.run(names, {name: value.numpy() for name, value in inputs.items()}), strict=True))
    expected = network(**inputs)
    for name, tensor in (
        ("what", expected["what"]),
        ("where_0", expected["where"][0]),
        ("where_1", expected["where"][1]),
    ):
        np.testing.assert_allclose(got[name], tensor.detach().numpy(), atol=1e-5)


def test_the_network_stays_as_it_is(tmp_path: Path):
    network = trained().train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    dnas.export(network, example(), tmp_path / "export", formats=("torch", "state_dict"))
    assert network.training
    assert all(torch.equal(network.state_dict()[name], value) for name, value in before.items())


def test_a_tuple_of_whole_numbers_and_a_constant_can_be_exported(tmp_path: Path):
    class Embedded(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(5, 3)

        def forward(self, tokens, weight):
            return (self.embedding(tokens) * weight).sum(1)

    tokens = torch.tensor([[0, 4], [1, 2], [3, 3]])
    files = dnas.export(Embedded(), (tokens, torch.tensor(2.0)), tmp_path)
    assert len(files) == 4


def test_a_network_whose_outputs_depend_on_the_batch_is_refused(tmp_path: Path):
    class Centred(nn.Module):
        def forward(self, x):
            return x - x.mean(0)

    with pytest.raises(UserError, match="must not depend on the batch"):
        dnas.export(Centred(), torch.randn(5, 4), tmp_path)


class Packed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(2, 3, batch_first=True)

    def forward(self, sequences):
        return self.lstm(sequences)[1][0][0]


def test_packed_sequences_go_into_a_state_dict_alone(tmp_path: Path):
    sequences = pack_padded_sequence(torch.randn(3, 4, 2), [4, 2, 1], batch_first=True)
    with pytest.raises(UserError, match="take no packed sequences"):
        dnas.export(Packed(), sequences, tmp_path)
    (file,) = dnas.export(Packed(), sequences, tmp_path, formats=("state_dict",))
    assert file.deviation == 0.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda path: dnas.export(nn.Linear(4, 2), torch.zeros(2, 3), path),
            r"Linear cannot take the example, a tensor \(2, 3\)",
        ),
        (lambda path: dnas.export(nn.Linear(4, 2), torch.zeros(2, 4), path / "a.onnx"), "must be a folder"),
        (lambda path: dnas.export(nn.Linear(4, 2), torch.zeros(2, 4), path, formats=("tflite",)), "Unknown format"),
        (lambda path: dnas.save(nn.Linear(4, 2), {"act": "relu"}, path), "must be a dnas.Architecture"),
    ],
)
def test_mistakes_are_told_in_one_line(call, message, tmp_path: Path):
    with pytest.raises(UserError, match=message):
        call(tmp_path)
