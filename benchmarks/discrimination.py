"""Does a scaled-down setting tell good architectures from bad ones? Kendall's tau against a benchmark's table.

    python benchmarks/discrimination.py RUN TABLE.npz [COLUMN]

RUN is a search on NAS-Bench-201 whose `dnas baseline RUN --num 32` has trained random architectures in the setting;
prints tau-b between their held-out accuracy and the table's column (valid200_c10), with the rows.
"""

import json
import sys
from pathlib import Path

from dnas.formats import write_nasbench201
from dnas.table import kendall_tau, load_table
from dnas.training.row import Row


def main(run: str, table_file: str, column: str = "valid200_c10") -> None:
    table = load_table(Path(table_file))
    results = Path(run) / "baseline" / "results.json"
    rows = [
        Row.from_data(row, source=f"{results}, row {index}")
        for index, row in enumerate(json.loads(results.read_text(encoding="utf-8"))["rows"])
    ]
    known = [table.accuracy(row.architecture, column) for row in rows]
    for row, value in sorted(zip(rows, known, strict=True), key=lambda pair: pair[1]):
        print(f"{100 * row.validation:6.2f} {value:6.2f}  {write_nasbench201(row.architecture)}")
    tau = kendall_tau([row.validation for row in rows], known)
    print(f"Kendall's tau-b between held-out accuracy here and {column}, {len(rows)} architectures: {tau:.3f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
