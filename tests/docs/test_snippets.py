"""The Python on the pages runs as it is printed."""

import re
from pathlib import Path

import pytest

PAGES = Path(__file__).parents[2] / "docs" / "how-to"
BLOCK = re.compile(r"```python\n(.*?)```", flags=re.DOTALL)


@pytest.mark.parametrize("page", ["production-md.md"])
def test_snippets_run(page, aiida_profile, capsys):
    blocks = BLOCK.findall((PAGES / page).read_text(encoding="utf-8"))
    assert blocks
    names: dict = {}
    for block in blocks:
        exec(compile(block, page, "exec"), names)
    assert names["node"].is_finished_ok
    assert names["positions"].shape == (20, 48, 3)
    assert "warnings" in capsys.readouterr().out
