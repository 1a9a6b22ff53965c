"""The unit and the page for a node say what the program does, and what `systemd` would read."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import typer.main
from needed import needs

from console.main import app
from ledger.remote.protocol import Method

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "deploy" / "xinglin-node@.service"
PAGE = (ROOT / "docs" / "node.md").read_text(encoding="utf-8")
BYTES = (ROOT / "docs" / "formats" / "node.md").read_text(encoding="utf-8")


def node_commands() -> dict[str, Any]:
    top: Any = typer.main.get_command(app)  # typer brings a click of its own
    return dict(top.commands["node"].commands)


def options(words: list[str]) -> set[str]:
    return {one for one in words if one.startswith("--")}


def known(command: Any) -> set[str]:
    return {name for one in command.params for name in one.opts}


def settings() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in UNIT.read_text(encoding="utf-8").splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


def test_the_unit_starts_the_command_as_it_is_and_as_no_root() -> None:
    unit = settings()
    (start,) = unit["ExecStart"]
    words = shlex.split(start)
    assert words[0].endswith("/xinglin") and words[1:3] == ["node", "run"]
    assert options(words) <= known(node_commands()["run"])
    assert unit["User"] == ["xinglin-node"] and unit["Type"] == ["notify"]
    assert unit["UMask"] == ["0077"] and unit["NoNewPrivileges"] == ["yes"] and unit["CapabilityBoundingSet"] == [""]


def test_every_secret_of_the_unit_is_a_credential_and_none_stands_in_it() -> None:
    unit = settings()
    loaded = {one.partition(":")[0] for one in unit["LoadCredential"]}
    named = dict(pair.split("=", 1) for line in unit["Environment"] for pair in line.split())
    files = {name: value for name, value in named.items() if name.endswith("_FILE")}
    assert {value.removeprefix("%d/") for value in files.values()} == loaded
    assert not {name for name in named if name in ("XINGLIN_KEY_PASSWORD", "MONGODB_URI", "XINGLIN_NODE_MONGODB_URI")}


@needs(shutil.which("systemd-analyze"), "systemd is what reads the unit")
def test_systemd_reads_every_line_of_the_unit(tmp_path: Path) -> None:
    text = UNIT.read_text(encoding="utf-8").replace("/opt/venv/bin/xinglin", "/bin/true")
    copy = tmp_path / "xinglin-node@east.service"
    copy.write_text(text, encoding="utf-8")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(copy)], capture_output=True, text=True, timeout=60, check=False
    )
    assert "xinglin-node@east.service:" not in done.stderr, done.stderr


def test_every_command_of_the_page_exists_with_its_options() -> None:
    commands = node_commands()
    shown = re.findall(r"xinglin node ([a-z-]+)([^\n`]*)", PAGE + (ROOT / "docs" / "ledger.md").read_text("utf-8"))
    assert {"run", "status", "recover", "public-key"} <= {name for name, _ in shown} <= set(commands)
    for name, rest in shown:
        assert options(rest.replace(",", " ").split()) <= known(commands[name]), rest


def test_every_method_stands_in_the_page_of_bytes_under_its_number() -> None:
    table = BYTES.split("| method |")[1].split("**Answer**")[0]
    found = {int(number): name for number, name in re.findall(r"^\| (\d+) ([a-z ]+) \|", table, re.MULTILINE)}
    assert found == {int(one): one.name.lower().replace("_", " ") for one in Method}
