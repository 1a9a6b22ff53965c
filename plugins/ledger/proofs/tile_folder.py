"""A folder that any web server or object store can hand out: tiles, entries, head, checkpoint, genesis (section 13)."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ledger.chain.replica import Replica
from ledger.errors import Refused
from ledger.proofs.checkpoint import Note
from ledger.proofs.tiles import ENTRY_BYTES, WIDTH, Tile, bundle, tiles_of
from ledger.sync.header_chain import CertifiedHeader

HEAD: Final = "head"
CHECKPOINT: Final = "checkpoint"
GENESIS: Final = "genesis"


@dataclass(frozen=True, slots=True)
class Written:
    """What was written.

    Attributes:
        height: Height of the head that the folder proves.
        files: Files written now; those of before are immutable and were left.
    """

    height: int
    files: int


def write_tiles(folder: Path, replica: Replica, note: Note | None = None) -> Written:
    """Bring a folder up to a replica's head; what readers see changes last, so that they never miss a tile.

    Args:
        folder: Where; made if it is not there.
        replica: What is shown.
        note: The newest checkpoint, if there is one.

    Raises:
        Refused: The folder holds another chain, or there is no block yet.
        OSError: It cannot be written.
    """
    view = replica.view
    if not view.head.height:
        raise Refused("tiles", "13", "there is no block above genesis yet; tiles begin with the first one")
    genesis = replica.genesis.encode()
    present = folder / GENESIS
    if present.exists() and present.read_bytes() != genesis:
        raise Refused("tiles", "13", f"{folder} holds the tiles of another chain; name an empty folder")
    files = _place(present, genesis)
    sizes = {view.head.height, *([note.checkpoint.height] if note else [])}
    for size in sorted(sizes):
        for tile in tiles_of(size):
            files += _tile(folder, tile, replica)
    head = CertifiedHeader(view.head, view.commit_qc).encode()
    if note is not None:
        files += _place(folder / CHECKPOINT, note.encode(), again=True)
    return Written(view.head.height, files + _place(folder / HEAD, head, again=True))


def _tile(folder: Path, tile: Tile, replica: Replica) -> int:
    """Write one tile, and the entries beneath where it is of leaves; return how many files that were."""
    made = 0
    if not (folder / tile.path).exists():
        made += _place(folder / tile.path, tile.read(replica.history_node))
    if tile.level == 0 and not (folder / tile.entries_path).exists():
        entries = bundle(tile, lambda height: replica.header(height).block_id)
        if len(entries) != tile.width * ENTRY_BYTES:
            raise RuntimeError("an entry of the history has another length than the format says")
        made += _place(folder / tile.entries_path, entries)
    if tile.width == WIDTH:  # what was partial before it was full is asked for by nobody new
        for path in (tile.path, tile.entries_path) if tile.level == 0 else (tile.path,):
            shutil.rmtree(folder / f"{path}.p", ignore_errors=True)
    return made


def _place(path: Path, data: bytes, *, again: bool = False) -> int:
    """Write a file whole or not at all; return 1, or 0 where it was there and is immutable."""
    if path.exists() and not again:
        return 0
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(data)
    part.replace(path)
    return 1
