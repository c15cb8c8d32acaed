"""Image folders: what is found, what is ignored, and what is said when something is wrong."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dnas.data import load_folder, open_source
from dnas.data.folder import open_folder
from dnas.system.errors import UserError


def save(path: Path, colour=(200, 30, 60), size: tuple[int, int] = (20, 16)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


def pets(folder: Path, count: int = 2) -> Path:
    for i in range(count):
        save(folder / "cat" / f"{i}.png", (200, i, 0))
        save(folder / "dog" / f"{i}.jpg", (0, i, 200))
    return folder


def test_each_subfolder_is_a_class(tmp_path):
    source = load_folder(pets(tmp_path), size=8)
    assert source.train.images.shape == (4, 3, 8, 8)
    assert source.train.class_names == ("cat", "dog")
    assert source.train.labels.tolist() == [0, 0, 1, 1]
    assert source.train.paths == ("cat/0.png", "cat/1.png", "dog/0.jpg", "dog/1.jpg")
    assert source.train.images[1, :, 0, 0].tolist() == [200, 1, 0]
    assert source.test is None
    assert source.rule.size == 8
    assert source.notes == ()


def test_loading_twice_gives_the_same(tmp_path):
    first, second = (load_folder(pets(tmp_path), size=8).train for _ in range(2))
    assert torch.equal(first.images, second.images)
    assert first.paths == second.paths


def test_without_a_size_the_median_shorter_side_is_taken_up_to_64(tmp_path):
    assert load_folder(pets(tmp_path)).train.size == (16, 16)
    save(tmp_path / "big" / "cat" / "1.jpg", size=(300, 200))
    save(tmp_path / "big" / "dog" / "1.jpg", size=(200, 300))
    assert open_source(str(tmp_path / "big")).native_size == 200
    assert load_folder(tmp_path / "big").train.size == (64, 64)


def test_images_at_any_depth_and_of_any_extension_case_count(tmp_path):
    pets(tmp_path)
    save(tmp_path / "cat" / "2024" / "may" / "9.PNG")
    assert "cat/2024/may/9.PNG" in load_folder(tmp_path, size=8).train.paths


def test_other_files_are_ignored_counted_and_reported(tmp_path):
    pets(tmp_path)
    for name in ("cat/.hidden.png", "cat/notes.txt", "dog/a.txt", "README", ".DS_Store", "cat/phone.heic"):
        (tmp_path / name).write_text("not an image")
    save(tmp_path / "loose.png")
    save(tmp_path / ".thumbnails" / "x.png")
    source = load_folder(tmp_path, size=8)
    assert len(source.train) == 4
    assert source.notes == (
        "7 files ignored (.heic: 1, .txt: 2, hidden: 2, images outside the class folders: 1, no extension: 1).",
    )


def test_train_and_test_subfolders_are_the_parts(tmp_path):
    pets(tmp_path / "train", 3)
    save(tmp_path / "test" / "dog" / "x.png", (1, 2, 3))
    source = load_folder(tmp_path, size=8)
    assert len(source.train) == 6
    assert source.train.paths[0] == "train/cat/0.png"
    assert source.test is not None
    assert source.test.labels.tolist() == [1]
    assert source.test.paths == ("test/dog/x.png",)


def test_a_val_subfolder_is_the_test_part_where_there_is_no_other(tmp_path):
    pets(tmp_path / "train")
    pets(tmp_path / "val", 1)
    source = load_folder(tmp_path, size=8)
    assert source.test is not None
    assert len(source.test) == 2
    assert source.notes == ("There is no test/ folder: val/ is the test part.",)


def test_a_val_subfolder_joins_the_training_images_where_there_is_a_test_part(tmp_path):
    for part, count in (("train", 2), ("val", 3), ("test", 1)):
        pets(tmp_path / part, count)
    source = load_folder(tmp_path, size=8)
    assert len(source.train) == 10
    assert source.test is not None
    assert len(source.test) == 2
    assert "val/ is used with train/" in source.notes[0]


def test_a_class_may_be_called_train(tmp_path):
    save(tmp_path / "train" / "1.png")
    save(tmp_path / "car" / "1.png")
    assert load_folder(tmp_path, size=8).train.class_names == ("car", "train")


def test_a_test_folder_without_classes_is_left_out_and_reported(tmp_path):
    pets(tmp_path / "train")
    save(tmp_path / "test" / "1.png")
    source = load_folder(tmp_path, size=8)
    assert source.test is None
    assert "no subfolder of images per class and is left out" in source.notes[0]


def test_all_grey_images_give_one_channel_and_a_coloured_one_three(tmp_path):
    for name, shade in (("a/1.png", 10), ("b/1.png", 250)):
        save(tmp_path / name, (shade,) * 3)
    assert load_folder(tmp_path, size=8).train.images[:, :, 0, 0].tolist() == [[10], [250]]
    save(tmp_path / "b" / "2.png", (1, 2, 3))
    assert load_folder(tmp_path, size=8).train.num_channels == 3


def test_progress_counts_both_parts(tmp_path):
    pets(tmp_path / "train")
    pets(tmp_path / "test", 1)
    seen = []
    load_folder(tmp_path, size=8, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(i, 6) for i in range(1, 7)]


def test_a_missing_folder_is_told_with_what_to_expect(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"There is no folder .*nowhere. Expected .* photos/cat/1.jpg"):
        load_folder(tmp_path / "nowhere")


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "x.csv").write_text("")
    with pytest.raises(ValueError, match=r"x\.csv is a file; expected a folder"):
        load_folder(tmp_path / "x.csv")


def test_a_folder_without_subfolders_has_no_class(tmp_path):
    save(tmp_path / "1.png")
    with pytest.raises(ValueError, match="has no subfolders, so there is no class"):
        load_folder(tmp_path)


def test_one_class_is_too_few(tmp_path):
    save(tmp_path / "cat" / "1.png")
    with pytest.raises(ValueError, match="has one class, 'cat'; a classification data set needs at least two"):
        load_folder(tmp_path)


def test_an_empty_class_is_named_with_what_was_ignored_in_it(tmp_path):
    save(tmp_path / "cat" / "1.png")
    (tmp_path / "dog").mkdir()
    (tmp_path / "dog" / "1.heic").write_text("")
    with pytest.raises(ValueError, match=r"dog holds no image \(.heic: 1\). Known extensions: .*\.png"):
        load_folder(tmp_path)


def test_a_test_class_that_training_does_not_have_is_named(tmp_path):
    pets(tmp_path / "train")
    save(tmp_path / "test" / "horse" / "1.png")
    with pytest.raises(ValueError, match="has the class 'horse', which the training images do not have"):
        load_folder(tmp_path)


def test_a_truncated_image_is_named(tmp_path):
    pets(tmp_path)
    noise = np.random.default_rng(0).integers(0, 256, (50, 50, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "dog" / "broken.jpg")
    content = (tmp_path / "dog" / "broken.jpg").read_bytes()
    (tmp_path / "dog" / "broken.jpg").write_bytes(content[:900])
    with pytest.raises(ValueError, match=r"Cannot read the image .*dog/broken\.jpg: .*Repair, replace or remove"):
        load_folder(tmp_path, size=8)


def test_a_class_whose_name_is_no_utf8_is_refused_before_anything_starts(tmp_path):
    pets(tmp_path)
    old = os.fsencode(tmp_path) + b"/caf\xe9"
    os.mkdir(old)
    (tmp_path / "cat" / "0.png").rename(os.fsdecode(old + b"/1.png"))
    with pytest.raises(ValueError, match=r"the class 'caf\\\\xe9' has a name that is no UTF-8.*Rename its folder"):
        open_source(str(tmp_path))


def test_an_image_whose_name_is_no_utf8_is_listed_with_its_bytes_escaped(tmp_path):
    pets(tmp_path)
    (tmp_path / "cat" / "0.png").rename(os.fsdecode(os.fsencode(tmp_path) + b"/cat/\xe9.png"))
    assert load_folder(tmp_path, size=8).train.paths[1] == "cat/\\xe9.png"


def test_a_class_with_control_characters_in_its_name_is_refused(tmp_path):
    pets(tmp_path)
    (tmp_path / "dog").rename(tmp_path / "\x1b[31mdog")
    with pytest.raises(ValueError, match="has a name with control characters"):
        open_source(str(tmp_path))


def test_links_in_a_circle_are_no_images(tmp_path):
    pets(tmp_path)
    (tmp_path / "cat" / "loop").symlink_to(tmp_path / "cat", target_is_directory=True)
    (tmp_path / "cat" / "a.png").symlink_to("a.png")
    with pytest.raises(ValueError, match=r"a\.png.: its symbolic links go in a circle"):
        load_folder(tmp_path, size=8)


def unreadable(folder: Path) -> list[Path]:
    """Five images, each of which cannot be read for another reason, beside four that can."""
    pets(folder)
    empty, text, cut, dead, locked_in = (folder / "cat" / f"bad{number}.png" for number in range(5))
    empty.touch()
    text.write_text("no image")
    cut.write_bytes((folder / "cat" / "0.png").read_bytes()[:60])
    dead.symlink_to(folder / "gone.png")
    locked_in.symlink_to(locked_in.name)
    return [empty, text, cut, dead, locked_in]


def test_all_images_that_cannot_be_read_are_named_at_once(tmp_path):
    bad = unreadable(tmp_path)
    with pytest.raises(UserError) as caught:
        load_folder(tmp_path, size=8)
    assert str(caught.value).startswith("5 images cannot be read; --skip_unreadable true leaves them out. (1) ")
    assert [path.name for path in bad if str(path) in str(caught.value)] == [path.name for path in bad]


def test_a_single_image_that_cannot_be_read_is_told_with_how_to_leave_it_out(tmp_path):
    pets(tmp_path)
    (tmp_path / "cat" / "empty.png").touch()
    with pytest.raises(UserError, match=r"empty\.png.*\. --skip_unreadable true leaves it out\.$"):
        load_folder(tmp_path, size=8)


def test_images_that_cannot_be_read_are_left_out_and_counted_where_that_is_asked_for(tmp_path):
    pets(tmp_path / "whole")
    whole = load_folder(tmp_path / "whole", size=8)
    bad = unreadable(tmp_path / "some")
    source = open_folder(tmp_path / "some").load(size=8, skip_unreadable=True)
    assert source.unreadable == tuple(f"cat/{path.name}" for path in bad)
    assert source.notes[-1].startswith("5 images cannot be read and left out: cat/bad0.png, ")
    assert source.train.paths == whole.train.paths
    assert torch.equal(source.train.images, whole.train.images)
    assert torch.equal(source.train.labels, whole.train.labels)


def test_a_class_without_a_readable_image_is_named_though_others_are_left_out(tmp_path):
    for path in unreadable(tmp_path):
        path.rename(tmp_path / "dog" / path.name)
    for path in (tmp_path / "cat").iterdir():
        path.write_bytes(b"")
    with pytest.raises(UserError, match="no training image of class 'cat'"):
        open_folder(tmp_path).load(size=8, skip_unreadable=True)


def test_class_names_in_any_script_come_out_as_they_are(tmp_path):
    names = ["кот", "собака", "猫", "كلب", "naïve", "🐈", "=SUM(A1)", "[red]x", "a b"]
    for name in names:
        save(tmp_path / name / f"{name}.png")
    source = load_folder(tmp_path, size=8)
    assert source.train.class_names == tuple(sorted(names))
    assert source.train.paths == tuple(f"{name}/{name}.png" for name in sorted(names))


def test_a_link_to_a_folder_above_it_is_not_followed_in_a_circle(tmp_path):
    pets(tmp_path)
    (tmp_path / "cat" / "up").symlink_to(tmp_path, target_is_directory=True)
    assert len(load_folder(tmp_path, size=8).train) == 4


def test_an_animated_image_is_its_first_frame_and_an_empty_folder_in_a_class_is_nothing(tmp_path):
    pets(tmp_path)
    (tmp_path / "cat" / "empty").mkdir()
    frames = [Image.new("RGB", (8, 8), colour) for colour in ((200, 0, 0), (0, 0, 200))]
    for kind in ("gif", "png", "webp"):
        frames[0].save(tmp_path / "dog" / f"x.{kind}", save_all=True, append_images=frames[1:], lossless=True)
    images = load_folder(tmp_path, size=8).train
    found = [image for image, path in zip(images.images, images.paths, strict=True) if "x." in path]
    assert [image[:, 0, 0].tolist() for image in found] == [[200, 0, 0]] * 3
