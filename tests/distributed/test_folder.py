"""The other ranks work in a copy of the first one's folder."""

from pathlib import Path

from dnas.distributed.folder import folder_of_rank
from dnas.distributed.ranks import ranks
from dnas.distributed.together import together
from tests.support.ranks import on_ranks


def working(folder: Path) -> tuple[str, bool, list[str]]:
    """What a rank reads, whether it works in the folder itself, and what lies in its own."""
    with together(), folder_of_rank(folder) as own, folder_of_rank(own / "inside") as inside:
        assert inside == own / "inside"
        (own / f"by_{ranks().rank}").write_text("")
        found = sorted(str(path.relative_to(own)) for path in own.rglob("*") if path.is_file())
        return (own / "deep" / "file").read_text(), own == folder, found


def test_every_rank_finds_the_files_and_only_the_first_writes_them(tmp_path: Path):
    for name in ("deep/file", "tensorboard/events", ".lock"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    first, second = on_ranks(2, working, tmp_path)
    assert first == ("deep/file", True, [".lock", "by_0", "deep/file", "tensorboard/events"])
    assert second == ("deep/file", False, ["by_1", "deep/file"])
    assert not (tmp_path / "by_1").exists()
