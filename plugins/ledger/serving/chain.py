"""Routes for other nodes: the chain's own bytes, to be verified by whoever takes them (section 13)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from fastapi import APIRouter
from fastapi.responses import Response, StreamingResponse
from pydantic import BaseModel

from ledger.chain.block import Block
from ledger.serving.faults import REFUSALS, Missing
from ledger.serving.parameters import BlockHeight, Count, Epoch, From, Place, Prefix
from ledger.serving.served import Here
from ledger.sync.header_chain import CertifiedHeader, encode_headers
from ledger.sync.state_chunks import read_chunk

BYTES: Final = "application/octet-stream"
IMMUTABLE: Final = {"Cache-Control": "public, max-age=31536000, immutable"}
PIECE: Final = 1 << 20
router = APIRouter(prefix="/v1", responses=REFUSALS, tags=["for nodes"])
_BYTES_DOC: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {BYTES: {}}, "description": "Bytes of docs/formats/http.md."}
}


class Head(BaseModel):
    """The last final block, certified: hex."""

    height: int
    block_id: str
    header: str
    commit_qc: str
    history_root: str


def _immutable(data: bytes) -> Response:
    return Response(data, media_type=BYTES, headers=IMMUTABLE)


@router.get("/genesis", response_class=Response, responses=_BYTES_DOC)
def genesis(here: Here) -> Response:
    """The genesis bytes; a chain's id is their digest."""
    return _immutable(here.replica.genesis.encode())


@router.get("/head")
def head(here: Here) -> Head:
    """The last final block's header and certificate; ``history_root`` is over it and all below."""
    view = here.replica.view
    return Head(
        height=view.head.height,
        block_id=view.head.block_id.hex(),
        header=view.head.encode().hex(),
        commit_qc=view.commit_qc.hex(),
        history_root=view.history_root.hex(),
    )


@router.get("/headers", response_class=Response, responses=_BYTES_DOC)
def headers(here: Here, from_: From = 1, count: Count = 256) -> Response:
    """Certified headers from a height on; none above the head."""
    top = here.replica.view.head.height
    heights = range(max(from_, 1), min(top, from_ + count - 1) + 1)
    found = [CertifiedHeader(Block.decode(data).header, qc) for data, qc in here.replica.blocks(heights)]
    return Response(encode_headers(found), media_type=BYTES)


class States(BaseModel):
    """Heights, each an epoch's end, whose state can be had in chunks."""

    heights: list[int]


@router.get("/state")
def states(here: Here) -> States:
    """At which heights this node gives its whole state, for nodes that begin with it."""
    return States(heights=here.replica.state_heights())


@router.get("/state/{height}/chunk", response_class=Response, responses=_BYTES_DOC)
def chunk(here: Here, height: BlockHeight, prefix: Prefix = "") -> Response:
    """Every entry of the state whose key begins with some bits, provably all of them; 413 asks for longer prefixes."""
    if height not in here.replica.state_heights():
        raise Missing("state", "this node has no such state, or no longer; /v1/state lists those it has")
    tree = here.replica.state_at(here.replica.header(height))
    return Response(read_chunk(tree, here.replica.values, prefix).encode(), media_type=BYTES)


@router.get("/validators/{epoch}/bytes", response_class=Response, responses=_BYTES_DOC)
def validator_set(here: Here, epoch: Epoch) -> Response:
    """The members of an epoch, as ``validators_hash`` commits to them."""
    found = here.replica.view.validators_of(epoch)
    if found is None:
        raise Missing("epoch", f"the members of epoch {epoch} are not decided yet")
    return _immutable(found.encode())


@router.get("/blocks/{height}/bytes", response_class=Response, responses=_BYTES_DOC)
def block(here: Here, height: BlockHeight) -> Response:
    """A block's bytes, its own certificate not among them."""
    here.header(height, here.replica.view)
    return _immutable(here.replica.block(height)[0])


@router.get("/blocks/{height}/leaves/{index}", response_class=StreamingResponse, responses=_BYTES_DOC)
def leaves(here: Here, height: BlockHeight, index: Place) -> StreamingResponse:
    """The leaves of one batch of a block; nothing for transactions of other kinds."""
    header = here.header(height, here.replica.view)
    if index >= header.tx_count:
        raise Missing("transaction", f"block {height} has {header.tx_count} transactions")
    return _streamed(here.replica.body(height, index))


@router.get("/blocks/{height}/final", response_class=StreamingResponse, responses=_BYTES_DOC)
def final(here: Here, height: BlockHeight) -> StreamingResponse:
    """A block with its certificate and all its leaves: what a node needs to apply it."""
    here.header(height, here.replica.view)
    found = here.replica.final(height)
    if found is None:
        raise Missing("height", f"there is no block {height} here")
    return _streamed(found.encode())


def _streamed(data: bytes) -> StreamingResponse:
    return StreamingResponse(_pieces(data), media_type=BYTES, headers={**IMMUTABLE, "Content-Length": str(len(data))})


def _pieces(data: bytes) -> Iterator[bytes]:
    """Yield the bytes in pieces, so that a slow reader holds no more of the socket's memory than one."""
    for at in range(0, len(data), PIECE):
        yield data[at : at + PIECE]
