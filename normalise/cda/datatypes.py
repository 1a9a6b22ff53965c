"""How a row of a table reads an element: the ``type`` column. ``docs/mapping.md`` lists them.

A reader takes the element, the document being read and the row's vocabulary, and returns a JSON value or None.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from normalise.cda import timing, values
from normalise.cda.attachments import attachment
from normalise.cda.names import address, contact_point, human_name
from normalise.cda.observed import boolean, ratio, value, whole
from normalise.cda.reading import Body, Reading
from normalise.cda.tables import VOCABULARIES, find
from normalise.cda.tree import Node

Read = Callable[[Node, Reading, str], Any]

_AGES: Final = frozenset({"min", "h", "d", "wk", "mo", "a"})


def _code(node: Node, reading: Reading, vocabulary: str) -> str | None:
    code = node.get("code") or node.get("value")
    if not code:
        return None
    if not vocabulary:
        return code
    term = find(vocabulary, code, node.get("codeSystem"))
    for other in node.all("translation") if term is None else ():
        term = term or find(vocabulary, other.get("code"), other.get("codeSystem"))
    if term is None:
        reading.note("bad_value", f"A code that the vocabulary {vocabulary} does not know is left out.")
    return term.code if term else None


def _known(node: Node, _: Reading, vocabulary: str) -> str | None:
    """Only what the vocabulary knows, without a note: the element has other codes that mean other things."""
    code = node.get("code")
    term = find(vocabulary, code, node.get("codeSystem")) if code else None
    return term.code if term else None


def _mood(node: Node, _: Reading, vocabulary: str) -> str | None:
    """What the statement's mood is in the vocabulary."""
    term = find(vocabulary, node.get("moodCode") or "EVN")
    return term.code if term else None


def _class(node: Node, _: Reading, vocabulary: str) -> Body | None:
    """The Coding that one of the element's codings is in the vocabulary, or nothing."""
    for one in (node, *node.all("translation")):
        if one.get("code") and (term := find(vocabulary, one.get("code"), one.get("codeSystem"))) is not None:
            return values.term_coding(term)
    return None


def _language(node: Node, _: Reading, __: str) -> Body | None:
    """RFC 5646 tags; the three letters of ISO 639-2 where two would do become two."""
    code = node.get("code")
    head, dash, tail = code.partition("-")
    term = find("Language", head.lower()) if head else None
    tag = (term.code if term else head) + dash + tail
    return {"coding": [{"system": "urn:ietf:bcp:47", "code": tag}]} if code else None


def _words_or_code(node: Node, reading: Reading, _: str) -> Body | None:
    """A concept that may come as a code or as words, whichever was sent."""
    found = values.concept(node, reading)
    if found is not None:
        return found
    said = values.text(node, reading)
    return {"text": said} if said else None


def _allergy(node: Node, reading: Reading, vocabulary: str) -> Body | None:
    """What somebody is allergic to in words; words that deny any allergy are a code."""
    found = _words_or_code(node, reading, "")
    if found is not None and "coding" not in found:
        term = find(vocabulary, found["text"].rstrip("。.;；"))
        if term is not None:
            found["coding"] = [values.term_coding(term)]
    return found


def _repeats(node: Node, reading: Reading, _: str) -> int | None:
    """How often a supply may be repeated after the first time; CDA counts the first."""
    found = _positive(node, reading, "")
    return found - 1 if found else None


def _start(node: Node, reading: Reading, _: str) -> str | None:
    low = node.first("low")
    found = values.instant_of(low if low is not None else node, reading)
    return found.date if found else None


def _mapped(node: Node, _: Reading, vocabulary: str) -> Body | None:
    """Only what the vocabulary knows, as a CodeableConcept; nothing else."""
    term = find(vocabulary, node.get("code"), node.get("codeSystem")) if node.get("code") else None
    return {"coding": [values.term_coding(term)]} if term else None


def _string(node: Node, reading: Reading, _: str) -> str | None:
    return values.text(node, reading) or None


def _wording(node: Node, reading: Reading, _: str) -> str | None:
    """How a person calls a coded element."""
    found = values.concept(node, reading)
    return (found.get("text") or found["coding"][0].get("display") or found["coding"][0]["code"]) if found else None


def _worded(node: Node, reading: Reading, _: str) -> Body | None:
    said = values.text(node, reading)
    return {"text": said} if said else None


def _date(node: Node, reading: Reading, _: str) -> str | None:
    found = values.instant_of(node, reading)
    return found.date if found else None


def _instant(node: Node, reading: Reading, _: str) -> str | None:
    found = values.instant_of(node, reading)
    return found.instant if found else None


def _exact(node: Node, reading: Reading, _: str) -> str | None:
    """A dateTime where it is exact to the minute, for what says more than a date elsewhere."""
    return _instant(node, reading, "")


def _positive(node: Node, reading: Reading, _: str) -> int | None:
    found = whole(node, reading)
    return found if found is not None and found > 0 else None


def _age(node: Node, reading: Reading, _: str) -> Body | None:
    found = values.quantity(node, reading)
    return found if found and found.get("code") in _AGES and found["value"] > 0 else None  # invariant age-1


def _annotation(node: Node, reading: Reading, _: str) -> Body | None:
    said = values.text(node, reading)
    return {"text": said} if said else None


def _plain(read: Callable[[Node, Reading], Any]) -> Read:
    return lambda node, reading, _: read(node, reading)


def _when(name: str) -> Read:
    return lambda node, reading, _: values.moment_or_period(node, reading, name)


def _attribute(name: str) -> Read:
    return lambda node, _, __: node.get(name) or None


def _end(name: str) -> Read:
    def read(node: Node, reading: Reading, _: str) -> str | None:
        end = node.first(name)
        return values.date_time(end, reading) if end is not None else None

    return read


#: Readers by name; those with an argument in ``MAKERS``.
READERS: Final[dict[str, Read]] = {
    "Address": _plain(address),
    "Age": _age,
    "Annotation": _annotation,
    "Attachment": _plain(attachment),
    "CodeableConcept": values.concept,
    "Coding": _plain(values.coding),
    "ContactPoint": _plain(contact_point),
    "HumanName": _plain(human_name),
    "Identifier": _plain(values.identifier),
    "Period": _plain(values.period),
    "Quantity": _plain(values.quantity),
    "Range": _plain(values.limits),
    "Ratio": _plain(ratio),
    "Timing": _plain(timing.timing),
    "allergy": _allergy,
    "boolean": _plain(boolean),
    "bounds": _plain(timing.bounds),
    "class": _class,
    "code": _code,
    "concept.or.words": _words_or_code,
    "date": _date,
    "dateTime": _plain(values.date_time),
    "exact": _exact,
    "instant": _instant,
    "integer": _plain(whole),
    "known": _known,
    "language": _language,
    "mapped": _mapped,
    "moment": _plain(timing.moment),
    "mood": _mood,
    "positiveInt": _positive,
    "repeats": _repeats,
    "start": _start,
    "string": _string,
    "value": _plain(value),
    "worded": _worded,
    "wording": _wording,
}
MAKERS: Final[dict[str, Callable[[str], Read]]] = {"when": _when, "attribute": _attribute, "end": _end}


def check_vocabulary(name: str) -> None:
    """Raise ValueError where a row names a vocabulary that there is none of."""
    if name and name not in VOCABULARIES:
        raise ValueError(f"vocabulary {name!r} is not in schemas/cda/vocabularies.csv")
