"""The bridge to great-expectations: a suite's rules become expectations, and their results row numbers.

great-expectations takes seconds to import, so nothing imports it before the first check. It runs in an
ephemeral context: no files, no telemetry, no progress bars. Results name rows only; the values that failed
stay inside.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from quality.errors import SuiteError
from quality.suite import Rule, Suite
from quality.tables import Table

_FORMAT: Final = {
    "result_format": "COMPLETE",
    "return_unexpected_index_query": False,
    "include_unexpected_rows": False,
}


class Expectations:
    """The rules of one suite as expectations, ready to run on its tables."""

    def __init__(self, suite: Suite) -> None:
        """Translate every rule.

        Raises:
            SuiteError: great-expectations has no such expectation, the expectation does not judge rows, or it
                does not take the arguments; the message names file, rule and key.
        """
        self._file = f"{suite.name}.yaml"
        self._rules: dict[str, list[Any]] = {}
        for rule in suite.rules:
            self._rules.setdefault(rule.table, []).append(_expectation(rule, self._file))

    def run(self, tables: Mapping[str, Table]) -> dict[str, list[int]]:
        """Return the failing rows of every rule, by rule id.

        Raises:
            SuiteError: An expectation cannot be computed on the columns it names.
        """
        context = _context()
        return {
            rule: rows
            for name, rules in self._rules.items()
            for rule, rows in self._run_table(context, name, rules, tables[name])
        }

    def _run_table(self, context: Any, name: str, rules: list[Any], table: Table) -> list[tuple[str, list[int]]]:
        if not table.records:
            return [(one.meta["rule"], []) for one in rules]
        source = context.data_sources.add_pandas(name)
        definition = source.add_dataframe_asset(name).add_batch_definition_whole_dataframe(name)
        batch = definition.get_batch({"dataframe": _frame(table)})
        judged = batch.validate(_library().ExpectationSuite(name, expectations=rules), result_format=_FORMAT)
        return [(one.expectation_config.meta["rule"], self._rows(one)) for one in judged.results]

    def _rows(self, result: Any) -> list[int]:
        rows = result.result.get("unexpected_index_list") if result.result else None
        if rows is None:
            rule = result.expectation_config.meta["rule"]
            raise SuiteError(f"{self._file}: rule {rule}: with: the expectation cannot be computed on these columns")
        return [int(row) for row in rows]


@cache
def _library() -> Any:
    with warnings.catch_warnings():
        # It imports deprecated modules of Python's own; our warnings are errors, its are not ours to mend.
        warnings.simplefilter("ignore")
        import great_expectations
    # Its messages below warnings can quote cells.
    logging.getLogger("great_expectations").setLevel(logging.WARNING)
    return great_expectations


def _context() -> Any:
    """A context of its own for each check: one that lived on would keep every batch in memory."""
    library = _library()
    from great_expectations.data_context.types import base

    config = base.DataContextConfig(
        # Its own default makes a temporary folder for a documentation site, each time.
        store_backend_defaults=base.InMemoryStoreBackendDefaults(init_temp_docs_sites=False),
        progress_bars=base.ProgressBarsConfig(globally=False),
        analytics_enabled=False,
    )
    return library.get_context(mode="ephemeral", project_config=config)


def _frame(table: Table) -> Any:
    import pandas

    columns = {
        name: pandas.Series(cells, dtype="float64" if name in table.numeric else "object")
        for name, cells in table.cells.items()
    }
    return pandas.DataFrame(columns, copy=False)


def _expectation(rule: Rule, file: str) -> Any:
    _library()
    from great_expectations.expectations import expectation as kinds
    from great_expectations.expectations.registry import get_expectation_impl

    try:
        kind = get_expectation_impl(rule.expectation)
    except Exception as error:
        raise SuiteError(f"{file}: rule {rule.id}: expect: great-expectations has no {rule.expectation}") from error
    by_row = (kinds.ColumnMapExpectation, kinds.ColumnPairMapExpectation, kinds.MulticolumnMapExpectation)
    if not issubclass(kind, by_row):
        raise SuiteError(f"{file}: rule {rule.id}: expect: {rule.expectation} judges tables; take one that judges rows")
    arguments = dict(rule.arguments)
    if issubclass(kind, kinds.ColumnPairMapExpectation):
        # Its own default fails a row where one of the two is missing: a missing value is another rule's
        # matter.
        arguments.setdefault("ignore_row_if", "either_value_is_missing")
    try:
        return kind(**arguments, row_condition=_condition(rule), meta={"rule": rule.id})
    except ValueError as error:
        raise SuiteError(f"{file}: rule {rule.id}: with: {_first_line(error)}") from error


def _first_line(error: ValueError) -> str:
    """What great-expectations says of wrong arguments, without its own types and addresses."""
    faults = error.errors() if hasattr(error, "errors") else []
    return "; ".join(f"{fault['loc'][-1]}: {fault['msg']}" for fault in faults) or "arguments are wrong"


def _condition(rule: Rule) -> Any:
    from great_expectations.expectations.row_conditions import Column

    conditions = [Column(name).is_in(_plain(values)) for name, values in rule.when.items()]
    conditions += [Column(name).is_not_in(_plain(values)) for name, values in rule.unless.items()]
    condition: Any = None
    for one in conditions:
        condition = one if condition is None else condition & one
    return condition


def _plain(values: tuple[Any, ...]) -> list[Any]:
    """Conditions take no booleans; pandas holds 1 and True for equal."""
    return [int(one) if isinstance(one, bool) else one for one in values]
