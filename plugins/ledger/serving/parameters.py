"""The parameters of requests, each bounded: what is not exactly one of these is refused before anything is read."""

from __future__ import annotations

import re
from typing import Annotated, Final

from fastapi import Path, Query, Request
from pydantic import BeforeValidator, Field

from ledger.errors import Refused

MOST: Final = (1 << 53) - 1  # what every JSON reader counts without loss
_WHOLE = re.compile(r"0|[1-9][0-9]{0,15}", re.ASCII)


def _whole(value: object) -> object:
    """Return a number written as digits alone; pydantic by itself takes ``1.0``, ``+1`` and blanks around."""
    if isinstance(value, str) and not _WHOLE.fullmatch(value):
        raise ValueError("expected a whole number in digits, without sign or leading zeros")
    return value


_DIGITS: Final = BeforeValidator(_whole)
Height = Annotated[int, Field(ge=0, le=MOST), _DIGITS, Path(description="Height of a block; 0 is genesis.")]
BlockHeight = Annotated[int, Field(ge=1, le=MOST), _DIGITS, Path(description="Height of a block above genesis.")]
Epoch = Annotated[int, Field(ge=0, lt=1 << 32), _DIGITS, Path(description="Number of an epoch.")]
Place = Annotated[int, Field(ge=0, le=1_023), _DIGITS, Path(description="Place of a transaction in its block.")]
Kind = Annotated[
    int, Field(ge=1, le=255), _DIGITS, Path(description="Kind of a state entry; see docs/formats/block.md.")
]
Identity = Annotated[str, Path(pattern=r"^(-|([0-9a-f]{2}){1,64})$", description="Identity, hex; - for the only one.")]
Rid = Annotated[str, Path(pattern=r"^[0-9a-f]{32}$", description="A record's id, hex.")]
Version = Annotated[int, Field(ge=1, lt=1 << 32), _DIGITS, Query(description="Version of the record.")]
From = Annotated[int, Field(ge=0, le=MOST), _DIGITS, Query(alias="from", description="First height.")]
Limit = Annotated[int, Field(ge=1, le=200), _DIGITS, Query(description="Blocks at most.")]
Count = Annotated[int, Field(ge=1, le=256), _DIGITS, Query(description="Headers at most.")]
Size = Annotated[int, Field(ge=1, le=MOST), _DIGITS, Query(description="Blocks in the tree.")]
Prefix = Annotated[str, Query(pattern=r"^[01]{0,40}$", max_length=40, description="First bits of the state keys.")]
Level = Annotated[str, Path(pattern=r"^([0-7]|entries)$", description="Level of the tile, or entries.")]
Number = Annotated[str, Path(pattern=r"^(x[0-9]{3}/){0,5}[0-9]{3}(\.p/[1-9][0-9]{0,2})?$", description="<N>[.p/<W>].")]


def only_documented(request: Request) -> None:
    """Raise Refused where a parameter is none of the route's, or stands twice: it would be another question."""
    known = {one.alias for one in request.scope["route"].dependant.query_params}
    given = [name for name, _ in request.query_params.multi_items()]
    if not known.issuperset(given) or len(set(given)) < len(given):
        raise Refused("parameter", "13", f"expected at most once each: {', '.join(sorted(known)) or 'none'}")
