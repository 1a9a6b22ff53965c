"""Catalogues are read from whoever signed them with a registered key, and from nobody else."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.append(str(Path(__file__).parents[1] / "ledger"))  # the region's simulation lives beside the ledger's tests

from listening_node import served
from region_simulation import RegionSimulation

from ledger.chain.roster import Registration
from ledger.chain.validators import institution_id
from ledger.errors import Refused as NodeRefused
from ledger.exchange import MemoryExchange
from ledger.messages.catalogue_word import catalogue_message
from ledger.notary import Notary
from shangmi import PrivateKey, sm3
from sharing.catalogue import publish, published, read_published
from sharing.errors import Malformed, Refused

CHAIN = sm3(b"a chain")
KEYS = {name: PrivateKey.generate() for name in ("hospital-east", "hospital-west")}
ROSTER = [
    Registration(institution_id(name), name, f"{name} title", "A", key.public.bytes) for name, key in KEYS.items()
]
EAST, WEST = ROSTER


def catalogue(who: str = "hospital-east", counted: str = "2026-11-23T02:00Z", patients: Any = 120) -> dict[str, Any]:
    return {
        "format": "xinglin-catalogue/v1",
        "institution": who,
        "counted": counted,
        "patients": patients,
        "types": [{"type": "Condition", "records": 40, "patients": "<10"}],
        "codes": [
            {"type": "Condition", "system": "http://hl7.org/fhir/sid/icd-10", "code": "E11.9", "display": "2型糖尿病",
             "patients": 20, "records": 30}
        ],
        "quality": [{"source": "east-his", "received": 100, "set_aside": "<10"}],
        "views": [],
    }  # fmt: skip


def signing(who: str, chain: bytes = CHAIN, named: str = "") -> Callable[[bytes], bytes]:
    return lambda digest: KEYS[who].sign(catalogue_message(chain, institution_id(named or who), digest))


def shown(exchange: MemoryExchange) -> dict[str, Mapping[str, Any]]:
    return {one.institution: one.catalogue for one in published(exchange, ROSTER, CHAIN)}


def content(exchange: MemoryExchange, who: str = "hospital-east") -> bytes:
    return next(exchange.read(f"catalogue/{who}"))


def test_what_institutions_publish_is_read_by_everybody() -> None:
    exchange = MemoryExchange()
    for who in KEYS:
        publish(exchange, catalogue(who), signing(who))
    assert shown(exchange) == {who: catalogue(who) for who in KEYS}
    assert [one.title for one in published(exchange, ROSTER, CHAIN)] == [one.title for one in ROSTER]


def test_a_newer_catalogue_takes_the_place_of_the_older_which_nobody_can_bring_back() -> None:
    exchange = MemoryExchange()
    publish(exchange, catalogue(counted="2026-11-22T02:00Z"), signing("hospital-east"))
    older = content(exchange)
    publish(exchange, catalogue(patients=130), signing("hospital-east"))
    assert len(list(exchange.read("catalogue/hospital-east"))) == 1
    exchange.post("catalogue/hospital-east", older)
    assert shown(exchange)["hospital-east"]["patients"] == 130


@pytest.mark.parametrize(
    "sign",
    [
        pytest.param(signing("hospital-west"), id="another's key"),
        pytest.param(signing("hospital-east", sm3(b"another chain")), id="another chain"),
        pytest.param(signing("hospital-east", named="hospital-west"), id="as another institution"),
        pytest.param(lambda _: bytes(64), id="no signature"),
    ],
)
def test_a_catalogue_that_its_institution_did_not_sign_is_nobodys(sign: Callable[[bytes], bytes]) -> None:
    exchange = MemoryExchange()
    publish(exchange, catalogue(), sign)
    assert shown(exchange) == {}


def test_a_catalogue_under_another_institutions_topic_is_nobodys() -> None:
    exchange = MemoryExchange()
    publish(exchange, catalogue("hospital-west"), signing("hospital-west"))
    exchange.post("catalogue/hospital-east", content(exchange, "hospital-west"))
    assert shown(exchange) == {"hospital-west": catalogue("hospital-west")}
    with pytest.raises(Malformed, match="another institution's"):
        read_published(content(exchange, "hospital-west"), EAST, CHAIN)


def test_a_removed_institution_is_not_listed() -> None:
    exchange = MemoryExchange()
    publish(exchange, catalogue(), signing("hospital-east"))
    assert published(exchange, [replace(EAST, standing="revoked"), WEST], CHAIN) == []


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"patients": 7}, id="an exact number"),
        pytest.param({"patients": -10}, id="below nothing"),
        pytest.param({"more": 1}, id="a member nobody knows"),
        pytest.param({"counted": "yesterday"}, id="no time"),
        pytest.param({"institution": "../../etc"}, id="no name"),
        pytest.param({"codes": [{**catalogue()["codes"][0], "display": "\x1b[2J"}]}, id="a terminal's orders"),
        pytest.param({"codes": [{**catalogue()["codes"][0], "display": "a‮b"}]}, id="text that turns round"),
        pytest.param({"codes": catalogue()["codes"] * 2_001}, id="too many codes"),
    ],
)
def test_what_breaks_the_schema_is_neither_published_nor_read(change: dict[str, Any]) -> None:
    exchange = MemoryExchange()
    with pytest.raises(Malformed, match=r"schemas/catalogue\.schema\.json"):
        publish(exchange, catalogue() | change, signing("hospital-east"))
    assert exchange.topics == {}
    plain = orjson.dumps(catalogue() | change, option=orjson.OPT_SORT_KEYS)
    signature = signing("hospital-east")(sm3(plain)).hex()
    forged = orjson.dumps({"catalogue": catalogue() | change, "signature": signature}, option=orjson.OPT_SORT_KEYS)
    exchange.post("catalogue/hospital-east", forged)
    assert shown(exchange) == {}


def test_a_catalogue_longer_than_readers_take_is_not_published() -> None:
    exchange = MemoryExchange()
    column = {"name": "a", "description": "x" * 2_000, "type": "string", "arrow": "string", "collection": False,
              "role": "", "hierarchy": "", "path": "id"}  # fmt: skip
    view = {"name": "v", "title": "", "description": "", "resource": "Patient", "conditions": []}
    with pytest.raises(Refused, match="readers take 1048576"):
        publish(exchange, catalogue() | {"views": [view | {"columns": [column] * 500}] * 2}, signing("hospital-east"))
    assert exchange.topics == {}


def test_a_signed_catalogue_that_no_text_can_say_is_passed_over() -> None:
    exchange = MemoryExchange()
    publish(exchange, catalogue("hospital-west"), signing("hospital-west"))
    publish(exchange, catalogue(), signing("hospital-east"))
    half = content(exchange).replace("糖".encode(), b"\\ud800")
    exchange.topics.clear()
    publish(exchange, catalogue("hospital-west"), signing("hospital-west"))
    exchange.post("catalogue/hospital-east", half)
    assert list(shown(exchange)) == ["hospital-west"]
    odd = {"codes": [{**catalogue()["codes"][0], "display": "\ud800"}]}
    with pytest.raises(Malformed, match="cannot say"):
        publish(exchange, catalogue() | odd, signing("hospital-east"))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.data())
def test_no_changed_byte_is_read_and_nothing_but_malformed_is_raised(data: st.DataObject) -> None:
    exchange = MemoryExchange()
    publish(exchange, catalogue(), signing("hospital-east"))
    whole = bytearray(content(exchange))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    cut = bytes(whole[: data.draw(st.integers(at + 1, len(whole)))])
    with pytest.raises(Malformed):
        read_published(cut, EAST, CHAIN)


@pytest.mark.mongo
def test_a_node_signs_its_institutions_catalogue_here_and_behind_its_socket(mongo: Any, tmp_path: Path) -> None:
    region = RegionSimulation(mongo, tmp_path, f"t{uuid.uuid4().hex[:12]}")
    try:
        with served(region.node("hospital-east"), tmp_path / "s" / "n.sock") as remote:
            nodes: list[Notary] = [region.node("hospital-east"), remote]
            for node in nodes:
                exchange = MemoryExchange()
                publish(exchange, catalogue(), node.sign_catalogue)
                roster = region.node("hospital-west").replica.view.roster.registrations
                found = published(exchange, roster, region.genesis.chain_id)
                assert [(one.institution, one.catalogue) for one in found] == [("hospital-east", catalogue())]
                with pytest.raises(NodeRefused, match="expected 32"):
                    node.sign_catalogue(b"short")
    finally:
        region.close()
