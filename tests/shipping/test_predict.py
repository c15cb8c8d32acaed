"""dnas.predict: from image files to names of classes."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from torch import nn

from dnas.core.architecture import Architecture
from dnas.core.choice import Choice
from dnas.core.derive import derive
from dnas.core.run import Run
from dnas.data.digits import load_digits
from dnas.data.folder import load_folder
from dnas.data.image_batches import ImageBatches
from dnas.data.image_set import ImageSet
from dnas.data.normalization import Normalization, measure_normalization
from dnas.data.resize import ResizeRule
from dnas.shipping.export import export
from dnas.shipping.interface import Interface
from dnas.shipping.package import save_network
from dnas.shipping.predict import predict, predict_network, predict_onnx, read_inputs
from dnas.shipping.spec import ModuleBuilder, NetworkSpec, SpaceBuilder
from dnas.space import DartsSpace
from dnas.system.digest import NoDigest
from dnas.system.errors import UserError

GREY = Interface(("dark", "bright", "mid"), ResizeRule(8), Normalization((0.5,), (0.25,)))
ARCHITECTURE = DartsSpace(nodes=1).random(torch.Generator().manual_seed(0))
COLOURS = ("blue", "green", "red")


def inputs_of(images: ImageSet, normalization: Normalization) -> torch.Tensor:
    """What training sees, without augmentation."""
    batches = ImageBatches(
        images, batch_size=len(images), augmentation=None, normalization=normalization, seed=0, shuffle=False
    )
    return next(batches.epoch(0)).inputs


def write_photos(folder: Path) -> list[Path]:
    """Noisy photos of one dominant colour, of several formats, modes and sizes, in one folder per colour."""
    random = np.random.default_rng(0)
    paths = []
    for channel, colour in zip((2, 1, 0), COLOURS, strict=True):
        (folder / colour).mkdir(parents=True)
        for number, (suffix, size) in enumerate([("png", (16, 16)), ("jpg", (61, 40)), ("png", (20, 33))]):
            pixels = random.integers(0, 100, (*size, 3))
            pixels[..., channel] += 150
            image = Image.fromarray(pixels.astype(np.uint8))
            image = image.convert("RGBA") if number == 2 else image
            paths.append(folder / colour / f"{number}.{suffix}")
            image.save(paths[-1])
    return paths


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_photos(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, photos: list[Path]) -> Path:
    """A run with a network of the DARTS space that has been trained on the photos."""
    source = load_folder(photos[0].parents[1], size=16)
    normalization = measure_normalization(source.train)
    interface = Interface(source.train.class_names, source.rule, normalization)
    torch.manual_seed(0)
    builder = SpaceBuilder(channels=4, cells=2, num_classes=3, in_channels=3)
    network = builder.network(ARCHITECTURE)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    inputs = inputs_of(source.train, normalization)
    for _ in range(30):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(inputs), source.train.labels).backward()
        optimizer.step()
    folder = tmp_path_factory.mktemp("run")
    save_network(Run(folder / "retrain"), network, NetworkSpec(ARCHITECTURE, builder, interface))
    return folder


@pytest.fixture(scope="module")
def onnx_file(run: Path) -> Path:
    return export(run, formats=["onnx"])[0].path


class Brightness(nn.Module):
    """Logits of 'dark', 'bright' and 'mid' from the mean input of a grey image."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([-4.0, 4.0, 0.0]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(dim=(1, 2, 3))[:, None] * self.scale


def make_model() -> nn.Module:
    return nn.Sequential(Choice("filter", {"none": nn.Identity(), "blur": nn.AvgPool2d(3, 1, 1)}), Brightness())


def write_grey(path: Path, value: int, *, mode: str = "L", size: tuple[int, int] = (8, 8)) -> Path:
    Image.new("L", size, value).convert(mode).save(path)
    return path


def test_photos_are_classified_by_name_with_probabilities(run: Path, photos: list[Path]):
    predictions = predict(run, photos)
    assert [prediction.path for prediction in predictions] == photos
    assert [prediction.classes[0][0] for prediction in predictions] == [path.parent.name for path in photos]
    for prediction in predictions:
        probabilities = [probability for _, probability in prediction.classes]
        assert sum(probabilities) == pytest.approx(1.0)
        assert probabilities == sorted(probabilities, reverse=True)


def test_the_onnx_file_alone_gives_the_same_classes(run: Path, photos: list[Path], onnx_file: Path, tmp_path: Path):
    alone = tmp_path / "elsewhere.onnx"
    alone.write_bytes(onnx_file.read_bytes())
    for expected, got in zip(predict(run, photos), predict_onnx(alone, photos), strict=True):
        assert got.path == expected.path
        assert [name for name, _ in got.classes] == [name for name, _ in expected.classes]
        assert [share for _, share in got.classes] == pytest.approx([share for _, share in expected.classes], abs=1e-4)


def test_inputs_are_bit_identical_to_those_of_training(photos: list[Path]):
    source = load_folder(photos[0].parents[1], size=16)
    normalization = measure_normalization(source.train)
    interface = Interface(source.train.class_names, source.rule, normalization)
    assert torch.equal(read_inputs(photos, interface), inputs_of(source.train, normalization))


def test_digits_written_as_png_are_bit_identical_inputs(tmp_path: Path):
    pytest.importorskip("sklearn")
    digits = load_digits()
    digits = digits.subset(torch.arange(20), name="some digits")
    normalization = measure_normalization(digits)
    paths = [tmp_path / f"{number}.png" for number in range(len(digits))]
    for path, pixels in zip(paths, digits.images, strict=True):
        Image.fromarray(pixels[0].numpy()).save(path)
    interface = Interface(digits.class_names, ResizeRule(8), normalization)
    inputs = read_inputs(paths, interface)
    assert inputs.shape == (20, 1, 8, 8)
    assert torch.equal(inputs, inputs_of(digits, normalization))


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "1"])
def test_a_grey_network_takes_images_of_any_mode(tmp_path: Path, mode: str):
    paths = [write_grey(tmp_path / "a.png", 0, mode=mode), write_grey(tmp_path / "b.png", 255, mode=mode, size=(30, 9))]
    names = [prediction.classes[0][0] for prediction in predict_network(Brightness(), GREY, paths)]
    assert names == ["dark", "bright"]


def test_a_colour_network_takes_a_grey_image(run: Path, tmp_path: Path):
    path = write_grey(tmp_path / "grey.png", 128)
    (as_grey,) = predict(run, [path])
    (as_colour,) = predict(run, [write_grey(tmp_path / "colour.png", 128, mode="RGB")])
    assert as_grey.classes == as_colour.classes


def test_a_users_own_module_predicts_in_both_forms(tmp_path: Path):
    architecture = Architecture({"filter": "blur"})
    spec = NetworkSpec(architecture, ModuleBuilder(), GREY)
    save_network(Run(tmp_path / "retrain"), derive(make_model(), architecture), spec)
    (file,) = export(tmp_path, formats=["onnx"], model=make_model())
    images = [write_grey(tmp_path / "dark.png", 3), write_grey(tmp_path / "bright.png", 250, mode="RGB")]
    by_torch = predict(tmp_path, images, model=make_model())
    by_onnx = predict_onnx(file.path, images)
    for predictions in (by_torch, by_onnx):
        assert [prediction.classes[0][0] for prediction in predictions] == ["dark", "bright"]


def test_probabilities_are_the_softmax_of_the_logits(tmp_path: Path):
    (prediction,) = predict_network(Brightness(), GREY, [write_grey(tmp_path / "a.png", 255)], top=2)
    # (1 - 0.5) / 0.25 = 2, so the logits are -8, 8 and 0.
    shares = torch.tensor([-8.0, 8.0, 0.0]).softmax(0)
    assert prediction.path == tmp_path / "a.png"
    assert [name for name, _ in prediction.classes] == ["bright", "mid"]
    assert [share for _, share in prediction.classes] == pytest.approx([shares[1].item(), shares[2].item()])


def test_more_images_than_a_batch_keep_their_order(tmp_path: Path):
    values = [255 * (number % 3 == 0) for number in range(150)]
    paths = [write_grey(tmp_path / f"{number}.png", value) for number, value in enumerate(values)]
    predictions = predict_network(Brightness(), GREY, paths, top=1)
    assert [prediction.path for prediction in predictions] == paths
    assert [prediction.classes[0][0] for prediction in predictions] == ["bright" if v else "dark" for v in values]


def test_the_network_is_in_evaluation_mode_meanwhile_and_stays_in_its_own(tmp_path: Path):
    network = nn.Sequential(nn.Dropout(0.999), Brightness()).train()
    paths = [write_grey(tmp_path / "a.png", 255)]
    assert predict_network(network, GREY, paths) == predict_network(Brightness(), GREY, paths)
    assert network.training


def test_no_images_give_no_predictions():
    assert predict_network(Brightness(), GREY, []) == []


def test_unreadable_images_are_named(run: Path, onnx_file: Path, photos: list[Path], tmp_path: Path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(photos[0].read_bytes()[:200])
    for bad in (broken, tmp_path / "missing.png", tmp_path):
        for call, network in ((predict, run), (predict_onnx, onnx_file)):
            with pytest.raises((UserError, FileNotFoundError), match=str(bad)):
                call(network, [photos[0], bad])


@pytest.mark.parametrize("top", [0, -1])
def test_a_wrong_number_of_classes_to_name_is_refused(top: int):
    with pytest.raises(ValueError, match=f"must be 1 or more; got {top}"):
        predict_network(Brightness(), GREY, [], top=top)


def test_more_classes_than_there_are_name_all(tmp_path: Path):
    (prediction,) = predict_network(Brightness(), GREY, [write_grey(tmp_path / "a.png", 0)], top=10)
    assert [name for name, _ in prediction.classes] == ["dark", "mid", "bright"]


def test_a_network_with_other_classes_is_refused(tmp_path: Path):
    interface = Interface(("yes", "no"), GREY.resize, GREY.normalization)
    with pytest.raises(ValueError, match=r"logits of shape \(1, 3\) for 1 images; expected \(1, 2\)"):
        predict_network(Brightness(), interface, [write_grey(tmp_path / "a.png", 0)])


def test_a_missing_run_or_onnx_file_is_named(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="no run folder"):
        predict(tmp_path / "run", [])
    with pytest.raises(FileNotFoundError, match="There is no file"):
        predict_onnx(tmp_path / "network.onnx", [])


def test_without_onnxruntime_the_hint_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # what an import finds where it is not installed
    with pytest.raises(ImportError, match=r'pip install ".\[export\]" in a clone'):
        predict_onnx("network.onnx", [])


def test_a_damaged_onnx_file_is_named(onnx_file: Path, tmp_path: Path):
    damaged = tmp_path / "damaged.onnx"
    for data in (b"", b"not an ONNX file", onnx_file.read_bytes()[:5000]):
        damaged.write_bytes(data)
        with pytest.raises(ValueError, match=f"{damaged} is no ONNX file that ONNX Runtime can run: .+"):
            predict_onnx(damaged, [])


@pytest.mark.parametrize(("key", "value", "message"), [
    ("class_names", None, "does not say class_names in its metadata"),
    ("class_names", '["blue", 3]', "metadata: class_names must be a list of one or more names"),
    ("mean", "[0.5", "metadata mean is not JSON"),
    ("resize", '{"rule": "stretch", "size": 16}', "metadata: Unknown resize rule 'stretch'"),
    ("input", '{"channels": 1, "height": 16, "width": 16}', "metadata: input.channels is 1"),
])  # fmt: skip
def test_wrong_metadata_of_an_onnx_file_is_named(
    onnx_file: Path, tmp_path: Path, key: str, value: str | None, message: str
):
    proto = onnx.load(onnx_file)
    carried = {entry.key: entry.value for entry in proto.metadata_props}
    del carried[key]
    onnx.helper.set_model_props(proto, carried if value is None else {**carried, key: value})
    saved_without_digest(proto, tmp_path / "changed.onnx")
    with pytest.warns(NoDigest), pytest.raises(ValueError, match=message) as error:
        predict_onnx(tmp_path / "changed.onnx", [])
    assert str(tmp_path / "changed.onnx") in str(error.value)


class Broken(nn.Module):
    """Logits that are not finite for images above a brightness."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.where(x.mean(dim=(1, 2, 3))[:, None] > 0, self.value, 0.0).expand(-1, 3)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_logits_that_are_not_finite_are_refused_by_the_image(tmp_path: Path, value: float):
    images = [write_grey(tmp_path / "dark.png", 0), write_grey(tmp_path / "bright.png", 255)]
    with pytest.raises(UserError, match=r"gives NaN or infinity for the image .*bright\.png"):
        predict_network(Broken(value), GREY, images)


def test_logits_of_an_onnx_file_that_are_not_finite_are_refused(onnx_file: Path, photos: list[Path], tmp_path: Path):
    model = onnx.load(onnx_file)
    for weight in model.graph.initializer:
        if weight.data_type == onnx.TensorProto.FLOAT:
            values = np.full(list(weight.dims), np.nan, np.float32)
            weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    path = saved_without_digest(model, tmp_path / "nan.onnx")
    with pytest.warns(NoDigest), pytest.raises(UserError, match="gives NaN or infinity for the image"):
        predict_onnx(path, photos)


def saved_without_digest(model: onnx.ModelProto, path: Path) -> Path:
    """As dnas wrote ONNX files before, or as another program leaves one that was told to drop the entry."""
    kept = {entry.key: entry.value for entry in model.metadata_props if entry.key != "dnas_sha256"}
    onnx.helper.set_model_props(model, kept)
    path.write_bytes(model.SerializeToString())
    return path


def test_an_onnx_file_without_a_digest_is_run_with_one_line(onnx_file: Path, photos: list[Path], tmp_path: Path):
    path = saved_without_digest(onnx.load(onnx_file), tmp_path / "old.onnx")
    with pytest.warns(NoDigest, match=r"old\.onnx was written without a digest") as warned:
        found = predict_onnx(path, photos)
    assert len(warned) == 1
    assert found == predict_onnx(onnx_file, photos)


def test_no_flipped_bit_of_an_onnx_file_gives_other_predictions(onnx_file: Path, tmp_path: Path):
    content = onnx_file.read_bytes()
    entry = range(8 * (content.rindex(b"dnas_sha256") - 4), 8 * (content.rindex(b"dnas_sha256") + 14))
    anywhere = np.random.default_rng(0).integers(0, 8 * len(content), 200)
    path = tmp_path / "damaged.onnx"
    for place in (*entry, *anywhere.tolist()):
        damaged = bytearray(content)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NoDigest)
            with pytest.raises(UserError, match=r"damaged\.onnx"):
                predict_onnx(path, [])


def test_an_onnx_file_reads_no_other_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "secret.bin").write_bytes(bytes(16))
    monkeypatch.chdir(tmp_path)
    weight = onnx.TensorProto(name="w", data_type=onnx.TensorProto.FLOAT, dims=[4])
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="secret.bin")
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [4]) for name in ("x", "y")]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Add", ["x", "w"], ["y"])], "g", ends[:1], ends[1:], [weight])
    opset = onnx.helper.make_opsetid("", 18)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=9)
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(UserError, match=r"model\.onnx is no ONNX file that ONNX Runtime can run"):
        predict_onnx(tmp_path / "model.onnx", [])
