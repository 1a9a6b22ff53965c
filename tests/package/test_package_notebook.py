"""The notebook and the page for researchers run as they stand, over a real dataset."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest
from make_package_vectors import PASSWORD, VECTORS

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A researcher's folder, and nothing else known to the programs that run in it."""
    for name, source in (("dataset.xld", "valid.xld"), ("researcher.pem", "recipient.pem"), ("anchor.json",) * 2):
        (tmp_path / name).write_bytes((VECTORS / source).read_bytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XINGLIN_KEY_PASSWORD", PASSWORD.decode())
    monkeypatch.setenv("MPLBACKEND", "Agg")
    return tmp_path


def run(cell: str, names: dict[str, Any]) -> Any:
    """Execute a cell as a notebook does: its last expression is its value."""
    tree = ast.parse(cell)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), names)
    return None if last is None else eval(compile(ast.Expression(last.value), "cell", "eval"), names)


def test_the_notebook_runs_and_ends_in_a_plot(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    notebook = json.loads((DOCS / "dataset.ipynb").read_text(encoding="utf-8"))
    names: dict[str, Any] = {}
    cells = ["".join(one["source"]) for one in notebook["cells"] if one["cell_type"] == "code"]
    values = [run(one, names) for one in cells]
    assert values[0] == ("laboratory_results", "patients")
    told = capsys.readouterr().out
    assert "signed this dataset" in told and "6 records of 6 persons; delete by 2028-12-31" in told
    bars = [bar.get_height() for group in names["axes"].containers for bar in group]
    assert len(bars) >= 6 and any(4 < height < 12 for height in bars)
    assert cells[-1].startswith("axes = ")
    assert all(one["outputs"] == [] and one["execution_count"] is None for one in notebook["cells"] if "outputs" in one)
    names["axes"].figure.savefig(desk / "plot.png")
    assert (desk / "plot.png").stat().st_size > 1_000


def test_the_page_for_researchers_runs(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = (DOCS / "datasets.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, Any] = {}
    exec(program.replace('password="…"', f"password={PASSWORD!r}"), names)
    assert len(names["frame"]) == 12 and "2028-12-31" in capsys.readouterr().out


def test_the_page_shows_commands_that_exist() -> None:
    from typer.main import get_command

    from console.main import app

    page = (DOCS / "datasets.md").read_text(encoding="utf-8")
    dataset = get_command(app).commands["dataset"]  # type: ignore[attr-defined]
    for name, rest in re.findall(r"^xinglin dataset (\w+)(.*)$", page, re.MULTILINE):
        options = {option for one in dataset.commands[name].params for option in one.opts}
        assert set(re.findall(r"--[\w-]+", rest)) <= options, name
