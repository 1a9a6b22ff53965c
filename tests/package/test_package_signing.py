"""A node signs the manifest of a dataset that its own replica says was allowed, and no other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from package_world import ASKER, FILE, HOLDER, OTHER, REGULATOR, DatasetRegion, dataset_region

from ledger.chain.validators import institution_id
from ledger.errors import Refused
from ledger.messages.manifest_word import manifest_message
from ledger.notary import Notary
from shangmi import sm3

pytestmark = pytest.mark.mongo
DIGEST = sm3(b"a manifest")


@pytest.fixture(scope="module")
def region(mongo: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DatasetRegion]:
    with dataset_region(mongo, tmp_path_factory.mktemp("region")) as made:
        yield made


def signs(region: DatasetRegion, node: Notary, request: bytes) -> bool:
    signature = node.sign_manifest(request, DIGEST)
    message = manifest_message(region.genesis.chain_id, institution_id(node.institution), request, DIGEST)
    assert len(message) == 126
    return region.keys[node.institution].public.verify(signature, message)


def test_a_holder_signs_once_the_request_stands_allowed_and_nobody_else_does(
    region: DatasetRegion, tmp_path: Path
) -> None:
    from listening_node import served

    request = region.asks(ASKER, FILE)
    region.block_of(request)
    with served(region.node(HOLDER), tmp_path / "s" / "n.sock") as remote:
        nodes: list[Notary] = [region.node(HOLDER), remote]
        for node in nodes:
            with pytest.raises(Refused, match="stands allowed"):  # the committee has not spoken
                node.sign_manifest(request.tx_id, DIGEST)
        region.block_of(region.says(OTHER, request, FILE))
        region.block_of(region.says(REGULATOR, request, FILE))
        before = region.snapshot()
        for node in nodes:
            assert signs(region, node, request.tx_id)
            for id_, digest in ((bytes(32), DIGEST), (region.node(ASKER).id, DIGEST), (request.tx_id, b"")):
                with pytest.raises(Refused):
                    node.sign_manifest(id_, digest)
        for other in (OTHER, ASKER, REGULATOR):
            with pytest.raises(Refused, match="asks"):
                region.node(other).sign_manifest(request.tx_id, DIGEST)
        assert region.snapshot() == before


def test_a_refused_request_gets_no_signature(region: DatasetRegion) -> None:
    request = region.asks(ASKER, sm3(b"a greedy request"))
    region.block_of(request)
    for who in (OTHER, REGULATOR):
        region.block_of(region.says(who, request, sm3(b"a greedy request"), approves=False))
    with pytest.raises(Refused, match="stands allowed"):
        region.node(HOLDER).sign_manifest(request.tx_id, DIGEST)
