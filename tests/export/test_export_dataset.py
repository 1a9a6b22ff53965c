"""An approved request becomes a package: cut by consent, de-identified, gated, sealed; and nothing else becomes one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from export_world import EAST, NAME, PEOPLE, RESEARCH, VALUES, WEST, World, counts

from dags.steps import share
from ledger.chain.state import DELIVERY
from ledger.chain.validators import institution_id
from ledger.messages.delivery import DeliveryState
from sharing.package import Opened, open_package


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


def table(opened: Opened, name: str) -> Any:
    """A table of an opened package."""
    import pyarrow.parquet as pq

    with opened.file(f"tables/{name}.parquet") as stream:
        return pq.read_table(stream).to_pandas()


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
        path = fetched(world, tx, holder, tmp_path)
        opened = open_package(path, world.at.keystore(RESEARCH).signing_key.decrypt)
        manifest = opened.manifest
        assert (manifest.persons, manifest.records) == (people, 4 * people)
        left_out = counts(manifest.excluded)
        assert left_out["consent", "no-statement"] == 4 * (60 - people)
        values, persons = table(opened, "values"), table(opened, "people")
        assert len(values) == 3 * people
        assert values["patient"].nunique() == people
        everything = values.to_csv() + persons.to_csv()
        assert NAME not in everything
        assert EAST not in everything
        assert not (world.at.home.path / "exports" / holder / tx.hex()).exists(), "the work is cleared away"
