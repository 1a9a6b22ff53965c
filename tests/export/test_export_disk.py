"""A disk that is full, at whatever moment of an export: nothing is announced, nothing is half there, and it goes on."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

from export_world import EAST, PEOPLE, RESEARCH, VALUES, World, table
from needed import needs

from dags.steps import share
from ledger.chain.state import DELIVERY
from ledger.chain.transactions import open_transaction
from ledger.chain.validators import institution_id
from ledger.messages.delivery import Delivered, DeliveryState
from sharing.package import open_package, verify


def small_disk(folder: Path, kib: int, *, larger: bool = False) -> None:
    """The folder lies on a disk of its own, of so many KiB; a larger one holds what the smaller did."""
    size = f"{'remount,' if larger else 'mode=700,'}size={kib}k"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "none", str(folder)], check=True)


@needs(os.geteuid() == 0, "only root can mount a small disk")
def test_wherever_the_disk_is_full_nothing_is_announced_and_a_larger_one_is_gone_on_with(world: World) -> None:
    world.say(EAST, range(40))
    tx = world.submit(world.request(EAST, views=(PEOPLE, VALUES), ndjson=True))
    holder, failures, kib = share.holder(EAST, world.at), 0, 4
    small_disk(holder.folder, kib)
    try:
        while not delivered(world, tx):
            failures, kib = failures + 1, kib + 12
            offered = map(open_transaction, world.at.exchange.transactions())
            assert not any(isinstance(one, Delivered) for one in offered)
            assert world.at.client["xinglin_exchange"]["shelf.files"].count_documents({}) == 0
            small_disk(holder.folder, kib, larger=True)
        assert failures >= 4, "before the first part, in each, and in the package"
        world.grow()
        assert share.lay_out(EAST, world.at) == 1
    finally:
        subprocess.run(["umount", "--lazy", str(holder.folder)], check=True)
    stored = world.state(DELIVERY, tx + institution_id(EAST))
    assert stored is not None
    answer, path = DeliveryState.decode(stored), world.at.home.path / "d.xld"
    holder.shelf.get(answer.package, path, answer.size)
    assert verify(path, world.at.home.anchor).manifest.persons == 40
    with open_package(path, world.at.keystore(RESEARCH).signing_key.decrypt) as opened:
        assert len(table(opened, "values")) == 40 * 3


def delivered(world: World, tx: bytes) -> bool:
    """Try once; False where the disk is full."""
    try:
        return share.export(share.holder(EAST, world.at), tx, patients=10).run() == "delivered"
    except OSError as error:
        assert error.errno == errno.ENOSPC
        return False
