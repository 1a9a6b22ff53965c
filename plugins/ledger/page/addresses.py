"""Which nodes the page asks: ``XINGLIN_NODE_URLS``, an address for each institution's name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

VARIABLE: Final = "XINGLIN_NODE_URLS"
MOST_NODES: Final = 64
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


class WrongAddresses(Exception):
    """The configured addresses cannot be used; the message says which and what to write instead."""


@dataclass(frozen=True, slots=True)
class NodeAddress:
    """Where a node answers.

    Attributes:
        institution: Whose node it is, by the id in the region's file. It is configured here, because a server's own
            word about who it is proves nothing.
        url: ``http://host:port`` or ``https://host:port``, with a path or without, never with a user.
    """

    institution: str
    url: str


def node_addresses(environment: Mapping[str, str]) -> tuple[NodeAddress, ...]:
    """Return the nodes that ``institution=url,institution=url`` names, in that order; none without the variable.

    Raises:
        WrongAddresses: A part is not of that form, an institution stands twice, or there are too many.
    """
    parts = [one.strip() for one in environment.get(VARIABLE, "").split(",")]
    found = tuple(_address(one) for one in parts if one)
    if len(found) > MOST_NODES:
        raise WrongAddresses(f"{VARIABLE}: {len(found)} nodes, at most {MOST_NODES}; name those that people look at")
    names = [one.institution for one in found]
    if twice := sorted({one for one in names if names.count(one) > 1}):
        raise WrongAddresses(f"{VARIABLE}: {', '.join(twice)} stands twice; give each institution one address")
    return found


def _address(part: str) -> NodeAddress:
    name, _, url = part.partition("=")
    if not _NAME.fullmatch(name):
        raise WrongAddresses(f"{VARIABLE}: expected institution=url, separated by commas; a part has no such name")
    try:
        split = urlsplit(url)
        whole = split.scheme in ("http", "https") and bool(split.hostname) and split.port != 0
    except ValueError:
        whole = False
    if not whole or split.username is not None or split.query or split.fragment:
        # The address itself is not shown: it may hold a password.
        raise WrongAddresses(f"{VARIABLE}: the address of {name} is not http(s)://host:port without user and query")
    return NodeAddress(name, url.rstrip("/"))
