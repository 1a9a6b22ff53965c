"""The house stands as docs/architecture.md draws it: arrows, ownership of names, what may import Airflow."""

from __future__ import annotations

import ast
import importlib.metadata
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = {"ledger": ROOT / "plugins" / "ledger"}
AIRFLOW_MAY = re.compile(
    r"^(dags/[^/]+\.py|plugins/ledger/(operators|hooks|triggers)/.*|plugins/ledger/airflow_plugin\.py)$"
)


def arrows() -> dict[str, set[str]]:
    """The documented arrows: package to the packages it may import."""
    section = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").split("## Who may import whom")[1]
    rows = re.findall(r"^\| `(\w+)` \|(.*)\|$", section, re.MULTILINE)
    return {package: set(re.findall(r"`(\w+)`", allowed)) for package, allowed in rows}


def modules() -> Iterator[tuple[str, Path]]:
    """Every shipped module with the package it belongs to."""
    for package in arrows():
        folder = FOLDERS.get(package, ROOT / package)
        for path in sorted(folder.rglob("*.py")):
            yield package, path


def imported(path: Path) -> set[str]:
    """Top-level names that a module imports, wherever in it the import stands."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path.relative_to(ROOT)}:{node.lineno}: relative import; write it absolute"
            names.add(str(node.module).split(".")[0])
    return names


def test_every_shipped_package_has_an_arrow_row() -> None:
    shipped = {p.parent.name for p in ROOT.glob("*/__init__.py") if p.parent.name not in {"tests", "benchmarks"}}
    assert shipped | {"ledger"} == set(arrows())


def test_imports_follow_the_documented_arrows() -> None:
    allowed = arrows()
    broken = [
        f"{path.relative_to(ROOT)} imports {name}"
        for package, path in modules()
        for name in sorted(imported(path) & set(allowed) - {package} - allowed[package])
    ]
    assert broken == []


def test_only_the_bridge_imports_airflow() -> None:
    broken = [
        str(path.relative_to(ROOT))
        for _, path in modules()
        if "airflow" in imported(path) and not AIRFLOW_MAY.match(path.relative_to(ROOT).as_posix())
    ]
    assert broken == []


def test_only_shangmi_imports_a_crypto_library() -> None:
    crypto = {"gmssl", "gmssl_pyx", "cryptography", "hmac"}
    broken = [
        f"{path.relative_to(ROOT)}" for package, path in modules() if package != "shangmi" and imported(path) & crypto
    ]
    assert broken == []


def test_no_module_of_the_ledger_is_named_like_a_standard_module() -> None:
    import sys

    names = {path.stem for path in (ROOT / "plugins" / "ledger").rglob("*.py")} - {"__init__", "__main__"}
    assert names & set(sys.stdlib_module_names) == set()


@pytest.mark.parametrize("package", sorted(arrows()))
def test_top_level_names_are_owned_by_this_distribution_alone(package: str) -> None:
    # A set: run from the repository, the metadata of the editable install is met twice.
    assert set(importlib.metadata.packages_distributions()[package]) == {"xinglin"}


def test_airflow_loads_nothing_by_path_from_plugins() -> None:
    assert (ROOT / "plugins" / ".airflowignore").read_text(encoding="utf-8").split() == ["ledger"]
    assert [path.name for path in (ROOT / "plugins").glob("*.py")] == []
    registered = {point.value for point in importlib.metadata.entry_points(group="airflow.plugins")}
    assert "ledger.airflow_plugin:LedgerPlugin" in registered
    provided = {point.value for point in importlib.metadata.entry_points(group="apache_airflow_provider")}
    assert "ledger.provider_info:get_provider_info" in provided


def test_no_module_has_a_name_that_explains_nothing() -> None:
    names = {"utils", "util", "common", "helpers", "helper", "misc", "manager"}
    assert [str(path.relative_to(ROOT)) for _, path in modules() if path.stem in names] == []
