"""The command in an empty folder, and files for it to read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from console_run import Xinglin, run_apart, run_here


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is the present one."""
    folder = tmp_path / "empty"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def xinglin(empty: Path) -> Xinglin:
    """The command, where no process matters."""
    return run_here


@pytest.fixture
def process(empty: Path) -> Xinglin:
    """The command in a process of its own."""
    return run_apart


@pytest.fixture
def file(tmp_path: Path) -> Callable[[str, bytes], Path]:
    """Writes a file and returns its path."""

    def write(name: str, content: bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write
