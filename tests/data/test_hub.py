"""Hub and parquet data sets: columns by type, parts by name, and clear words when something is missing."""

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from dnas.data import load_source, open_source

datasets = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def _offline_with_its_own_cache(tmp_path_factory, monkeypatch):
    import huggingface_hub

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()


def picture(shade: int) -> Image.Image:
    return Image.new("RGB", (12, 10), (shade, 0, 200))


def png(shade: int) -> bytes:
    stream = io.BytesIO()
    picture(shade).save(stream, "PNG")
    return stream.getvalue()


def write(file: Path, columns: dict[str, list[Any]], **features: Any) -> Path:
    """A parquet file as `datasets` writes it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    datasets.Dataset.from_dict(columns, features=datasets.Features(features)).to_parquet(str(file))
    return file


def write_pets(file: Path, labels: list[int]) -> Path:
    return write(
        file,
        {"image": [picture(i) for i in range(len(labels))], "label": labels},
        image=datasets.Image(),
        label=datasets.ClassLabel(names=["cat", "dog"]),
    )


def test_a_folder_of_parquet_files_gives_its_parts_and_class_names(tmp_path):
    write_pets(tmp_path / "data" / "train-00000-of-00001.parquet", [0, 1, 1, 0])
    write_pets(tmp_path / "data" / "test-00000-of-00001.parquet", [1, 0])
    source = load_source(str(tmp_path))
    assert source.train.images.shape == (4, 3, 10, 10)
    assert source.train.images[:, 0, 0, 0].tolist() == [0, 1, 2, 3]
    assert source.train.labels.tolist() == [0, 1, 1, 0]
    assert source.train.class_names == ("cat", "dog")
    assert source.train.paths[2] == "train[2]"
    assert source.test is not None
    assert source.test.labels.tolist() == [1, 0]


def test_a_single_file_is_all_training_data(tmp_path):
    file = write_pets(tmp_path / "pets.parquet", [0, 1])
    assert load_source(str(file), size=8).test is None
    assert load_source(f"hf:{file}", size=8).train.size == (8, 8)


def test_a_validation_part_is_the_test_part_where_there_is_no_other(tmp_path):
    write_pets(tmp_path / "train.parquet", [0, 1])
    write_pets(tmp_path / "validation.parquet", [0])
    source = load_source(str(tmp_path))
    assert source.test is not None
    assert "'validation' is the test part" in source.notes[0]


def test_plain_parquet_with_text_labels_is_understood(tmp_path):
    table = pa.table(
        {
            "photo": [{"bytes": png(i), "path": None} for i in range(3)],
            "animal": ["dog", "ant", "dog"],
            "score": [0.5, 0.1, 0.2],
        }
    )
    pq.write_table(table, tmp_path / "plain.parquet")
    train = load_source(str(tmp_path / "plain.parquet")).train
    assert train.class_names == ("ant", "dog")
    assert train.labels.tolist() == [1, 0, 1]


def test_numbers_as_labels_are_sorted_as_numbers(tmp_path):
    columns = {"image": [picture(i) for i in range(3)], "digit": [10, 9, 2]}
    file = write(tmp_path / "n.parquet", columns, image=datasets.Image(), digit=datasets.Value("int64"))
    train = load_source(str(file)).train
    assert train.class_names == ("2", "9", "10")
    assert train.labels.tolist() == [2, 1, 0]


def test_of_several_label_columns_one_must_be_named(tmp_path):
    columns = {"image": [picture(1), picture(2)], "fine": [0, 1], "coarse": [1, 0], "id": ["a", "b"]}
    label = datasets.ClassLabel(names=["x", "y"])
    file = write(
        tmp_path / "c.parquet", columns, image=datasets.Image(), fine=label, coarse=label, id=datasets.Value("string")
    )
    with pytest.raises(
        ValueError, match=r"2 label columns \(fine, coarse\); set label_column to one of .*image: Image"
    ):
        load_source(str(file))
    assert load_source(str(file), label_column="coarse").train.labels.tolist() == [1, 0]
    assert load_source(str(file), label_column="id").train.class_names == ("a", "b")
    with pytest.raises(ValueError, match="has no label column 'colour'"):
        load_source(str(file), label_column="colour")


def test_without_an_image_or_a_label_column_the_columns_are_listed(tmp_path):
    text = write(tmp_path / "t.parquet", {"text": ["a"]}, text=datasets.Value("string"))
    with pytest.raises(ValueError, match=r"has no image column; set image_column to one of its columns: text: string"):
        load_source(str(text))
    unlabelled = write(tmp_path / "u.parquet", {"image": [picture(1)]}, image=datasets.Image())
    with pytest.raises(ValueError, match=r"has no label column; .* image: Image"):
        load_source(str(unlabelled))


def test_a_test_part_without_labels_is_left_out(tmp_path):
    write_pets(tmp_path / "train.parquet", [0, 1])
    write_pets(tmp_path / "test.parquet", [-1, -1])
    source = load_source(str(tmp_path))
    assert source.test is None
    assert "has no labels and is left out" in source.notes[0]


def test_a_training_image_without_a_label_or_of_no_class_is_told(tmp_path):
    with pytest.raises(ValueError, match="row 1 of 'train' has no label"):
        load_source(str(write_pets(tmp_path / "a.parquet", [0, -1, 1])))
    with pytest.raises(ValueError, match="has no training image of class 'dog'"):
        load_source(str(write_pets(tmp_path / "b.parquet", [0, 0])))


def test_a_test_label_that_training_does_not_have_is_told(tmp_path):
    for part, labels in (("train", ["a", "b"]), ("test", ["a", "c"])):
        columns = {"image": [picture(1), picture(2)], "label": labels}
        write(tmp_path / f"{part}.parquet", columns, image=datasets.Image(), label=datasets.Value("string"))
    with pytest.raises(ValueError, match="the part 'test' has the label 'c', which no training image has"):
        load_source(str(tmp_path))


def test_a_broken_image_is_named_by_its_row(tmp_path):
    table = pa.table({"image": [{"bytes": b"x", "path": None}, {"bytes": png(1), "path": None}], "label": [0, 1]})
    pq.write_table(table, tmp_path / "x.parquet")
    with pytest.raises(ValueError, match=r"Cannot read the image train\[0\]"):
        load_source(str(tmp_path / "x.parquet"), size=8)


def test_a_row_without_an_image_is_told(tmp_path):
    table = pa.table({"image": [{"bytes": png(1), "path": None}] * 2 + [None], "label": [0, 1, 1]})
    pq.write_table(table, tmp_path / "x.parquet")
    with pytest.raises(ValueError, match="Row 2 of 'train' has no image"):
        load_source(str(tmp_path / "x.parquet"), size=8)


def test_a_file_that_is_no_parquet_is_named(tmp_path):
    (tmp_path / "x.parquet").write_bytes(b"PAR1 but not really")
    with pytest.raises(ValueError, match=r"Cannot load the data set '.*x\.parquet'"):
        load_source(str(tmp_path / "x.parquet"))


def test_parquet_files_of_unknown_part_beside_others_are_told(tmp_path):
    write_pets(tmp_path / "train.parquet", [0, 1])
    write_pets(tmp_path / "more.parquet", [0, 1])
    with pytest.raises(ValueError, match=r"more\.parquet could belong to any part"):
        load_source(str(tmp_path))


def test_a_parquet_file_beside_images_is_not_the_data(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        picture(1).save(tmp_path / name / "1.png")
    write_pets(tmp_path / "metadata.parquet", [0, 1])
    assert open_source(str(tmp_path)).num_train == 2


def test_without_a_network_the_hub_gives_one_clear_line():
    with pytest.raises(
        ValueError, match=r"Cannot load the data set 'someone/something': .* network connection"
    ) as error:
        load_source("hf:someone/something")
    assert "\n" not in str(error.value)


def test_a_missing_parquet_file_is_not_looked_for_on_the_hub(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no file or folder"):
        load_source(f"hf:{tmp_path / 'gone'}")
    with pytest.raises(FileNotFoundError, match="There is no file or folder"):
        load_source(f"{tmp_path / 'gone.parquet'}")


def test_a_row_that_names_a_file_of_this_machine_is_refused(tmp_path):
    (tmp_path / "private.png").write_bytes(png(1))
    rows = [{"bytes": png(0), "path": None}, {"bytes": None, "path": str(tmp_path / "private.png")}]
    pq.write_table(pa.table({"image": rows, "label": [0, 1]}), tmp_path / "x.parquet")
    with pytest.raises(ValueError, match="Row 1 of 'train' names a file instead of holding an image"):
        load_source(str(tmp_path / "x.parquet"), size=8)
