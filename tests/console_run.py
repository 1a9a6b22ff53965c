"""Runs `xinglin` as a person would, in this process or in one of its own, with nothing of the environment."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from founded import forget_site
from typer.testing import CliRunner

from console.main import app

ROOT = Path(__file__).parents[1]
WIDTH = {"COLUMNS": "80"}


@dataclass(frozen=True, slots=True)
class Done:
    """What a command ended with."""

    code: int
    output: bytes
    errors: bytes

    @property
    def told(self) -> str:
        """What stood on stderr."""
        return self.errors.decode()


class Xinglin(Protocol):
    """Runs the command with these arguments, input and variables."""

    def __call__(self, *arguments: object, stdin: bytes = b"", **environment: str) -> Done:
        """Run it; whatever happens, it ends by itself with one of its four codes."""
        ...


def run_here(*arguments: object, stdin: bytes = b"", **environment: str) -> Done:
    """Run the command in this process."""
    clean = dict.fromkeys(name for name in os.environ if name.startswith(("XINGLIN", "MONGODB")))
    try:
        done = CliRunner().invoke(
            app, list(map(str, arguments)), input=stdin, env={**clean, **WIDTH, **environment}, prog_name="xinglin"
        )
    finally:
        forget_site()
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return _checked(Done(done.exit_code, done.stdout_bytes, done.stderr_bytes))


def run_apart(*arguments: object, stdin: bytes = b"", **environment: str) -> Done:
    """Run the command in a process of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("XINGLIN", "MONGODB"))}
    done = subprocess.run(
        [sys.executable, "-m", "console.main", *map(str, arguments)],
        input=stdin, capture_output=True, check=False, timeout=120,
        env={**kept, "PYTHONPATH": f"{ROOT}:{ROOT / 'plugins'}", **WIDTH, **environment},
    )  # fmt: skip
    return _checked(Done(done.returncode, done.stdout, done.stderr))


def _checked(done: Done) -> Done:
    assert b"Traceback" not in done.errors, done.told
    assert done.code in (0, 1, 2, 3)
    return done
