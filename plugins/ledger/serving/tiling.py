"""Routes that any static host could answer as well: tiles of the history tree, checkpoints (section 13)."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse, Response
from pydantic import BaseModel

from ledger.proofs import tiles
from ledger.serving.chain import BYTES, IMMUTABLE
from ledger.serving.faults import REFUSALS, Missing
from ledger.serving.parameters import BlockHeight, Level, Number
from ledger.serving.served import Here

BRIEF: Final = {"Cache-Control": "public, max-age=5"}
router = APIRouter(responses=REFUSALS, tags=["tiles and checkpoints"])


class CheckpointLine(BaseModel):
    """A checkpoint kept here, and who signed it when (milliseconds since 1970 UTC)."""

    height: int
    signed: dict[str, int]


class CheckpointList(BaseModel):
    """The newest checkpoints, the highest block first."""

    checkpoints: list[CheckpointLine]


@router.get("/tile/{level}/{number:path}", response_class=Response)
def tile(here: Here, level: Level, number: Number) -> Response:
    """A tile of the history tree, or of its entries; C2SP tlog-tiles with SM3. Never changes."""
    wanted = tiles.parse("0" if level == tiles.ENTRIES else level, number)
    size = here.replica.view.head.height + 1
    if not tiles.exists(wanted, size):
        raise Missing("tile", f"a history of {size} blocks has no such tile")
    if level == tiles.ENTRIES:
        data = tiles.bundle(wanted, lambda height: here.replica.header(height).block_id)
    else:
        data = wanted.read(here.replica.history_node)
    return Response(data, media_type=BYTES, headers=IMMUTABLE)


@router.get("/checkpoint", response_class=PlainTextResponse)
def newest(here: Here) -> PlainTextResponse:
    """The newest checkpoint that an auditor signed."""
    found = here.checkpoints.newest()
    if not found:
        raise Missing("checkpoint", "no auditor signed one yet")
    return PlainTextResponse(found[0].encode().decode(), headers=BRIEF)


@router.get("/v1/checkpoints")
def listing(here: Here) -> CheckpointList:
    """The newest hundred checkpoints: heights, and who signed when."""
    lines = [
        CheckpointLine(height=one.checkpoint.height, signed={by.auditor: by.time_ms for by in one.cosignatures})
        for one in here.checkpoints.newest(100)
    ]
    return CheckpointList(checkpoints=lines)


@router.get("/v1/checkpoints/{height}", response_class=PlainTextResponse)
def of_height(here: Here, height: BlockHeight) -> PlainTextResponse:
    """The checkpoint of one block."""
    found = here.checkpoints.at(height)
    if found is None:
        raise Missing("checkpoint", f"no auditor signed one of height {height}")
    return PlainTextResponse(found.encode().decode(), headers=BRIEF)
