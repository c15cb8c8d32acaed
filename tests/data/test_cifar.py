"""CIFAR from its standard files, whose pickles are read without an unpickler."""

import io
import os
import pickle
import struct
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from dnas.data import load_cifar, load_source, measure_normalization

NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def random_images(count: int, num_classes: int = 10, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images `(count, 3, 32, 32)` and labels in which every class occurs."""
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)
    return pixels, np.arange(count) % num_classes


def write_python10(folder: Path, images, labels, test_images, test_labels, protocol: int = 2) -> None:
    """CIFAR-10's python form: five batches with byte-string keys."""
    folder.mkdir(parents=True, exist_ok=True)

    def write(name: str, pixels, classes) -> None:
        content = {b"data": pixels.reshape(len(pixels), -1), b"labels": classes.tolist(), b"batch_label": b"batch"}
        (folder / name).write_bytes(pickle.dumps(content, protocol))

    for i, (pixels, classes) in enumerate(zip(np.split(images, 5), np.split(labels, 5), strict=True), 1):
        write(f"data_batch_{i}", pixels, classes)
    write("test_batch", test_images, test_labels)
    meta = {b"label_names": [name.encode() for name in NAMES], b"num_vis": 3072}
    (folder / "batches.meta").write_bytes(pickle.dumps(meta, protocol))


def write_binary(file: Path, images, *labels) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    columns = [np.asarray(column, dtype=np.uint8)[:, None] for column in labels]
    np.concatenate([*columns, images.reshape(len(images), -1)], axis=1).tofile(file)


@pytest.mark.parametrize("protocol", range(6))
def test_cifar10_in_python_form_comes_back_as_written(tmp_path, protocol):
    images, labels = random_images(100)
    test_images, test_labels = random_images(20, seed=1)
    write_python10(tmp_path / "cifar-10-batches-py", images, labels, test_images, test_labels, protocol)
    train, test = load_cifar(tmp_path)  # one folder up, as the archive unpacks
    assert torch.equal(train.images, torch.from_numpy(images))
    assert train.labels.tolist() == labels.tolist()
    assert torch.equal(test.images, torch.from_numpy(test_images))
    assert train.class_names == tuple(NAMES)
    assert train.paths[99] == "train/00099"
    assert test.name == "CIFAR-10 test"


def test_a_pickle_of_python_2_and_numpy_1_is_read(tmp_path):
    # As the published files are: protocol 2, str for bytes, numpy.core. Written out by hand, with no numpy 1 at hand.
    def text(value: bytes) -> bytes:
        return b"U" + bytes([len(value)]) + value  # SHORT_BINSTRING, which Python 3 cannot write

    images, labels = random_images(10)
    raw = images.tobytes()
    array = b"".join(
        [
            b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85" + text(b"b") + b"tR",
            b"(K\x01K\x0aM\x00\x0c\x86cnumpy\ndtype\n(" + text(b"u1") + b"K\x00K\x01tR",
            b"(K\x03" + text(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb",
            b"\x89T" + struct.pack("<i", len(raw)) + raw + b"tb",
        ]
    )
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    content = b"\x80\x02}(" + text(b"data") + array + text(b"labels") + numbers + b"u."
    for name in ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"):
        (tmp_path / name).write_bytes(content)
    train, test = load_cifar(tmp_path)
    assert torch.equal(test.images, torch.from_numpy(images))
    assert train.labels.tolist() == labels.tolist() * 5
    assert train.class_names == tuple("0123456789")  # no batches.meta


def test_cifar10_in_binary_form_comes_back_as_written(tmp_path):
    images, labels = random_images(50)
    for i in range(5):
        write_binary(tmp_path / f"data_batch_{i + 1}.bin", images[i * 10 : i * 10 + 10], labels[i * 10 : i * 10 + 10])
    write_binary(tmp_path / "test_batch.bin", images[:5], labels[:5])
    (tmp_path / "batches.meta.txt").write_text("\n".join(NAMES) + "\n\n")
    train, test = load_cifar(tmp_path)
    assert torch.equal(train.images, torch.from_numpy(images))
    assert train.labels.tolist() == labels.tolist()
    assert train.class_names == tuple(NAMES)
    assert len(test) == 5


def test_cifar100_gets_its_fine_labels_in_both_forms(tmp_path):
    images, fine = random_images(100, num_classes=100)
    coarse = fine // 5
    names = [f"thing{i}" for i in range(100)]
    for part in ("train", "test"):
        write_binary(tmp_path / "binary" / f"{part}.bin", images, coarse, fine)
        content = {"data": images.reshape(100, -1), "fine_labels": fine.tolist(), "coarse_labels": coarse.tolist()}
        (tmp_path / "python").mkdir(exist_ok=True)
        (tmp_path / "python" / part).write_bytes(pickle.dumps(content))
    (tmp_path / "binary" / "fine_label_names.txt").write_text("\n".join(names))
    (tmp_path / "python" / "meta").write_bytes(pickle.dumps({"fine_label_names": names}))
    for form in ("python", "binary"):
        source = load_source(str(tmp_path / form))
        assert torch.equal(source.train.images, torch.from_numpy(images))
        assert source.train.labels.tolist() == fine.tolist()
        assert source.train.class_names == tuple(names)
        assert source.test is not None


def test_a_pickle_that_wants_to_run_something_is_refused(tmp_path):
    class Harm:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'harmed'}",)

    write_python10(tmp_path, *random_images(50), *random_images(10))
    (tmp_path / "data_batch_3").write_bytes(pickle.dumps({b"data": Harm()}))
    with pytest.raises(ValueError, match=r"data_batch_3 is no python file of CIFAR.*: it asks for (posix|nt)\.system"):
        load_cifar(tmp_path)
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps({b"data": np.zeros((2, 3072), np.uint8), b"labels": [0]}), "no list 'labels' with one number"),
        (
            pickle.dumps({b"data": np.zeros((2, 3), np.uint8), b"labels": [0, 1]}),
            r"no 'data' array of \(images, 3072\)",
        ),
        (
            pickle.dumps({b"data": np.zeros((1, 3072), np.uint8), b"labels": [10]}),
            "labels from 10 to 10; CIFAR-10 has 0",
        ),
        (pickle.dumps([1, 2]), "it holds a list, not a dict"),
        (pickle.dumps({b"data": 1})[:-4], "is no python file of CIFAR"),
        (b"hello", "is no python file of CIFAR"),
        (b"", "is no python file of CIFAR"),
    ],
)
def test_a_damaged_python_file_is_named(tmp_path, content, message):
    write_python10(tmp_path, *random_images(50), *random_images(10))
    (tmp_path / "test_batch").write_bytes(content)
    with pytest.raises(ValueError, match=rf"test_batch .*{message}"):
        load_cifar(tmp_path)


def test_a_binary_file_of_a_wrong_length_is_named(tmp_path):
    write_binary(tmp_path / "train.bin", *random_images(5), np.zeros(5))
    write_binary(tmp_path / "test.bin", *random_images(5), np.zeros(5))
    (tmp_path / "test.bin").write_bytes((tmp_path / "test.bin").read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"test\.bin has 15369 bytes; .* multiple of 3074"):
        load_cifar(tmp_path)


def test_missing_files_are_listed(tmp_path):
    write_python10(tmp_path, *random_images(50), *random_images(10))
    (tmp_path / "data_batch_4").unlink()
    (tmp_path / "test_batch").unlink()
    with pytest.raises(FileNotFoundError, match="these files are missing: data_batch_4, test_batch"):
        load_cifar(tmp_path)
    with pytest.raises(FileNotFoundError, match="holds no CIFAR files"):
        load_cifar(tmp_path / "nowhere")


def test_a_wrong_list_of_names_is_told(tmp_path):
    write_python10(tmp_path, *random_images(50), *random_images(10))
    (tmp_path / "batches.meta").write_bytes(pickle.dumps({"label_names": ["a", "b"]}))
    with pytest.raises(ValueError, match=r"batches\.meta does not list the 10 class names"):
        load_cifar(tmp_path)


def real_cifar(*names: str) -> list[Path]:
    """Files of the folder that DNAS_DATA names."""
    folder = os.environ.get("DNAS_DATA")
    if not folder:
        pytest.skip("DNAS_DATA does not name a folder with the real CIFAR-10")
    files = [Path(folder) / name for name in names]
    if not all(file.is_file() for file in files):
        pytest.skip(f"{', '.join(names)} not in DNAS_DATA")
    return files


def test_200_real_images_come_back_from_both_forms(tmp_path):
    from PIL import Image

    (file,) = real_cifar("cifar10_webp_partA.npz")
    with np.load(file) as packed:
        strip = Image.open(io.BytesIO(packed["blob"][: packed["len"][0]].tobytes())).convert("RGB")
        start, labels = int(packed["start"][0]), packed[f"y_{packed['split'][0]}"]
    images = np.asarray(strip).reshape(-1, 32, 32, 3)[:200].transpose(0, 3, 1, 2).copy()
    labels = labels[start : start + 200].astype(np.int64)
    write_python10(tmp_path / "python", images, labels, images[:50], labels[:50])
    for i in range(5):
        part = slice(i * 40, i * 40 + 40)
        write_binary(tmp_path / "binary" / f"data_batch_{i + 1}.bin", images[part], labels[part])
    write_binary(tmp_path / "binary" / "test_batch.bin", images[:50], labels[:50])
    for form in ("python", "binary"):
        train, test = load_cifar(tmp_path / form)
        assert torch.equal(train.images, torch.from_numpy(images))
        assert train.labels.tolist() == labels.tolist()
        assert len(test) == 50


@pytest.mark.slow
def test_the_measured_normalization_of_cifar10_is_the_published_one():
    files = real_cifar("cifar10_webp_partA.npz", "cifar10_webp_partB.npz", "load_grids.py")
    sys.path.insert(0, str(files[2].parent))
    try:
        import load_grids  # pyright: ignore[reportMissingImports]
    finally:
        sys.path.pop(0)
    data = load_grids.load_webp_parts(*files[:2])
    from dnas.data import ImageSet

    images = torch.from_numpy(data["x_train"]).permute(0, 3, 1, 2)
    measured = measure_normalization(ImageSet(images, torch.from_numpy(data["y_train"]).long(), tuple(NAMES), "CIFAR"))
    # The constants in the source of DARTS.
    assert measured.mean == pytest.approx((0.49139968, 0.48215827, 0.44653124), abs=1e-6)
    assert measured.std == pytest.approx((0.24703233, 0.24348505, 0.26158768), abs=1e-6)


def test_an_archive_has_to_be_unpacked_first(tmp_path):
    with zipfile.ZipFile(tmp_path / "cifar.zip", "w") as archive:
        archive.writestr("data_batch_1", b"")
    with pytest.raises(ValueError, match=r"cifar\.zip is a file that has to be unpacked first"):
        load_source(str(tmp_path / "cifar.zip"))
