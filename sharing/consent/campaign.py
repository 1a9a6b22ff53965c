"""What somebody wants in words, one patient or a file of thousands: the paper consents of a hospital's campaign.

A file is CSV with a header, or NDJSON; both have the same columns, and a cell that is empty or missing takes what the
command line said. Several words of a cell stand apart by spaces or semicolons.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, cast

import orjson

from ledger.messages.provisions import EVERY_PURPOSE, FOREVER, MAX_NAMED, PURPOSES, Interval, Provision
from shangmi import Sm3
from sharing.consent.dates import milliseconds, span
from sharing.consent.filing import Decision, Wish
from sharing.consent.parties import Parties
from sharing.errors import Malformed, Refused
from vault.consents import Form
from vault.settling import type_numbers

COLUMNS: Final = (
    "patient", "decision", "purpose", "who", "types", "from", "until", "data_from", "data_until", "reference",
)  # fmt: skip
_LISTS: Final = frozenset({"purpose", "who", "types"})
_DECISIONS: Final = ("grant", "deny", "withdraw")
_LINE: Final = 1 << 16
_PIECE: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Terms:
    """What is wanted, in words.

    Attributes:
        purpose: Of ``PURPOSES``; none is every one.
        who: As ``Parties.named`` takes it; none is everyone.
        types: FHIR resource types; none is all.
        valid: First and last date or time on which it holds; "" is open.
        data: First and last date or time of the records it speaks of.
        reference: Where the paper lies.
    """

    purpose: tuple[str, ...] = ()
    who: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    valid: tuple[str, str] = ("", "")
    data: tuple[str, str] = ("", "")
    reference: str = ""

    def provision(self, permits: bool, parties: Parties) -> Provision:
        """Return what it permits or denies.

        Raises:
            Refused: A word means nothing here.
        """
        if set(self.purpose) - EVERY_PURPOSE:
            raise Refused("purpose", f"expected of {', '.join(PURPOSES)}; another word came")
        if set(self.types) - type_numbers().keys():
            raise Refused("types", "expected FHIR resource types like Observation; another word came")
        if len(set(self.types)) > MAX_NAMED:
            raise Refused("types", f"{len(self.types)} types, and a provision names at most {MAX_NAMED}")
        classes, institutions = parties.named(self.who, permits)
        types = tuple(sorted({type_numbers()[one] for one in self.types}))
        purposes = frozenset(self.purpose) or EVERY_PURPOSE
        return Provision(
            permits,
            purposes,
            classes,
            institutions,
            types,
            _interval("valid", self.valid),
            _interval("data", self.data),
        )


@dataclass
class Campaign:
    """A file of wishes.

    Args:
        path: CSV, or NDJSON where its name ends in ``.ndjson`` or ``.jsonl``.
        decision: What is wanted where a line does not say.
        terms: What holds where a cell is empty.
        parties: Whom lines may name.
    """

    path: Path
    decision: Decision
    terms: Terms
    parties: Parties
    faults: list[tuple[str, str]] = field(default_factory=list)

    def wishes(self) -> Iterator[Wish]:
        """Yield a wish for each line; lines that say nothing are left out and noted in ``faults``.

        Raises:
            Malformed: The file is no such table at all; nothing is yielded.
        """
        for number, cells in self._lines():
            place = f"line {number}"
            try:
                yield self._wish(cells, place)
            except (Refused, Malformed) as error:
                self.faults.append((place, str(error)))

    def _lines(self) -> Iterator[tuple[int, Mapping[str, Any]]]:
        read = self._objects if self.path.suffix in (".ndjson", ".jsonl") else self._rows
        try:
            with self.path.open("r", encoding="utf-8-sig", newline="") as stream:
                yield from read(stream)
        except UnicodeDecodeError:
            raise Malformed(f"{self.path.name}: expected UTF-8") from None

    def _rows(self, stream: io.TextIOBase) -> Iterator[tuple[int, Mapping[str, Any]]]:
        rows = csv.DictReader(stream, restkey="", strict=True)
        try:
            names = list(rows.fieldnames or ())
            if "patient" not in names or len(set(names)) < len(names) or set(names) - set(COLUMNS):
                raise Malformed(f"{self.path.name}: expected a header with patient, and of {', '.join(COLUMNS)}")
            for cells in rows:
                yield rows.line_num, cells
        except csv.Error:
            raise Malformed(f"{self.path.name}, line {rows.line_num}: no CSV") from None

    def _objects(self, stream: io.TextIOBase) -> Iterator[tuple[int, Mapping[str, Any]]]:
        for number, line in enumerate(iter(lambda: stream.readline(_LINE), ""), 1):
            if not line.strip():
                continue
            try:
                cells = orjson.loads(line)
            except orjson.JSONDecodeError:
                cells = None
            if isinstance(cells, dict) and not cells.keys() - set(COLUMNS):
                yield number, cells
            else:
                self.faults.append((f"line {number}", f"expected one JSON object with names of {', '.join(COLUMNS)}"))

    def _wish(self, cells: Mapping[str, Any], place: str) -> Wish:
        if "" in cells:
            raise Malformed("more cells than the header has columns")
        said = {name: _words(name, value) for name, value in cells.items() if value not in (None, "", [])}
        patient, decision = _one(said.get("patient")), _one(said.get("decision")) or self.decision
        if not patient or decision not in _DECISIONS:
            raise Malformed(f"expected an id under patient, and a decision of {', '.join(_DECISIONS)}")
        terms = replace(
            self.terms,
            **{name: said[name] for name in _LISTS & said.keys()},
            valid=(_one(said.get("from")) or self.terms.valid[0], _one(said.get("until")) or self.terms.valid[1]),
            data=(
                _one(said.get("data_from")) or self.terms.data[0],
                _one(said.get("data_until")) or self.terms.data[1],
            ),
            reference=_one(said.get("reference")) or self.terms.reference,
        )  # fmt: skip
        return wish(patient, cast("Decision", decision), terms, self.parties, place)


def wish(patient: str, decision: Decision, terms: Terms, parties: Parties, place: str = "") -> Wish:
    """Return what a patient wants, on a paper that lies where the terms say.

    Raises:
        Refused: A word means nothing here, or no paper is named.
    """
    if not terms.reference.strip():
        raise Refused("reference", "a statement rests on a signed form: say where the paper lies, or have a key sign")
    provisions = () if decision == "withdraw" else (terms.provision(decision == "grant", parties),)
    return Wish(patient, decision, provisions, Form.of(terms.reference), place=place)


def form_of(path: Path, reference: str = "") -> Form:
    """Return the form whose scan is a file: its digest, and its name where no other reference is given."""
    digest = Sm3()
    with path.open("rb") as stream:
        while piece := stream.read(_PIECE):
            digest.update(piece)
    return Form.of(reference or path.name, digest.digest().hex())


def _words(name: str, value: Any) -> tuple[str, ...]:
    parts = value if isinstance(value, list) else [value]
    if not all(isinstance(one, str) for one in parts):
        raise Malformed(f"{name}: expected text")
    if name not in _LISTS:
        return tuple(parts)
    return tuple(word for one in parts for word in one.replace(";", " ").replace(",", " ").split())


def _one(words: tuple[str, ...] | None) -> str:
    if words is not None and len(words) != 1:
        raise Malformed("expected one text in a cell that is no list")
    return words[0].strip() if words else ""


def _interval(name: str, between: tuple[str, str]) -> Interval:
    first, last = (span(one) if one else None for one in between)
    if (between[0] and first is None) or (between[1] and last is None):
        raise Refused(name, "expected dates like 2026-11-20 or 2026")
    start = max(0, milliseconds(first[0])) if first else 0
    end = milliseconds(last[1]) if last else FOREVER
    if start >= end:
        raise Refused(name, "its time ends before it begins")
    return start, end
