"""dnas.export: ONNX, torch.export and state dict of a trained network."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import safetensors.torch
import torch
from torch import nn

from dnas.core.architecture import Architecture, CellArchitecture, KeptEdge
from dnas.core.choice import Choice
from dnas.core.derive import derive
from dnas.core.run import Run
from dnas.data.normalization import Normalization
from dnas.data.resize import ResizeRule
from dnas.shipping.deviation import deviation_from
from dnas.shipping.export import ExportedFile, export, metadata_of
from dnas.shipping.interface import Interface
from dnas.shipping.load import load, load_spec
from dnas.shipping.package import save_network
from dnas.shipping.safetensors_file import tensors_of, to_safetensors
from dnas.shipping.spec import ModuleBuilder, NetworkSpec, SpaceBuilder
from dnas.space import DartsSpace
from dnas.space.ops import OPERATIONS
from dnas.system.errors import UserError
from dnas.system.tensor_file import save_tensors

INTERFACE = Interface(("cat", "dog", "Küken"), ResizeRule(8), Normalization((0.5, 0.4, 0.3), (0.2, 0.25, 0.3)))
ARCHITECTURE = DartsSpace(nodes=1).random(torch.Generator().manual_seed(0))
BUILDER = SpaceBuilder(channels=2, cells=3, num_classes=3, in_channels=3, auxiliary=True)


def save(folder: Path, network: nn.Module, spec: NetworkSpec) -> Path:
    """A run with this network retrained; its running statistics are not those of a new one."""
    network(torch.randn(16, *spec.interface.shape))
    save_network(Run(folder / "retrain"), network, spec)
    return folder


def save_module(folder: Path, head: nn.Module) -> Path:
    """A run of a user's own module that ends in `head`."""
    architecture = Architecture({"activation": "relu"})
    network = derive(make_model(head), architecture)
    return save(folder, network, NetworkSpec(architecture, ModuleBuilder(), INTERFACE))


def make_model(head: nn.Module) -> nn.Module:
    return nn.Sequential(Choice("activation", {"relu": nn.ReLU(), "tanh": nn.Tanh()}), head)


def linear_head() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 3))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    spec = NetworkSpec(ARCHITECTURE, BUILDER, INTERFACE)
    return save(tmp_path_factory.mktemp("run"), BUILDER.network(ARCHITECTURE), spec)


@pytest.fixture(scope="module")
def exported(run: Path) -> dict[str, ExportedFile]:
    return {file.format: file for file in export(run)}


def test_all_formats_are_written_into_the_run_and_equal_pytorch(run: Path, exported: dict[str, ExportedFile]):
    files = {"onnx": "network.onnx", "torch": "network.pt2", "state_dict": "network.pt"}
    files |= {"safetensors": "network.safetensors"}
    assert {name: file.path for name, file in exported.items()} == {
        name: run / "export" / file for name, file in files.items()
    }
    for file in exported.values():
        assert file.num_bytes == file.path.stat().st_size
        assert file.deviation is not None
        assert file.deviation < 1e-5


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_the_onnx_file_takes_batches_of_any_size(run: Path, exported: dict[str, ExportedFile], batch_size: int):
    images = torch.randn(batch_size, 3, 8, 8)
    session = onnxruntime.InferenceSession(exported["onnx"].path, providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"images": images.numpy()})
    expected = load(run)(images).detach().numpy()
    np.testing.assert_allclose(logits, expected, atol=1e-5)  # type: ignore[arg-type]


def test_the_onnx_file_carries_what_its_users_need(exported: dict[str, ExportedFile]):
    model = onnx.load(exported["onnx"].path)
    carried = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(carried["class_names"]) == ["cat", "dog", "Küken"]
    assert json.loads(carried["input"]) == {"channels": 3, "height": 8, "width": 8}
    assert json.loads(carried["resize"]) == {"rule": "shorter_side_center_crop", "size": 8}
    assert json.loads(carried["mean"]) == [0.5, 0.4, 0.3]
    assert json.loads(carried["std"]) == [0.2, 0.25, 0.3]
    assert Architecture.from_json(carried["architecture"]) == ARCHITECTURE
    assert carried["dnas_version"]
    shape = model.graph.input[0].type.tensor_type.shape.dim
    assert [dim.dim_param or dim.dim_value for dim in shape] == ["batch", 3, 8, 8]


def test_the_torch_program_takes_any_batch_and_carries_the_same(run: Path, exported: dict[str, ExportedFile]):
    expected = metadata_of(load_spec(run))
    carried = dict.fromkeys(expected, "")
    program = torch.export.load(exported["torch"].path, extra_files=carried)
    assert carried == expected
    images = torch.randn(7, 3, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(program.module()(images), load(run)(images))


def test_the_exported_files_name_no_folder_of_this_machine(exported: dict[str, ExportedFile]):
    source = str(Path(__file__).resolve().parents[2]).encode()
    for name in ("onnx", "torch"):
        assert source not in exported[name].path.read_bytes()


def test_the_state_dict_is_a_folder_that_load_reads(run: Path, exported: dict[str, ExportedFile]):
    folder = exported["state_dict"].path.parent
    images = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(load(folder)(images), load(run)(images))
    assert load_spec(folder).interface == INTERFACE
    assert Architecture.load(folder / "architecture.json") == ARCHITECTURE
    assert not any("auxiliary" in name for name in torch.load(exported["state_dict"].path, weights_only=True))


def test_load_reads_safetensors_where_there_is_no_other_file_of_weights(run: Path, exported, tmp_path: Path):
    (tmp_path / "network.json").write_bytes((run / "export" / "network.json").read_bytes())
    (tmp_path / "network.safetensors").write_bytes(exported["safetensors"].path.read_bytes())
    images = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(load(tmp_path)(images), load(run)(images))
    again = to_safetensors(load(run).state_dict(), metadata_of(load_spec(run)))
    assert exported["safetensors"].path.read_bytes() == again
    tensors = safetensors.torch.load_file(exported["safetensors"].path)
    assert tensors.keys() == load(run).state_dict().keys()
    with safetensors.safe_open(exported["safetensors"].path, "pt") as file:
        assert Architecture.from_json(file.metadata()["architecture"]) == ARCHITECTURE


def test_no_flipped_bit_in_safetensors_is_read_as_other_weights(exported: dict[str, ExportedFile]):
    content = exported["safetensors"].path.read_bytes()
    random = np.random.default_rng(0)
    for at in (*range(12), *random.integers(0, len(content), 100)):
        damaged = bytearray(content)
        damaged[at] ^= 1 << int(random.integers(8))
        with pytest.raises(UserError, match=r"network.safetensors is damaged or no file of safetensors"):
            tensors_of(bytes(damaged), source="network.safetensors")


@pytest.mark.slow
def test_every_operation_of_our_spaces_is_exported_on_images_of_odd_size(tmp_path: Path):
    operations = [name for name in OPERATIONS if name != "noise"]  # which is chance, and refused
    edges = tuple(KeptEdge(i % 2, 2 + i, name) for i, name in enumerate(operations))
    cells = {name: CellArchitecture(edges, tuple(edge.target for edge in edges)) for name in ("normal", "reduce")}
    architecture = DartsSpace().architecture(cells)
    builder = SpaceBuilder(channels=2, cells=2, num_classes=3, in_channels=3)
    interface = Interface(("a", "b", "c"), ResizeRule(9), INTERFACE.normalization)
    torch.manual_seed(0)
    run = save(tmp_path, builder.network(architecture), NetworkSpec(architecture, builder, interface))
    (file,) = export(run, formats=["onnx"])
    assert file.deviation is not None
    assert file.deviation < 1e-5


def test_exporting_leaves_the_retrained_network_as_it_was(run: Path, exported: dict[str, ExportedFile]):
    assert exported
    assert load_spec(run).builder == BUILDER
    with pytest.raises(ValueError, match=r"would be overwritten; choose another folder"):
        export(run, formats=["state_dict"], output=run / "retrain")


def test_a_users_module_is_exported_with_the_module_given(tmp_path: Path):
    run = save_module(tmp_path, linear_head())
    output = tmp_path / "out"
    files = export(run, output=output, check=False, model=make_model(linear_head()))
    assert [file.deviation for file in files] == [None] * 4
    assert sorted(path.name for path in output.iterdir()) == [
        "architecture.json", "network.json", "network.onnx", "network.pt", "network.pt2",
        "network.safetensors",
    ]  # fmt: skip
    images = torch.randn(3, 3, 8, 8)
    network = load(run, model=make_model(linear_head()))
    session = onnxruntime.InferenceSession(output / "network.onnx", providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"images": images.numpy()})
    np.testing.assert_allclose(logits, network(images).detach().numpy(), atol=1e-6)  # type: ignore[arg-type]


class Noisy(nn.Module):
    """Logits with noise, also in evaluation mode."""

    def __init__(self) -> None:
        super().__init__()
        self.head = linear_head()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = self.head(x)
        return logits + torch.rand_like(logits)


class BatchNormalized(nn.Module):
    """Logits that depend on the rest of the batch, also in evaluation mode."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3, track_running_stats=False)
        self.head = linear_head()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(x))


@pytest.mark.parametrize("head", [Noisy, BatchNormalized])
def test_logits_that_depend_on_chance_or_on_the_batch_are_refused(tmp_path: Path, head: type[nn.Module]):
    run = save_module(tmp_path, head())
    with pytest.raises(ValueError, match=r"differ by 0\.\d+ when it comes alone .* running statistics"):
        export(run, model=make_model(head()))
    assert not (run / "export").exists()


class ByValue(nn.Module):
    """A forward pass that depends on the values of its input."""

    def __init__(self) -> None:
        super().__init__()
        self.head = linear_head()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(x if x.sum() > -1e9 else -x)


def test_a_module_that_cannot_be_traced_is_refused_and_leaves_no_file(tmp_path: Path):
    run = save_module(tmp_path, ByValue())
    with pytest.raises(ValueError, match=r"cannot express Sequential .* must not depend on the values"):
        export(run, formats=["torch"], model=make_model(ByValue()))
    assert not (run / "export").exists()


class Traced(nn.Module):
    """Another function when it is traced than when it is called."""

    def __init__(self) -> None:
        super().__init__()
        self.head = linear_head()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = self.head(x)
        return logits + 1 if torch.compiler.is_exporting() else logits


def test_a_file_that_deviates_is_not_written_and_an_older_one_stays(tmp_path: Path):
    run = save_module(tmp_path, Traced())
    older = run / "export" / "network.onnx"
    older.parent.mkdir()
    older.write_bytes(b"older")
    for name, file in (("onnx", "network.onnx"), ("torch", "network.pt2")):
        with pytest.raises(ValueError, match=rf"{file} deviates from PyTorch by [\d.]+, more than 0.0001"):
            export(run, formats=[name], model=make_model(Traced()))
    assert [path.name for path in older.parent.iterdir()] == ["network.onnx"]
    assert older.read_bytes() == b"older"


class Bessel(nn.Module):
    """An operator that ONNX has not."""

    def __init__(self) -> None:
        super().__init__()
        self.head = linear_head()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.special.bessel_j0(x))


def test_an_operator_that_onnx_has_not_is_named(tmp_path: Path):
    run = save_module(tmp_path, Bessel())
    with pytest.raises(ValueError, match=r"ONNX cannot express .*bessel_j0"):
        export(run, formats=["onnx"], model=make_model(Bessel()))
    assert not (run / "export").exists()


def test_a_network_that_gives_no_logits_of_its_classes_is_refused(tmp_path: Path):
    run = save_module(tmp_path, nn.Flatten())
    with pytest.raises(ValueError, match=r"gives shape \(1, 192\) for 1 images; expected logits of shape \(1, 3\)"):
        export(run, model=make_model(nn.Flatten()))


def test_weights_that_diverged_are_refused(tmp_path: Path):
    run = save_module(tmp_path, linear_head())
    weights = torch.load(run / "retrain" / "network.pt", weights_only=True)
    save_tensors(run / "retrain" / "network.pt", {name: value * torch.inf for name, value in weights.items()})
    with pytest.raises(ValueError, match=r"network\.pt is damaged: .* holds NaN or infinity"):
        export(run, model=make_model(linear_head()))


def test_a_deviation_is_told_in_units_of_the_largest_logit():
    def deviation(expected: float, got: float) -> float:
        batch = (torch.zeros(2, 3), torch.tensor([[expected, 0.0]], dtype=torch.float64))
        return deviation_from([batch], lambda _: torch.tensor([[got, 0.0]], dtype=torch.float64), "file")

    assert deviation(10.0, 10.0005) == pytest.approx(5e-5)
    assert deviation(0.1, 0.10005) == pytest.approx(5e-5)
    with pytest.raises(
        ValueError, match=r"file deviates from PyTorch by 0.005, more than 0.0001, on a tensor \(2, 3\)"
    ):
        deviation(10.0, 10.05)
    with pytest.raises(ValueError, match="file deviates from PyTorch by nan"):
        deviation(10.0, float("nan"))


def test_logits_of_another_shape_are_told():
    with pytest.raises(ValueError, match=r"file: outputs have shape \(2, 1\), PyTorch's \(2, 3\)"):
        deviation_from([(torch.zeros(2, 3), torch.zeros(2, 3))], lambda _: torch.zeros(2, 1), "file")


def test_wrong_settings_are_named_before_anything_is_read(tmp_path: Path):
    with pytest.raises(ValueError, match="Unknown format 'tflite'; there are onnx, torch, state_dict"):
        export(tmp_path, formats=["onnx", "tflite"])
    with pytest.raises(ValueError, match="Nothing to export"):
        export(tmp_path, formats=[])
    with pytest.raises(FileNotFoundError, match=f"`dnas retrain {tmp_path}`"):
        export(tmp_path, formats=["torch"])


def test_without_onnx_the_hint_says_what_to_install_and_other_formats_work(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "onnxscript", None)  # what an import finds where it is not installed
    with pytest.raises(ImportError, match=r'onnxscript.*pip install ".\[export\]" in a clone'):
        export(run, output=tmp_path)
    assert [file.path.name for file in export(run, formats=["state_dict"], output=tmp_path)] == ["network.pt"]


def test_a_file_in_the_place_of_the_output_folder_is_named(run: Path, tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="is a file; expected the folder to export to"):
        export(run, formats=["state_dict"], output=tmp_path / "file")
