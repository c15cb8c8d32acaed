"""ONNX files in 8-bit integers."""

from pathlib import Path

import onnx
import pytest
import torch

from dnas.core.run import Run
from dnas.cost.stopwatch import Stopwatch, open_session
from dnas.data.normalization import Normalization
from dnas.data.resize import ResizeRule
from dnas.jobs.int8 import check_compares
from dnas.shipping.export import export
from dnas.shipping.int8 import quantize
from dnas.shipping.interface import Interface
from dnas.shipping.onnx_digest import DIGEST, has_onnx_seal
from dnas.shipping.package import save_network
from dnas.shipping.spec import NetworkSpec, SpaceBuilder
from dnas.space import NasBench201Space
from dnas.system.errors import UserError
from dnas.task.regression import Regression

IMAGES = torch.randn(32, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """network.onnx of a wide random network, and the same in 8 bits."""
    run = tmp_path_factory.mktemp("int8")
    torch.manual_seed(0)
    architecture = NasBench201Space().random(torch.Generator().manual_seed(1))
    builder = SpaceBuilder(channels=16, cells=1, num_classes=3, in_channels=3)
    network = builder.network(architecture)
    network(IMAGES)  # running statistics other than those of a new network
    interface = Interface(("a", "b", "c"), ResizeRule(8), Normalization((0.5,) * 3, (0.2,) * 3))
    save_network(Run(run / "retrain"), network, NetworkSpec(architecture, builder, interface))
    export(run, formats=("onnx",))
    quantize(run / "export" / "network.onnx", run / "export" / "network_int8.onnx", IMAGES)
    return run / "export"


def test_it_is_refused_for_a_task_without_classes():
    with pytest.raises(UserError, match="the task is Regression: leave --int8 out"):
        check_compares(Regression())


def logits(path: Path) -> torch.Tensor:
    session = open_session(path.read_bytes(), 1)
    return torch.from_numpy(session.run(None, {session.get_inputs()[0].name: IMAGES.numpy()})[0])


def test_it_gives_nearly_the_same_numbers_in_a_fraction_of_the_size(folder):
    whole, small = logits(folder / "network.onnx"), logits(folder / "network_int8.onnx")
    assert 0 < (whole - small).norm() / whole.norm() < 0.2
    assert (folder / "network_int8.onnx").stat().st_size < 0.5 * (folder / "network.onnx").stat().st_size


def test_its_convolutions_have_eight_bit_weights(folder):
    graph = onnx.load(str(folder / "network_int8.onnx")).graph
    kinds = {entry.data_type for entry in graph.initializer if len(entry.dims) == 4}
    assert kinds == {onnx.TensorProto.INT8}


def test_it_holds_the_metadata_and_a_digest_of_its_own(folder):
    content = (folder / "network_int8.onnx").read_bytes()
    assert has_onnx_seal(content, source="network_int8.onnx")
    found, whole = (
        {entry.key: entry.value for entry in onnx.load(str(folder / name)).metadata_props}
        for name in ("network_int8.onnx", "network.onnx")
    )
    assert found.pop(DIGEST) != whole.pop(DIGEST)
    assert found == whole


def test_milliseconds_of_both_files_are_above_nothing(folder):
    for name in ("network.onnx", "network_int8.onnx"):
        assert Stopwatch("onnxruntime").of_file(folder / name, (IMAGES[:1],)) > 0
