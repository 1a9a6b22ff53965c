"""Whoever types `xinglin source …`, in a home of their own, with nothing of this process's environment."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from founded import forget_site
from typer.testing import CliRunner

from console.main import app
from schemas.home import Home

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Told:
    """What a command ended with."""

    code: int
    output: str
    errors: str


@dataclass(slots=True)
class Engineer:
    """Whoever types the commands, in a home of their own."""

    home: Home
    variables: dict[str, str] = field(default_factory=dict)
    commands: Path | None = None

    @property
    def sources(self) -> Path:
        return Path(self.variables["XINGLIN_SOURCES"])

    def types(self, *arguments: object, stdin: str = "", expect: int | None = 0) -> Told:
        """Run the command in this process."""
        clean = dict.fromkeys(name for name in os.environ if name.startswith(("XINGLIN", "MONGODB")))
        done = CliRunner().invoke(
            app,
            list(map(str, arguments)),
            input=stdin,
            env={**clean, "COLUMNS": "160", **self.variables},
            prog_name="xinglin",
        )
        forget_site()
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        told = Told(done.exit_code, done.stdout, done.stderr)
        assert expect is None or told.code == expect, told
        return told

    def environment(self) -> dict[str, str]:
        """The variables of a process of its own."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("XINGLIN", "MONGODB"))}
        path = f"{self.commands or Path(sys.executable).parent}:{os.environ['PATH']}"
        return {**kept, "PATH": path, "PYTHONPATH": f"{ROOT}:{ROOT / 'plugins'}", "COLUMNS": "100", **self.variables}

    def runs(self, script: str, folder: Path) -> Told:
        """Run a shell script as a page has it."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=folder, env=self.environment(), capture_output=True, text=True, check=False, timeout=240,
        )  # fmt: skip
        return Told(done.returncode, done.stdout, done.stderr)
