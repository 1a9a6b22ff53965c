"""A dataset is received: what holders announced on the chain, fetched, checked, confirmed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ledger.chain.state import DELIVERY, REQUEST
from ledger.messages.delivery import GIVEN, DeliveryState
from ledger.messages.request_state import ALLOWED, RequestState
from sharing.errors import NotYet, Refused, Tampered
from sharing.package.container import Package

if TYPE_CHECKING:
    from ledger.chain.view import ChainView
    from sharing.package.shelf import Shelf


@dataclass(frozen=True, slots=True)
class Announced:
    """One holder's answer to a request, as the chain has it.

    Attributes:
        request: Id of the ACCESS_REQ.
        holder: By its id in region.yaml.
        party: By its id on the chain.
        delivery: What it announced; None as long as it has not answered.
    """

    request: bytes
    holder: str
    party: bytes
    delivery: DeliveryState | None

    @property
    def given(self) -> DeliveryState:
        """What was delivered.

        Raises:
            NotYet: The holder has not answered.
            Refused: It answered that there can be no dataset.
        """
        if self.delivery is None:
            raise NotYet(f"{self.holder} has not answered so far")
        if self.delivery.answer != GIVEN:
            raise Refused("delivery", f"{self.holder} answered that there is no dataset: {self.delivery.answer}")
        return self.delivery


def announced(view: ChainView, request: bytes) -> list[Announced]:
    """Return the answer of every holder that a request asks, in the chain's order.

    Raises:
        NotYet: The request does not stand allowed up to here.
    """
    stored = view.state(REQUEST, request)
    state = None if stored is None else RequestState.decode(stored)
    if state is None or state.stage != ALLOWED:
        raise NotYet(f"the request {request.hex()[:16]} does not stand allowed up to block {view.head.height}")
    found = [(one, view.state(DELIVERY, request + one)) for one in state.holders]
    return [
        Announced(request, view.name(one), one, None if value is None else DeliveryState.decode(value))
        for one, value in found
    ]


def fetch(shelf: Shelf, answer: Announced, path: Path, seen: Callable[[int], None] = lambda _: None) -> DeliveryState:
    """The package that a holder announced lies at the path, or nothing does.

    Args:
        shelf: Where packages lie.
        answer: What the chain says of it.
        path: Where it goes, suffix ``.xld``.
        seen: Told of bytes that came, for a bar.

    Raises:
        NotYet: The holder has not answered, or the package is not on the shelf.
        Refused: There is none.
        Tampered: What lies there is not what was announced.
        OSError: It cannot be written.
    """
    delivery = answer.given
    shelf.get(delivery.package, path, delivery.size, seen, lambda part: _check(part, answer, delivery))
    return delivery


def _check(path: Path, answer: Announced, delivery: DeliveryState) -> None:
    with Package(path) as package:
        manifest = package.manifest
        said = package.manifest_digest, manifest.request, manifest.holder, manifest.records
        if said != (delivery.manifest, answer.request, answer.holder, delivery.records):
            raise Tampered("the package is another one than its holder announced on the chain")
