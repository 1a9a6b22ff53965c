"""Every command says what it does within 80 columns, and wrong use ends with 2 before anything is done."""

from __future__ import annotations

import pytest
from console_run import Xinglin, run_apart

COMMANDS = (
    (), ("demo",), ("up",), ("down",), ("status",), ("listen",), ("convert",), ("batches",), ("quarantine",),
    ("quarantine", "list"), ("quarantine", "show"), ("quarantine", "replay"), ("ledger",), ("ledger", "status"),
    ("ledger", "show"), ("ledger", "verify"), ("ledger", "prove"), ("ledger", "verify-proof"),
)  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_fits_eighty_columns_and_ends_with_nought(xinglin: Xinglin, command: tuple[str, ...]) -> None:
    done = xinglin(*command, "--help")
    assert (done.code, done.told) == (0, "")
    lines = done.output.decode().splitlines()
    assert any(line.strip().startswith("Usage: xinglin") for line in lines)
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",), ("status", "--nonsense"), ("status", "more"), ("quarantine", "nonsense"), ("ledger", "nonsense"),
        ("ledger", "show"), ("ledger", "show", "0"), ("ledger", "show", "one"), ("ledger", "prove"),
        ("ledger", "prove", "0" * 32, "--version", "0"), ("ledger", "verify-proof"), ("batches", "--limit", "0"),
        ("quarantine", "list", "--limit", "-1"), ("quarantine", "show"), ("quarantine", "replay"), ("listen",),
        ("demo", "--messages", "0"), ("convert",),
    ],
    ids=" ".join,
)  # fmt: skip
def test_wrong_use_ends_with_two(xinglin: Xinglin, arguments: tuple[str, ...]) -> None:
    done = xinglin(*arguments)
    assert (done.code, done.output) == (2, b"")
    assert done.told


@pytest.mark.parametrize("group", [(), ("ledger",), ("quarantine",)], ids=" ".join)
def test_a_group_alone_shows_its_commands(xinglin: Xinglin, group: tuple[str, ...]) -> None:
    done = xinglin(*group)
    assert done.code == 2
    assert b"--help" in done.output + done.errors


def test_the_command_itself_starts_without_what_only_some_commands_need() -> None:
    import subprocess
    import sys

    program = "import console.main, sys; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    heavy = {"airflow", "great_expectations", "httpx", "jsonschema", "ledger", "normalise", "pandas", "pymongo", "rich"}
    assert not set(done.stdout.split()) & heavy
    assert run_apart("--help").code == 0
