"""The gate between normalising and sealing: which records of a batch pass, and why the others do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from quality.expectations import Expectations
from quality.invariants import check_invariants
from quality.structure import check_structure
from quality.suite import SUITES, Rule, load_suite
from quality.tables import TableBuilder
from schemas.records import Normalised, Refusal, Resource


@dataclass(frozen=True, slots=True)
class RuleResult:
    """What one rule found in a batch.

    Attributes:
        rule: Its id; ``fhir_structure`` for the structure of every resource.
        severity: ``refuse`` or ``warn``.
        rows: Rows of its table; those that the rule does not apply to are among them.
        failed: Rows that failed.
        records: Records with at least one such row.
    """

    rule: str
    severity: str
    rows: int
    failed: int
    records: int


@dataclass(frozen=True, slots=True)
class GateReport:
    """The judgement of one batch.

    Attributes:
        refusals: For each record in the batch's order, why it is set aside; empty where it passes.
        warnings: For each record, the rules of severity ``warn`` that it failed; it may pass all the same.
        rules: What each rule found, structure first, then in the suite's order.
    """

    refusals: tuple[tuple[Refusal, ...], ...]
    warnings: tuple[tuple[Refusal, ...], ...]
    rules: tuple[RuleResult, ...]

    @property
    def passed(self) -> list[int]:
        """Positions of the records that may be sealed."""
        return [number for number, refusals in enumerate(self.refusals) if not refusals]

    @property
    def failed_share(self) -> float:
        """Share of the batch that is set aside, 0 to 1; 0 for an empty batch."""
        return sum(map(bool, self.refusals)) / len(self.refusals) if self.refusals else 0.0


class Gate:
    """Judges batches by FHIR structure and by one expectation suite."""

    def __init__(self, suite: str, folder: Path = SUITES) -> None:
        """Load ``<folder>/<suite>.yaml``; great-expectations itself is imported at the first check.

        Raises:
            SuiteError: The suite cannot be used; the message names file, rule and key.
        """
        self._suite = load_suite(suite, folder)
        self._builder = TableBuilder(self._suite)
        self._expectations: Expectations | None = None

    def check(self, batch: Sequence[Normalised]) -> GateReport:
        """Return the judgement of a whole batch; nothing in it is changed.

        Every resource's structure is checked first; a resource that fails is not read by the suite's rules,
        its record is set aside anyway. The suite is run once on the tables of the whole batch.

        Raises:
            SuiteError: The suite names what great-expectations does not have or cannot compute.
        """
        if self._expectations is None:
            self._expectations = Expectations(self._suite)
        refusals: list[list[Refusal]] = [[] for _ in batch]
        warnings: list[list[Refusal]] = [[] for _ in batch]
        sound, structure = _sound(batch, refusals, self._suite.invariants)
        for content, found in zip(batch, refusals, strict=True):
            found += [note for note in content.notes if self._unread(note)]
        tables = self._builder.build(batch, sound)
        failing = self._expectations.run(tables)
        results = [structure]
        for rule in self._suite.rules:
            table, rows = tables[rule.table], failing[rule.id]
            target = refusals if rule.severity == "refuse" else warnings
            for row in rows:
                target[table.records[row]].append(_refusal(rule, table.segments[row]))
            records = len({table.records[row] for row in rows})
            results.append(RuleResult(rule.id, rule.severity, len(table.records), len(rows), records))
        return GateReport(tuple(map(tuple, refusals)), tuple(map(tuple, warnings)), tuple(results))

    def _unread(self, note: Refusal) -> bool:
        return note.code == "bad_value" and note.where in self._suite.unread


def _sound(
    batch: Sequence[Normalised], refusals: list[list[Refusal]], invariants: bool
) -> tuple[list[list[Resource]], RuleResult]:
    """Return the resources of each record whose structure is right, and write down the others.

    Invariants cost several times what the structure costs. What our own tables make cannot break them, so they are
    asked only of what comes as FHIR (``invariants`` of the suite).
    """
    sound, checked = [], 0
    for content, found in zip(batch, refusals, strict=True):
        right = []
        for resource in content.resources:
            fault = check_structure(resource.body)
            if fault is None and invariants:
                fault = check_invariants(resource.body)
            if fault is not None:
                found.append(Refusal(fault.code, resource.segment, f"{fault.where}: {fault.message}"))
            elif "id" not in resource.body:
                found.append(Refusal("fhir_structure", resource.segment, f"{resource.type}.id: an id is required"))
            else:
                right.append(resource)
        checked += len(content.resources)
        sound.append(right)
    failed, records = sum(map(len, refusals)), sum(map(bool, refusals))
    return sound, RuleResult("fhir_structure", "refuse", checked, failed, records)


def _refusal(rule: Rule, segment: str) -> Refusal:
    return Refusal(rule.code, rule.where.format(segment=segment), rule.message)
