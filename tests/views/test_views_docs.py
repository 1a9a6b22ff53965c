"""docs/views.md does what it says."""

from __future__ import annotations

import re
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner

from console.main import app
from sharing.views import library

PAGE = (Path(__file__).parent.parent.parent / "docs" / "views.md").read_text(encoding="utf-8")


def block(kind: str) -> str:
    found = re.search(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    return found[1]


def test_the_pages_view_gives_the_pages_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("blood_glucose.json").write_text(block("json"), encoding="utf-8")
    Path("resources.ndjson").write_text(block("ndjson"), encoding="utf-8")
    commands = re.findall(r"^\$ xinglin (.*)\n((?:[^$`].*\n)*)", PAGE, re.MULTILINE)

    assert len(commands) == 3
    for arguments, printed in commands:
        done = CliRunner().invoke(app, arguments.split())
        assert (done.exit_code, done.stderr) == (0, "")
        assert done.stdout == printed or not printed


def test_the_pages_faults_are_said_so(tmp_path: Path) -> None:
    for path, change in (
        ("select[0].column[2].path: character 14: FHIR R4", (2, {"path": "value.ofType(Quantty).value"})),
        ("select[0].column[3]: no element 'tags' here; is 'tag'", (3, {"tags": []})),
    ):
        view = orjson.loads(block("json"))
        view["select"][0]["column"][change[0]].update(change[1])
        (tmp_path / "view.json").write_bytes(orjson.dumps(view))
        done = CliRunner().invoke(app, ["view", str(tmp_path / "view.json"), "-"])

        assert path in done.stderr.replace("\n", " ")
        assert path in PAGE


def test_the_page_names_every_shipped_view() -> None:
    assert [name for name in library() if f"`{name}`" not in PAGE] == []
