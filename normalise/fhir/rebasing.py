"""One resource made ours: every reference in it says our ids, and nothing in it may change its meaning unnoticed."""

from __future__ import annotations

from typing import Any, Final

from normalise.collecting import Collector
from normalise.errors import set_aside
from normalise.fhir.addresses import Addresses
from normalise.fhir.entries import WHOLE, Held
from normalise.fhir.tables import MODIFIERS

Body = dict[str, Any]

#: Characters of an extension's url that a message shows.
_SHOWN: Final = 120


class Rebasing:
    """Goes through resources and puts our ids for the sender's addresses."""

    def __init__(self, addresses: Addresses, collector: Collector) -> None:
        self._addresses = addresses
        self._collector = collector

    def run(self, one: Held) -> None:
        """Every reference of the resource is ours; what cannot be resolved is kept as an identifier, with a note.

        Raises:
            SetAside: A reference is none, or something in the resource changes its meaning in a way not understood.
        """
        if one.body.get("implicitRules") is not None:
            raise set_aside(
                "fhir_modifier", f"{one.where}.implicitRules", "Rules that are not understood came; send without them."
            )
        self._walk(one.body, one, [one.where])

    def _walk(self, node: Any, around: Held, trail: list[str]) -> None:
        if isinstance(node, list):
            for number, one in enumerate(node):
                if isinstance(one, dict | list):
                    trail.append(f"[{number}]")
                    self._walk(one, around, trail)
                    trail.pop()
            return
        reference = node.get("reference")
        if type(reference) is str and not reference.startswith("#"):
            self._point(node, reference, around, trail)
        if "modifierExtension" in node:
            _understand(node["modifierExtension"], trail)
        address = node.get("url")
        if type(address) is str and address.startswith(("Binary/", "urn:uuid:")) and "reference" not in node:
            self._attach(node, address, around, trail)
        for key, value in node.items():
            if isinstance(value, dict | list):
                trail.append(f".{key}")
                self._walk(value, around, trail)
                trail.pop()

    def _point(self, node: Body, reference: str, around: Held, trail: list[str]) -> None:
        where = f"{''.join(trail)}.reference"
        ours = self._addresses.resolve(reference, around, where)
        if ours is not None:
            node["reference"] = ours
            return
        if around.bundle in WHOLE and reference.startswith("urn:"):
            raise set_aside("fhir_bundle", where, f"Expected the {around.bundle} to hold what this refers to; add it.")
        del node["reference"]
        node.setdefault("identifier", self._addresses.logical(reference))
        self._collector.note("unresolved", where, "What it refers to did not come; it is kept as an identifier.")

    def _attach(self, node: Body, address: str, around: Held, trail: list[str]) -> None:
        """An attachment's own address of a Binary that came is ours, too."""
        if "contentType" in node or address.startswith("Binary/"):
            ours = self._addresses.resolve(address, around, f"{''.join(trail)}.url")
            node["url"] = ours or address


def _understand(extensions: Any, trail: list[str]) -> None:
    for one in extensions if isinstance(extensions, list) else [extensions]:
        url = one.get("url") if isinstance(one, dict) else None
        if not isinstance(url, str) or url not in MODIFIERS:
            shown = url[:_SHOWN] if isinstance(url, str) and url.isascii() and url.isprintable() else "without a url"
            where = f"{''.join(trail)}.modifierExtension"
            raise set_aside("fhir_modifier", where, f"The modifier extension {shown} is not understood.")
