"""Every command in every page of docs/onboarding is run, against the simulator that the page names."""

from __future__ import annotations

import re
import subprocess
import sys
from contextlib import AbstractContextManager
from importlib import import_module
from pathlib import Path

import pytest
from onboarding_engineer import ROOT, Engineer

from connectors.registry import LISTEN, PULL

PAGES = ROOT / "docs" / "onboarding"
HEAD = re.compile(r"<!-- with: (nothing|[a-z_.]+)( services)? -->\n")


def pages() -> list[object]:
    """Every page but the overview, the ones that need Debian's servers marked so."""
    found = []
    for path in sorted(PAGES.glob("*.md")):
        if path.name == "README.md":
            continue
        head = HEAD.match(path.read_text(encoding="utf-8"))
        marks = [pytest.mark.services] if head and head[2] else []
        found.append(pytest.param(path, id=path.stem, marks=marks))
    return found


def blocks(text: str) -> str:
    """The ``sh`` blocks of a page, in order, as one script."""
    return "\n".join(re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))


@pytest.mark.parametrize("path", pages())
def test_every_command_of_the_page_does_what_it_says(
    path: Path, engineer: Engineer, commands: Path, tmp_path: Path
) -> None:
    text = path.read_text(encoding="utf-8")
    head = HEAD.match(text)
    assert head, f"{path.name}: begin with <!-- with: simulators.… --> or <!-- with: nothing -->"
    script = blocks(text)
    if head[1] == "nothing":
        assert not script, f"{path.name}: its commands need a simulator; name it"
        return
    assert "xinglin source enable" in script
    folder = tmp_path / "here"
    folder.mkdir()
    with hospital(head[1], engineer.home.path) as variables:
        engineer.variables |= variables
        engineer.commands = commands
        told = engineer.runs(script, folder)
    log = next((path.read_text() for path in folder.glob("*.log")), "")
    assert told.code == 0, f"{told.output[-3000:]}\n{told.errors[-3000:]}\n{log[-2000:]}"
    assert "Traceback" not in told.errors


def hospital(module: str, home: Path) -> AbstractContextManager[dict[str, str]]:
    """What the page's simulator prepares."""
    started: AbstractContextManager[dict[str, str]] = import_module(module).onboarding(home)
    return started


def test_every_command_of_xinglin_source_stands_in_the_overview() -> None:
    from console.source import app

    text = (PAGES / "README.md").read_text(encoding="utf-8")
    for command in app.registered_commands:
        assert f"`xinglin source {command.name}" in text, command.name


def test_every_check_and_alert_that_is_told_stands_in_the_overview_or_the_card() -> None:
    from connectors.conformance import Trial, conformance
    from dags.steps.onboarding.page import QUESTIONS

    class Nothing:
        def __getattr__(self, name: str) -> object:
            from connectors.errors import Stop

            raise Stop("nothing here")

    names = [one.name for one in conformance(Trial(lambda: Nothing()))]  # type: ignore[arg-type, return-value]
    assert set(names) <= set(QUESTIONS)


def test_the_example_of_a_new_kind_conforms(tmp_path: Path) -> None:
    text = (PAGES / "new-kind.md").read_text(encoding="utf-8")
    files = dict(re.findall(r"^```python file=(\w+\.py)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    assert set(files) == {"diary.py", "test_diary.py"}
    for name, content in files.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(tmp_path)],
        cwd=tmp_path, capture_output=True, text=True, check=False,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'plugins'}:{tmp_path}", "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
    assert "1 passed" in done.stdout


def test_every_kind_has_a_page_that_the_overview_names() -> None:
    overview = (PAGES / "README.md").read_text(encoding="utf-8")
    for kind in (*PULL, *LISTEN):
        assert (PAGES / f"{kind}.md").is_file(), kind
        assert f"]({kind}.md)" in overview, kind
