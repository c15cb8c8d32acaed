"""Every parser of files that are not the user's own, with a valid input for each, and ways to damage inputs."""

from __future__ import annotations

import io
import json
import pickle
import random
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dnas.core.architecture import Architecture
from dnas.core.run import Run
from dnas.data import ResizeRule, decode_image, load_text, open_source
from dnas.data.cifar import load_cifar
from dnas.formats import read_genotype, read_mmrazor, read_nasbench201, write_genotype, write_mmrazor
from dnas.formats.nasbench201 import write_nasbench201
from dnas.formats.read import read_architecture
from dnas.shipping.spec import NetworkSpec
from dnas.space import DartsSpace, NasBench201Space
from dnas.system.errors import UserError
from dnas.system.reading import parse_json, parse_yaml
from dnas.system.tensor_file import load_tensors, save_tensors
from dnas.table import Table, load_table, save_table
from tests.support.network_spec import SPEC


@dataclass(frozen=True)
class Parser:
    """A reader of bytes, an input that it takes, and the share of all inputs that it gets."""

    name: str
    read: Callable[[bytes], object]
    valid: bytes
    share: float = 1.0


def parsers(folder: Path) -> Iterator[Parser]:
    """All parsers; those of files write each input into `folder` before."""

    def of_text(read: Callable[[str], object]) -> Callable[[bytes], object]:
        return lambda content: read(content.decode("utf-8", "surrogateescape"))

    def of_file(name: str, read: Callable[[Path], object]) -> Callable[[bytes], object]:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)

        def written(content: bytes) -> object:
            path.write_bytes(content)
            return read(path)

        return written

    generator = torch.Generator().manual_seed(0)
    darts, grid = DartsSpace(nodes=2).random(generator), NasBench201Space().random(generator)
    sealed = Run(folder / "sealed")
    sealed.save_json("search", {"steps": 3, "name": "ä", "rows": [1.5, None, True]})
    content = (sealed.path / "search.json").read_bytes()
    yaml = b"job: {data: photos, seed: 0}\nsearch:\n  epochs: 50\n  stages: [&a {x: 1.5e-3}, *a]\n  on: true\n"

    yield Parser("JSON", of_text(parse_json), b'{"a": [1, -2.5e3, null, true, "x\\u00e4"], "b": {"c": {}}}', 4)
    yield Parser("YAML", of_text(parse_yaml), yaml, 2)
    yield Parser("config.yaml", of_file("run/config.yaml", lambda p: Run(p.parent).read_config()), yaml)
    yield Parser("JSON with a digest", of_file("run/x.json", lambda p: Run(p.parent).load_json("x")), content, 2)
    rows = b'{"step": 1, "phase": "step", "loss": 0.5}\n{"step": 2, "loss": "nan"}\n'
    yield Parser("metrics.jsonl", of_file("run/metrics.jsonl", lambda p: Run(p.parent).metrics()), rows, 2)
    yield Parser("architecture.json", of_text(Architecture.from_json), darts.to_json().encode(), 3)
    yield Parser("network.json", of_text(NetworkSpec.from_json), SPEC.to_json().encode(), 2)
    yield Parser("genotype", of_text(read_genotype), write_genotype(darts).encode(), 3)
    yield Parser("NAS-Bench-201 string", of_text(read_nasbench201), write_nasbench201(grid).encode(), 3)
    yield Parser("MMRazor", of_text(read_mmrazor), write_mmrazor(darts).encode(), 2)
    yield Parser("any architecture", of_file("any.txt", read_architecture), write_genotype(darts).encode())
    yield Parser(
        "text", of_file("text.txt", lambda p: load_text(p, level="char")), b"some words\nin two lines, \xc3\xa4" * 40
    )
    batch = {"data": np.arange(3072, dtype=np.uint8)[None], "labels": [3], "filenames": ["a.png"]}
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        (folder / "cifar").mkdir(exist_ok=True)
        (folder / "cifar" / name).write_bytes(pickle.dumps(batch, 2))
    (folder / "cifar" / "batches.meta").write_bytes(pickle.dumps({"label_names": list("abcdefghij")}, 2))
    cifar = of_file("cifar/data_batch_3", lambda p: load_cifar(p.parent))
    yield Parser("CIFAR's python file", cifar, pickle.dumps(batch, 2), 2)
    arrays, images = io.BytesIO(), np.zeros((4, 4, 4, 3), np.uint8)
    np.savez(arrays, x_train=images, y_train=np.array([0, 1, 0, 1]), class_names=np.array(["a", "b"]))
    yield Parser("arrays", of_file("x.npz", lambda p: open_source(str(p)).load()), arrays.getvalue(), 2)
    save_table(Table({"acc": np.linspace(10, 90, 15_625)}, source="x"), folder / "table.npz")
    yield Parser("table", of_file("t.npz", load_table), (folder / "table.npz").read_bytes(), 0.2)
    save_tensors(folder / "w.pt", {"step": 1, "network": {"weight": torch.ones(2, 3)}, "name": "x"})
    weights = (folder / "w.pt").read_bytes()
    yield Parser("checkpoint", of_file("c.pt", load_tensors), weights, 1)
    without_digest = io.BytesIO()
    torch.save({"step": 1, "weight": torch.ones(2, 3)}, without_digest)
    yield Parser("checkpoint without digest", of_file("d.pt", load_tensors), without_digest.getvalue(), 1)
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 10, 3), dtype=np.uint8))
    for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "TGA", "ICO", "JPEG2000"):
        stream = io.BytesIO()
        picture.save(stream, kind)
        yield Parser(kind, lambda content: decode_image(content, ResizeRule(8), name="x"), stream.getvalue(), 0.7)


def damaged(content: bytes, draw: random.Random) -> bytes:
    """The content with one to four changes: bits, bytes, pieces, and numbers that are too large."""
    found = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 4))):
        at = draw.randrange(len(found) + 1)
        length = draw.choice((1, 2, 4, 8, 40))
        kind = draw.randrange(7)
        if kind == 0 and found:
            found[at % len(found)] ^= 1 << draw.randrange(8)
        elif kind == 1:
            found[at : at + length] = draw.randbytes(length)
        elif kind == 2:
            del found[at : at + length]
        elif kind == 3:
            del found[at:]
        elif kind == 4:
            found[at:at] = found[at : at + length] * draw.choice((1, 3, 50))
        elif kind == 5:
            found[at : at + length] = draw.choice(TOKENS)
        else:
            found[at : at + length] = draw.choice((b"\x00", b"\xff", b"\x7f")) * length
    return bytes(found)


TOKENS = (
    *(b"-1", b"999999999999999999999", b"1e999", b"NaN", b"null", b"[]", b"{}", b'""', b"'", b"(", b"[[[[[[[[", b": "),
    *(
        b"\n",
        b"&a",
        b"*a",
        b"!!python/object:os.system",
        b"2001-01-01",
        b"\xed\xa0\x80",
        b"\xf0\x9f\x90\x88",
        b"\x1b[31m",
    ),
    *(b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff\xff\xff\xff\x7f", b"\x00\x00\x00\x80", b"skip_connect", b"|", b"~0"),
)


def main(count: int, seed: int) -> None:
    """Read `count` damaged inputs, and print as JSON how many each parser took or refused, and what else it raised."""
    warnings.simplefilter("ignore")
    report: dict[str, dict[str, int]] = {}
    raised: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        all_parsers = list(parsers(Path(folder)))
        total = sum(parser.share for parser in all_parsers)
        for parser in all_parsers:
            parser.read(parser.valid)  # is no input of a fuzz, unless it can be read
            draw, counts = random.Random(f"{seed} {parser.name}"), {"taken": 0, "refused": 0}
            for _ in range(max(1, round(count * parser.share / total))):
                content = damaged(parser.valid, draw)
                try:
                    parser.read(content)
                    counts["taken"] += 1
                except (UserError, FileNotFoundError) as error:
                    counts["refused"] += 1
                    if len(str(error)) > 3000:
                        raised.append(f"{parser.name}: a message of {len(str(error))} characters for {content[:200]!r}")
                except Exception as error:  # noqa: BLE001 (that is what is looked for)
                    raised.append(f"{parser.name}: {type(error).__name__}: {str(error)[:200]} for {content[:400]!r}")
            report[parser.name] = counts
    print(json.dumps({"report": report, "raised": raised[:50], "num_raised": len(raised)}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
