"""What docs/shrink.md shows works as it is written."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs" / "shrink.md").read_text(encoding="utf-8")


def test_the_blocks_of_the_page_run_one_after_the_other(capsys):
    names: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL):
        exec(block, names)
    assert "uniform" in capsys.readouterr().out
