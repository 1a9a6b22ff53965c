"""An approved request becomes a package: cut by consent, de-identified, gated, sealed; and nothing else becomes one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from export_world import COMMITTEE, EAST, INSURER, NAME, PEOPLE, RESEARCH, VALUES, WEST, World, counts, table

from dags.steps import share
from ledger.chain.state import DELIVERY
from ledger.chain.validators import institution_id
from ledger.messages.delivery import Delivered, DeliveryState, Received
from sharing.audit import accesses
from sharing.errors import NotYet
from sharing.package import open_package


def delivered(world: World, tx: bytes, holder: str) -> DeliveryState:
    """What the chain says of a holder's answer."""
    stored = world.state(DELIVERY, tx + institution_id(holder))
    assert stored is not None
    return DeliveryState.decode(stored)


def fetched(world: World, tx: bytes, holder: str, folder: Path) -> Path:
    """The package that the chain announces, from the shelf."""
    path = folder / f"{holder}.xld"
    answer = delivered(world, tx, holder)
    share.holder(holder, world.at).shelf.get(answer.package, path, answer.size)
    return path


def test_each_holder_exports_the_records_of_its_own_patients_who_permit_it(world: World, tmp_path: Path) -> None:
    world.say(EAST, range(40))
    world.say(WEST, range(30))
    tx = world.submit(world.request(EAST, WEST, views=(PEOPLE, VALUES)))
    for holder in (EAST, WEST):
        assert share.due(holder, world.at) == [tx.hex()]
        assert share.share(holder, tx.hex(), world.at) == "delivered"
        assert share.share(holder, tx.hex(), world.at) == "delivered", "an answer that is offered is not made again"
    world.grow()
    for holder, people in ((EAST, 40), (WEST, 30)):
        answer = delivered(world, tx, holder)
        assert (answer.answer, answer.records) == ("delivered", 4 * people)
        assert share.due(holder, world.at) == []
        assert share.lay_out(holder, world.at) == 1
        path = fetched(world, tx, holder, tmp_path)
        opened = open_package(path, world.at.keystore(RESEARCH).signing_key.decrypt)
        manifest = opened.manifest
        assert (manifest.persons, manifest.records) == (people, 4 * people)
        left_out = counts(manifest.excluded)
        assert left_out["consent", "no-statement"] == 4 * (60 - people)
        values, persons = table(opened, "values"), table(opened, "people")
        assert len(values) == 3 * people
        assert values["patient"].nunique() == people
        quality = json.loads(opened.read("quality.json"))
        assert quality["tables"]["values"]["rows"] == 3 * people
        assert quality["tables"]["values"]["columns"]["code"] == {"filled": 3 * people, "filled_thousandths": 1_000}
        assert {"stage": "consent", "reason": "no-statement", "count": 4 * (60 - people)} in quality["left_out"]
        everything = values.to_csv() + persons.to_csv()
        assert NAME not in everything
        assert EAST not in everything
        assert not (world.at.home.path / "exports" / holder / tx.hex()).exists(), "the work is cleared away"


def test_the_regulator_reads_from_blocks_alone_who_received_what_and_why(world: World) -> None:
    world.say(EAST, range(20))
    tx = world.submit(world.request(EAST))
    refused = world.submit(world.request(EAST, requester=INSURER))
    assert share.share(EAST, tx.hex(), world.at) == "delivered"
    world.grow()
    package = delivered(world, tx, EAST).package
    world.offer(RESEARCH, Received, request=tx, holder=institution_id(EAST), package=package)
    world.grow()
    found = {one.request: one for one in accesses(world.at.replica("health-commission"))}
    mine, theirs = found[tx], found[refused]
    assert (mine.requester, mine.holders, mine.kind, mine.purpose) == (RESEARCH, (EAST,), "dataset", "research")
    assert [(one["who"], one["what"]) for one in mine.later] == [
        (COMMITTEE[0], "approved"), (COMMITTEE[1], "approved"), (EAST, "delivered"), (RESEARCH, "received"),
    ]  # fmt: skip
    assert mine.later[2]["records"] == 20 * 3
    assert mine.decision is not None and mine.decision.pending and mine.decision.policies == ("research.dataset",)
    assert theirs.decision is not None and not theirs.decision.allowed and theirs.later == []
    assert not theirs.given
    later = accesses(world.at.replica("health-commission"), range(theirs.height, theirs.height + 1))
    assert [one.request for one in later] == [refused]


def test_a_package_is_laid_out_only_once_a_block_holds_its_announcement(world: World, tmp_path: Path) -> None:
    world.say(EAST, range(20))
    tx = world.submit(world.request(EAST))
    assert share.share(EAST, tx.hex(), world.at) == "delivered"
    share.lay_out(EAST, world.at)
    sent = share.holder(EAST, world.at).outgoing.find(f"dataset/{tx.hex()}")
    assert sent is not None
    announced = sent.opened
    assert isinstance(announced, Delivered)
    with pytest.raises(NotYet):
        share.holder(EAST, world.at).shelf.get(announced.package, tmp_path / "early.xld", announced.size)
    world.grow()
    share.lay_out(EAST, world.at)
    fetched(world, tx, EAST, tmp_path)
    world.offer(RESEARCH, Received, request=tx, holder=institution_id(EAST), package=announced.package)
    world.grow()
    share.lay_out(EAST, world.at)
    with pytest.raises(NotYet):
        share.holder(EAST, world.at).shelf.get(announced.package, tmp_path / "late.xld", announced.size)
