"""A profile: what is done with each class of data, and why; read from ``schemas/deidentify/<name>.yaml``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

from schemas.documents import load_document
from schemas.errors import ConfigurationError
from shangmi import Sm3
from sharing.deidentify.tables import HERE

#: What each action does, for reports.
_ACTIONS: Final = {
    "keep": "kept",
    "drop": "dropped",
    "pseudonym": "replaced by a pseudonym of this dataset",
    "shift": "moved with all dates of the person",
    "year": "cut to the year",
    "top": "capped, the oldest together",
    "listed": "dropped where it is not of the closed lists",
    "check": "dropped where it does not have the form",
    "prefix": "cut to its first digits",
    "zip3": "cut to three digits, 000 where few live",
    "generalise": "put into a larger group",
    "scrub": "scrubbed of names and numbers that were found",
}
_TABLES: Final = frozenset({".yaml", ".csv", ".txt", ".json"})


@dataclass(frozen=True, slots=True)
class Profile:
    """One way of de-identifying.

    Attributes:
        name: As in requests and commands.
        title: One line for people.
        source: Standards that it follows.
        classes: For each class of data its action ``do``, its parameters and ``why``.
        rules: The allow-list of elements by type, as in ``rules.yaml``.
        digest: SM3 over all data that decide what leaves: profile, rules, tables, also those for texts and images.
    """

    name: str
    title: str
    source: str
    classes: Mapping[str, Mapping[str, Any]]
    rules: Mapping[str, Any] = field(repr=False)
    digest: bytes

    def action(self, class_: str) -> str:
        """Return what is done with a class of data."""
        action: str = self.classes[class_]["do"]
        return action

    def rule(self, class_: str) -> str:
        """Return the rule's name in reports: ``date:shift``."""
        return f"{class_}:{self.action(class_)}"

    def sentences(self) -> dict[str, str]:
        """Return what each rule does and why, by its name in reports."""
        return {self.rule(name): f"{_ACTIONS[one['do']]}. {one['why']}" for name, one in self.classes.items()}

    def reasons(self) -> Iterator[tuple[str, str]]:
        """Yield places that do not leave on purpose, and why: types and elements."""
        yield from self.rules["never"].items()
        for name, rule in self.rules["types"].items():
            for element, why in rule.get("left_out", {}).items():
                yield f"{name}.{element}", why


def profile_names() -> tuple[str, ...]:
    """Return the names of the profiles that ship, sorted."""
    return tuple(sorted(path.stem for path in HERE.glob("*.yaml") if path.stem not in ("rules", "systems")))


@cache
def load_profile(name: str) -> Profile:
    """Return a shipped profile by its name, ``gbt-37964`` or ``hipaa-safe-harbor``.

    Raises:
        ConfigurationError: No profile has that name, or its file breaks its schema.
    """
    if name not in profile_names():
        raise ConfigurationError(
            f"there is no de-identification profile of that name; {', '.join(profile_names())} ship"
        )
    document = load_document(HERE / f"{name}.yaml", "deidentify/profile")
    if document["name"] != name:
        raise ConfigurationError(f"{name}.yaml: name: expected {name}, the file's own name")
    rules = load_document(HERE / "rules.yaml", "deidentify/rules")
    return Profile(
        document["name"], document["title"], document["source"], document["classes"], rules, _digest(f"{name}.yaml")
    )


def _digest(profile: str) -> bytes:
    """Return SM3 over the names and contents of all tables but the other profiles, in order of their names."""
    others = {f"{name}.yaml" for name in profile_names()} - {profile}
    state = Sm3(b"XL/PROFILE/1")
    for path in sorted(HERE.rglob("*"), key=lambda one: one.relative_to(HERE).as_posix()):
        name = path.relative_to(HERE).as_posix()
        if (
            path.suffix in (".yaml", ".csv", ".txt", ".json")
            and not name.endswith(".schema.json")
            and name not in others
        ):
            content = path.read_bytes()
            head = name.encode()
            state.update(len(head).to_bytes(4, "big") + head + len(content).to_bytes(8, "big") + content)
    return state.digest()
