"""Whom a statement names, in words: everyone, an institution, a class, a kind of institution."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from ledger.chain.roster import CLASS_PARTY, CLASSES, PARTIES, Roster
from ledger.messages.provisions import MAX_NAMED
from sharing.errors import Refused

#: Classes and institutions of a provision; two empty ones are everyone.
Named = tuple[tuple[str, ...], tuple[bytes, ...]]
EVERYONE: Final = "everyone"
_CLASS: Final = "class:"


class Parties:
    """The institutions of the region as people call them.

    Args:
        roster: Who is registered.
    """

    def __init__(self, roster: Roster) -> None:
        self._ids = {one.name: one.id for one in roster}
        self._names = {one.id: one.name for one in roster}
        self._kinds = {kind: tuple(one.id for one in roster if one.party == kind and one.active) for kind in PARTIES}

    def name(self, id_: bytes) -> str:
        """Return an institution's id in the region's files, or its hex where nobody of that id is registered."""
        return self._names.get(id_, id_.hex())

    def named(self, who: Iterable[str], permits: bool) -> Named:
        """Return whom these words name together.

        Args:
            who: ``everyone``, ``class:A``, a kind like ``hospital``, or an institution's id in the region's files.
            permits: Whether for a permission; else for a denial.

        Raises:
            Refused: A word names nobody, or a kind that the chain cannot name.
        """
        words = list(who)
        if not words or EVERYONE in words:
            return (), ()
        found = [self._one(one, permits) for one in words]
        classes = sorted({name for some, _ in found for name in some}, key=CLASSES.index)
        ids = sorted({id_ for _, some in found for id_ in some})
        if len(ids) > MAX_NAMED:
            raise Refused("who", f"{len(ids)} institutions, and a provision names at most {MAX_NAMED}; name a class")
        return tuple(classes), tuple(ids)

    def _one(self, word: str, permits: bool) -> Named:
        if word.startswith(_CLASS):
            class_ = word.removeprefix(_CLASS)
            if class_ not in CLASSES:
                raise Refused("who", f"the classes are {', '.join(CLASSES)}; another came")
            return (class_,), ()
        if word in self._ids:
            return (), (self._ids[word],)
        if word in self._kinds:
            return self._kind(word, permits)
        kinds = ", ".join(one for one in PARTIES)
        raise Refused("who", f"expected an institution of region.yaml, class:A, {EVERYONE}, or one of {kinds}")

    def _kind(self, kind: str, permits: bool) -> Named:
        """Return the classes of a kind; of a kind that shares a class with others, who is registered today."""
        classes = tuple(name for name in CLASSES if name != "P" and CLASS_PARTY[name] == kind)
        if classes:
            return classes, ()
        if not permits:
            raise Refused(
                "who", f"{kind}: a denial by kind would miss who is admitted later; deny class:P (all without a vote) "
                "or name institutions"
            )  # fmt: skip
        if not self._kinds[kind]:
            raise Refused("who", f"{kind}: no institution of that kind is registered")
        return (), self._kinds[kind]

    def told(self, classes: Iterable[str], institutions: Iterable[bytes]) -> str:
        """Return in words whom a provision names."""
        words = [*(f"every institution of class {one}" for one in classes), *map(self.name, institutions)]
        return ", ".join(words) or EVERYONE
