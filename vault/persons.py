"""Which patients are one person, and what a person must decide.

Patients are one where they share a resident identity number, or an identifier of the same assigner, or a sender merged
them. Never silently: evidence that speaks against itself joins nobody and stands on the worklist until somebody
decides. The answer depends on the evidence alone, not on the order in which it came; a merge taken back is taken back.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal

from pymongo import UpdateOne

from shangmi import sm3
from vault.blind_index import BlindIndex
from vault.errors import Unknown
from vault.layout import Document, Layout

Decision = Literal["same", "different"]
Reason = Literal["two-resident-numbers", "resident-number-disagrees", "shared-number"]
Pair = tuple[bytes, bytes]

#: A number that more patients hold is no person's (a ward's telephone, nines), and joins nobody.
MOST: Final = 50
#: Patients that one examination looks up at a time.
_EXAMINED: Final = 1_000


@dataclass(frozen=True, slots=True)
class Person:
    """Patients that are one.

    Attributes:
        survivor: Token of the patient that stands for all of them.
        members: Tokens of all of them, the survivor first.
    """

    survivor: bytes
    members: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Question:
    """Evidence that contradicts itself, for a person to decide.

    Attributes:
        id: 32 hex digits, the same for the same patients and reason.
        reason: What contradicts what.
        owners: Tokens of the two patients.
        state: ``open``, or what was decided.
        since: When it was first found.
    """

    id: str
    reason: Reason
    owners: Pair
    state: Literal["open", "same", "different"]
    since: datetime


class Persons:
    """The persons of one institution."""

    def __init__(self, layout: Layout, index: BlindIndex) -> None:
        self._layout = layout
        self._index = index

    def of(self, patient: str) -> Person:
        """Return the person that a patient is; somebody nothing is known of is a person of one."""
        return self.person(self._index.owner(patient))

    def person(self, owner: bytes) -> Person:
        """Return the person that the patient under a token is."""
        around = self._around(owner)
        members = next((one for one in around.persons() if owner in one), frozenset({owner}))
        survivor = around.survivor(members)
        return Person(survivor, (survivor, *sorted(members - {survivor})))

    def examine(self) -> int:
        """Everything that came since the last examination was looked at; returns how many questions are open.

        A killed examination is done again by the next.
        """
        identities = self._layout["identities"]
        while fresh := list(identities.find({"examined": False}).limit(_EXAMINED)):
            for owner in self._connected(fresh):
                self._ask(owner)
            seen = ({"_id": one["_id"], "order": one["order"]} for one in fresh)
            identities.bulk_write([UpdateOne(one, {"$set": {"examined": True}}) for one in seen], ordered=False)
        return self._layout["identity_questions"].count_documents({"state": "open"})

    def connected(self, owners: Sequence[bytes]) -> list[bytes]:
        """Return those of these patients that share a number or a link with others; most share none."""
        known = self._layout["identities"].find({"_id": {"$in": list(owners)}})
        return self._connected(list(known), owners)

    def _connected(self, fresh: Sequence[Document], owners: Sequence[bytes] | None = None) -> list[bytes]:
        owners = [one["_id"] for one in fresh] if owners is None else owners
        found: set[bytes] = set()
        for name in ("numbers", "residents"):
            tokens = {token for one in fresh for token in one[name]}
            holders = Counter(
                token
                for one in self._layout["identities"].find({name: {"$in": list(tokens)}}, {name: 1})
                for token in one[name]
            )
            found |= {one["_id"] for one in fresh if any(1 < holders[token] <= MOST for token in one[name])}
        for link in self._layout["identity_links"].find({"pair": {"$in": list(owners)}}, {"pair": 1}):
            found |= set(link["pair"])
        for question in self._layout["identity_questions"].find({"owners": {"$in": list(owners)}, "state": "open"}):
            found |= set(question["owners"])
        return [owner for owner in owners if owner in found]

    def forget(self, owner: bytes) -> None:
        """Nothing is left of what joined a patient with others."""
        self._layout["identities"].delete_one({"_id": owner})
        self._layout["identity_links"].delete_many({"pair": owner})
        self._layout["identity_questions"].delete_many({"owners": owner})

    def _ask(self, owner: bytes) -> None:
        """What contradicts itself around a patient is asked; what no longer does is not."""
        asked = {_name(reason, pair): (reason, pair) for reason, pair in self._around(owner).questions()}
        questions = self._layout["identity_questions"]
        questions.delete_many({"owners": owner, "state": "open", "_id": {"$nin": list(asked)}})
        for id_, (reason, pair) in asked.items():
            question = {"reason": reason, "owners": list(pair), "state": "open", "since": datetime.now(UTC)}
            questions.update_one({"_id": id_}, {"$setOnInsert": question}, upsert=True)

    def questions(self, *, decided: bool = False) -> list[Question]:
        """Return the open questions, or all, oldest first."""
        wanted = {} if decided else {"state": "open"}
        found = self._layout["identity_questions"].find(wanted).sort([("since", 1), ("_id", 1)])
        return [_question(one) for one in found]

    def decide(self, id_: str, decision: Decision) -> Question:
        """The question is decided; a later decision replaces it.

        Raises:
            Unknown: There is no such question.
        """
        change = {"$set": {"state": decision, "decided_at": datetime.now(UTC)}}
        found = self._layout["identity_questions"].find_one_and_update({"_id": id_}, change, return_document=True)
        if found is None:
            raise Unknown(f"no question {id_}; see `xinglin identity list`")
        return _question(found)

    def _around(self, owner: bytes) -> _Evidence:
        """Return everything that may join this patient with others, and those with others again."""
        known: dict[bytes, Document] = {}
        links: dict[bytes, Document] = {}
        asked: set[bytes] = set()
        reached = {owner}
        while fresh := reached - asked:
            asked |= fresh
            found = list(self._layout["identities"].find({"_id": {"$in": list(fresh)}}))
            for name in ("numbers", "residents"):
                for token in {token for one in found for token in one[name]}:
                    found += self._holders(name, token)
            known |= {one["_id"]: one for one in found}
            paired = list(self._layout["identity_links"].find({"pair": {"$in": list(fresh)}}))
            links |= {one["_id"]: one for one in paired}
            reached |= known.keys() | {end for one in paired for end in one["pair"]}
        settled = {"owners": {"$in": list(reached)}, "state": {"$ne": "open"}}
        decided = list(self._layout["identity_questions"].find(settled))
        reached |= {end for one in decided for end in one["owners"]}
        return _Evidence(reached, known, list(links.values()), decided)

    def _holders(self, name: str, token: bytes) -> list[Document]:
        found = list(self._layout["identities"].find({name: token}).limit(MOST + 1))
        return found if len(found) <= MOST else []


class _Evidence:
    """All that is known about some patients; what follows from it depends on nothing else."""

    def __init__(
        self,
        owners: Iterable[bytes],
        known: Mapping[bytes, Document],
        links: Sequence[Document],
        decided: Sequence[Document],
    ) -> None:
        self._owners = frozenset(owners)
        self._known = known
        self._links = links
        self._decided: dict[frozenset[bytes], str] = {frozenset(one["owners"]): one["state"] for one in decided}

    def _sharing(self, name: str) -> Iterator[tuple[bytes, list[bytes]]]:
        """Each token of that kind that several patients hold, with these patients in order."""
        holders: defaultdict[bytes, list[bytes]] = defaultdict(list)
        for owner in sorted(self._known):
            for token in self._known[owner][name]:
                holders[token].append(owner)
        yield from ((token, ones) for token, ones in sorted(holders.items()) if 1 < len(ones) <= MOST)

    def _doubtful(self, owner: bytes) -> bool:
        return bool(self._known[owner]["doubts"])

    def _apart(self, one: bytes, other: bytes) -> bool:
        return self._decided.get(frozenset((one, other))) == "different"

    def _strong(self) -> Iterator[Pair]:
        """Pairs that a resident number or somebody's decision joins."""
        for _, holders in self._sharing("residents"):
            sure = [one for one in holders if not self._doubtful(one)]
            yield from ((sure[0], other) for other in sure[1:] if not self._apart(sure[0], other))
        for pair, state in self._decided.items():
            if state == "same":
                yield min(pair), max(pair)

    def _weak(self) -> Iterator[tuple[Reason, Pair]]:
        """Pairs that a shared identifier or a sender's merge would join."""
        for _, holders in self._sharing("numbers"):
            yield from (("shared-number", (holders[0], other)) for other in holders[1:])
        for link in self._links:
            if link["one"]:
                yield "two-resident-numbers", (link["pair"][0], link["pair"][1])

    def persons(self) -> list[frozenset[bytes]]:
        """Return the patients that are one, in groups."""
        sure = _groups(self._owners, self._strong())
        offered = [pair for _, pair in self._weak() if not self._apart(*pair)]
        whole = _groups(self._owners, (*self._strong(), *offered))
        return [part for one in whole for part in ([one] if self._agrees(one) else _inside(sure, one))]

    def _agrees(self, group: frozenset[bytes]) -> bool:
        residents = {token for one in group for token in self._residents(one)}
        return len(residents) < 2 and not any(
            state == "different" and pair <= group for pair, state in self._decided.items()
        )

    def _residents(self, owner: bytes) -> tuple[bytes, ...]:
        return tuple(self._known[owner]["residents"]) if owner in self._known else ()

    def questions(self) -> Iterator[tuple[Reason, Pair]]:
        """Yield what joins and must not, each with the two patients that it is about."""
        together = {owner: one for one in self.persons() for owner in one}
        for _, holders in self._sharing("residents"):
            for other in holders[1:]:
                if together[holders[0]] != together[other] and not self._apart(holders[0], other):
                    yield "resident-number-disagrees", (holders[0], other)
        for reason, pair in self._weak():
            if together[pair[0]] != together[pair[1]] and not self._apart(*pair):
                yield reason, pair

    def survivor(self, members: frozenset[bytes]) -> bytes:
        """Return who stands for a person: whom nobody replaces, with a resident number before one without."""
        replaced = {
            end
            for link in self._links
            if link["one"] and "survivor" in link
            for end in link["pair"]
            if end != link["survivor"] and link["survivor"] in members
        }
        return min(members, key=lambda one: (one in replaced, not self._residents(one), one))


def _name(reason: Reason, pair: Pair) -> str:
    return sm3(reason.encode() + b"\0" + b"".join(pair))[:16].hex()


def _groups(owners: Iterable[bytes], pairs: Iterable[Pair]) -> list[frozenset[bytes]]:
    """Return the connected groups."""
    group = {owner: {owner} for owner in owners}
    for one, other in pairs:
        if group[one] is not group[other]:
            joined = group[one] | group[other]
            group |= dict.fromkeys(joined, joined)
    return [frozenset(one) for one in {id(members): members for members in group.values()}.values()]


def _inside(groups: Iterable[frozenset[bytes]], whole: frozenset[bytes]) -> list[frozenset[bytes]]:
    return [one for one in groups if one <= whole]


def _question(document: Document) -> Question:
    one, other = document["owners"]
    return Question(document["_id"], document["reason"], (one, other), document["state"], document["since"])
