"""A large export cut by several processes: the same dataset, whoever of them is killed."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from export_world import EAST, PEOPLE, RESEARCH, VALUES, World, table
from killed import child_environment

from dags.steps import share
from ledger.chain.state import DELIVERY
from ledger.chain.validators import institution_id
from ledger.messages.delivery import DeliveryState
from schemas.errors import ConfigurationError
from sharing.export.cutting import Hands
from sharing.export.part import Builder
from sharing.export.run import Export
from sharing.package import open_package

MODULE = "dags.steps.cut"


def export(world: World, tx: bytes, hands: Hands | None = None) -> Export:
    """An export of twelve parts."""
    made = share.export(share.holder(EAST, world.at), tx, patients=5)
    if hands is not None:
        made._hands = hands
    return made


def rows(world: World, path: Path) -> dict[str, Any]:
    """What a package holds, in an order of its own."""
    opened = open_package(path, world.at.keystore(RESEARCH).signing_key.decrypt)
    found = {name: table(opened, name) for name in ("people", "values")}
    return {name: sorted(map(tuple, one.astype(str).itertuples(index=False))) for name, one in found.items()}


def own_parts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The parts that this process builds, by their patients, as it builds them."""
    built: list[int] = []
    build = Builder.build

    def counted(self: Builder, owners: Any) -> Any:
        built.append(len(owners))
        return build(self, owners)

    monkeypatch.setattr(Builder, "build", counted)
    return built


def helpers(tx: bytes) -> list[int]:
    """Processes that help an export."""
    wanted = (MODULE.encode(), tx.hex().encode())
    found = []
    for one in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = one.read_bytes().split(b"\0")
        except OSError:
            continue
        if all(word in words for word in wanted):
            found.append(int(one.parent.name))
    return found


def test_three_processes_make_the_dataset_that_one_makes(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world.say(EAST, range(60))
    tx = world.submit(world.request(EAST, views=(PEOPLE, VALUES)))
    alone = export(world, tx, Hands())
    finished, _ = alone._package()
    expected = rows(world, finished.path)
    alone.clear()
    monkeypatch.setenv("XINGLIN_EXPORT_PROCESSES", "3")
    built = own_parts(monkeypatch)
    shared = export(world, tx)
    assert shared.run() == "delivered"
    assert len(built) == 4, "this process cut its third of the twelve parts"
    assert rows(world, shared.path) == expected
    assert helpers(tx) == [] and "ended early" not in caplog.text


@pytest.mark.parametrize("program", ["import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "raise SystemExit(1)"])
def test_what_other_processes_leave_undone_the_export_does_itself(
    world: World, caplog: pytest.LogCaptureFixture, program: str
) -> None:
    world.say(EAST, range(60))
    tx = world.submit(world.request(EAST))
    with caplog.at_level(logging.WARNING):
        assert export(world, tx, Hands((sys.executable, "-c", program), 3)).run() == "delivered"
    assert "2 of 3 processes ended early" in caplog.text
    world.grow()
    stored = world.state(DELIVERY, tx + institution_id(EAST))
    assert stored is not None and DeliveryState.decode(stored).records == 60 * 3


def test_processes_end_with_the_export_they_help(world: World) -> None:
    world.say(EAST, range(60))
    tx = world.submit(world.request(EAST))
    script = (
        "import signal, sys, time; from dags.steps import share; from dags.steps.site import site; "
        f"one = share.export(share.holder({EAST!r}, site()), bytes.fromhex(sys.argv[1]), patients=5); "
        "one._note = lambda *_, **__: time.sleep(60); one.run()"
    )
    environment = {**child_environment(), "XINGLIN_EXPORT_PROCESSES": "3"}
    with subprocess.Popen([sys.executable, "-c", script, tx.hex()], env=environment) as process:
        wait_until(lambda: len(helpers(tx)) == 2)
        process.send_signal(signal.SIGKILL)
    wait_until(lambda: helpers(tx) == [])
    assert share.share(EAST, tx.hex(), world.at) == "delivered"
    world.grow()
    share.lay_out(EAST, world.at)
    assert [one for one in (world.at.home.path / "exports").rglob("*") if one.is_file()] == []


def wait_until(so: Any, seconds: float = 60) -> None:
    """Return once it is so."""
    deadline = time.monotonic() + seconds
    while not so():
        assert time.monotonic() < deadline, "it did not come to be so"
        time.sleep(0.05)


def test_a_number_of_processes_that_is_none_is_said(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.say(EAST, range(20))
    tx = world.submit(world.request(EAST))
    for wrong in ("0", "many", "-1", ""):
        monkeypatch.setenv("XINGLIN_EXPORT_PROCESSES", wrong)
        with pytest.raises(ConfigurationError, match="XINGLIN_EXPORT_PROCESSES"):
            share.share(EAST, tx.hex(), world.at)
    assert world.at.vault(EAST).exports.all() == []
