"""The README does not lie: its commands exist, CI runs its test command, its links and folders are there."""

from __future__ import annotations

import re
from pathlib import Path

import typer.testing

from console.main import app

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_make_target_of_the_readme_is_in_the_makefile() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set(re.findall(r"make ([a-z-]+)\b", README))
    assert {"demo", "test", "up", "down", "check", "bench"} <= named
    assert named <= targets


def test_ci_runs_exactly_the_test_command_of_the_readme_and_the_checks() -> None:
    command = re.search(r"## Test it\n\n```sh\n(.+)\n```", README)
    assert command is not None
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith("make ")] == ["make check", command[1], "make test-services"]


def test_every_command_of_the_readme_is_one_of_the_console() -> None:
    shown = typer.testing.CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"})
    for row in re.findall(r"^\| (`xinglin .+?) \|", README, re.MULTILINE):
        for name in re.findall(r"`(?:xinglin )?([a-z]+)`", row):
            assert re.search(rf"\b{name}\b", shown.output), name


def test_every_link_and_file_of_the_readme_is_there() -> None:
    for target in re.findall(r"\]\(([^)h][^)]*)\)", README):
        assert (ROOT / target).exists(), target
    for folder, files in re.findall(r"^\| `([a-z/]+/)` \| .+? \| (.+) \|$", README, re.MULTILINE):
        for name in re.findall(r"`([\w/]+(?:\.py|/))`", files):
            assert (ROOT / folder / name).exists() or (ROOT / name).exists(), folder + name


def test_the_package_names_no_index_and_no_path_of_a_machine() -> None:
    for name in ("requirements.lock", "pyproject.toml", "Makefile", "docker-compose.yaml"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert not re.search(r"(?<!emit-)index-url|https?://[^ ]*(pypi|simple)|/home/|/root/", text), name
