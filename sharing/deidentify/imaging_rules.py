"""What becomes of each element: table E.1-1 of PS3.15 and ``schemas/deidentify/imaging/elements.yaml``, read once."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

import yaml
from pydicom.datadict import tag_for_keyword

_FOLDER: Final = files("schemas") / "deidentify" / "imaging"


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of objects.

    Attributes:
        table: Action of table E.1-1 by tag: ``X``, ``Z``, ``D``, ``U`` and their combinations.
        edition: Of the standard.
        never_leave: Classes that are refused whole, and what they are.
        never_dates: Dates that do not move but go.
        kept: Elements of the patient that stay.
        descriptors: Texts that are scrubbed where the profile wants it.
        structured: Sequences whose items are cleaned though the table removes them.
        texts: Texts of structured content.
        concepts: Concepts whose items go whole, by coding scheme.
        safe_texts: Texts that stay where scrubbing finds nothing.
        safe_bytes: Bytes that stay.
        known: Elements whose values are looked for in texts that stay.
        pixels: Which pictures have names in their pixels unless they say no.
    """

    table: Mapping[int, str]
    edition: str
    never_leave: Mapping[str, str]
    never_dates: frozenset[int]
    kept: frozenset[int]
    descriptors: frozenset[int]
    structured: frozenset[int]
    texts: frozenset[int]
    concepts: Mapping[str, frozenset[str]]
    safe_texts: frozenset[int]
    safe_bytes: frozenset[int]
    known: frozenset[int]
    pixels: Mapping[str, frozenset[str]]


@cache
def rules() -> Rules:
    """Return the rules that ship."""
    with (_FOLDER / "ps315.csv").open(encoding="ascii") as lines:
        table = {int(row["tag"], 16): row["action"] for row in csv.DictReader(lines)}
    listed = yaml.safe_load((_FOLDER / "elements.yaml").read_text("utf-8"))
    structured = listed["structured"]
    return Rules(
        table=table,
        edition=listed["edition"],
        never_leave=listed["never_leave"]["classes"],
        never_dates=_tags(listed["dates"]["never"]),
        kept=_tags(listed["characteristics"]["keep"]),
        descriptors=_tags(listed["descriptors"]["scrub"]),
        structured=_tags(structured["sequences"] + listed["kept_sequences"]["sequences"]),
        texts=_tags(structured["texts"]),
        concepts={scheme: frozenset(codes) for scheme, codes in structured["dropped_concepts"].items()},
        safe_texts=_tags(listed["safe_texts"]["elements"]),
        safe_bytes=_tags(listed["safe_bytes"]["elements"]),
        known=_tags(listed["known"]["elements"]),
        pixels={key: frozenset(value) for key, value in listed["pixels"].items() if key != "reason"},
    )


@cache
def devices() -> tuple[Mapping[str, Any], ...]:
    """Return where devices burn names into pixels, ``devices.yaml``."""
    return tuple(yaml.safe_load((_FOLDER / "devices.yaml").read_text("utf-8"))["devices"])


def _tags(keywords: list[str]) -> frozenset[int]:
    found = [tag_for_keyword(one) for one in keywords]
    if None in found:
        raise RuntimeError(f"elements.yaml names what is no element: {keywords[found.index(None)]}")
    return frozenset(one for one in found if one is not None)
