"""What a changed mapping would change in what already landed, element by element; nothing is stored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from dags.steps.onboarding.elements import elements
from normalise import SetAside, convert
from schemas.records import Normalised, RawRecord
from schemas.source import Source, load_mapping

#: Values shown of one path, where values are asked for.
_EXAMPLES: Final = 3


@dataclass(slots=True)
class Changed:
    """How one path differs.

    Attributes:
        added: Values that are new.
        removed: Values that are gone.
        changed: Values that are others.
        records: Records in which it differs.
        examples: ``before → after``, a few; a patient's data.
    """

    added: int = 0
    removed: int = 0
    changed: int = 0
    records: int = 0
    examples: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Difference:
    """What two mappings make of the same records.

    Attributes:
        records: Records compared.
        same: Those that become the same.
        paths: What differs, by path of the FHIR resource, the most frequent first.
        refusals: Records that one of the two sets aside, by what happens: ``set aside now: code`` or ``no longer``.
    """

    records: int
    same: int
    paths: Mapping[str, Changed]
    refusals: Counter[str]


def with_mapping(source: Source, mapping: str, folder: Path) -> Source:
    """Return the source with another mapping document: the name of one in ``mappings``, or a file's path.

    Raises:
        ConfigurationError: There is no such document, or it breaks ``mapping.schema.json``.
    """
    path = Path(mapping) if mapping.endswith((".yaml", ".yml")) else folder / "mappings" / f"{mapping}.yaml"
    return replace(source, mapping=path.stem, mapping_document=load_mapping(path))


def compare(records: Iterable[RawRecord], before: Source, after: Source) -> Difference:
    """Return how the records would become something else under ``after``."""
    paths: dict[str, Changed] = {}
    refusals: Counter[str] = Counter()
    count = same = 0
    for record in records:
        count += 1
        old, new = _made(record, before), _made(record, after)
        if isinstance(old, str) or isinstance(new, str):
            if old == new:
                same += 1
            else:
                refusals[f"set aside now: {new}" if isinstance(new, str) else f"no longer set aside: {old}"] += 1
            continue
        touched = dict.fromkeys(path for path, one in _changes(old, new) if _note(paths, path, one))
        same += not touched
        for path in touched:
            paths[path].records += 1
    ordered = sorted(paths.items(), key=lambda item: (-item[1].records, item[0]))
    return Difference(count, same, dict(ordered), refusals)


def _made(record: RawRecord, source: Source) -> Normalised | str:
    try:
        return convert(record.media, record.content, source.context)
    except SetAside as error:
        return error.refusal.code


def _changes(old: Normalised, new: Normalised) -> Iterator[tuple[str, tuple[list[str], list[str]]]]:
    """Yield each path that differs with the values that are gone and those that are new, resource by resource."""
    before = {(one.type, one.id): elements(one.body) for one in old.resources}
    after = {(one.type, one.id): elements(one.body) for one in new.resources}
    nothing: Counter[tuple[str, str]] = Counter()
    for key in dict.fromkeys([*before, *after]):
        first, second = before.get(key, nothing), after.get(key, nothing)
        gone, fresh = first - second, second - first
        for path in dict.fromkeys(path for path, _ in [*gone, *fresh]):
            yield path, (_values(gone, path), _values(fresh, path))


def _values(found: Counter[tuple[str, str]], path: str) -> list[str]:
    return sorted(value for (where, value), count in found.items() if where == path for _ in range(count))


def _note(paths: dict[str, Changed], path: str, values: tuple[list[str], list[str]]) -> bool:
    """Count one resource's difference at a path."""
    gone, fresh = values
    both = min(len(gone), len(fresh))
    one = paths.setdefault(path, Changed())
    one.changed += both
    one.removed += len(gone) - both
    one.added += len(fresh) - both
    if len(one.examples) < _EXAMPLES:
        one.examples.append(f"{', '.join(gone) or 'nothing'} → {', '.join(fresh) or 'nothing'}")
    return True
