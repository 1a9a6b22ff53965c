"""Invariant 24: in whatever execution imports of the ledger, no float is written, divided for or converted to."""

from __future__ import annotations

import ast
from pathlib import Path

LEDGER = Path(__file__).parents[2] / "plugins" / "ledger"


def module(stem: str) -> ast.Module | None:
    source = LEDGER / f"{stem.replace('.', '/')}.py"
    return ast.parse(source.read_text(encoding="utf-8")) if source.is_file() else None


def hashed() -> dict[str, ast.Module]:
    """Every module of the ledger that execution imports, directly or through others: what blocks are made of."""
    found: dict[str, ast.Module] = {}
    queue = ["chain.execution"]
    while queue:
        stem = queue.pop()
        tree = None if stem in found else module(stem)
        if tree is None:
            continue
        found[stem] = tree
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "ledger":
                prefix = str(node.module).removeprefix("ledger").lstrip(".")
                queue += [prefix, *(f"{prefix}.{one.name}".lstrip(".") for one in node.names)]
    return found


def paths(tree: ast.Module) -> set[str]:
    """Names of a module that hold a path, for which ``/`` is no division."""
    assigned = [one for one in ast.walk(tree) if isinstance(one, ast.Assign | ast.AnnAssign) and one.value]
    return {
        target.id
        for one in assigned
        for target in (one.targets if isinstance(one, ast.Assign) else [one.target])
        if isinstance(target, ast.Name) and one.value and "Path(" in ast.unparse(one.value)
    }


def floats(tree: ast.Module) -> list[int]:
    """Lines of a module on which a float may be born."""
    folders, found = paths(tree), []
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, float):
            found.append(node.lineno)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "float":
            found.append(node.lineno)
        if isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div):
            left = node.left if isinstance(node, ast.BinOp) else node.target
            if not (isinstance(left, ast.Name) and left.id in folders) and "Path(" not in ast.unparse(left):
                found.append(node.lineno)
    return found


def test_no_float_is_made_where_hashed_data_is_made() -> None:
    assert {stem: lines for stem, tree in hashed().items() if (lines := floats(tree))} == {}


def test_the_lint_reaches_what_hashed_data_is_made_of_and_sees_a_float() -> None:
    reached = {stem.rpartition(".")[2] for stem in hashed()}
    assert reached >= {"credit", "tally", "scoring", "seats", "evidence", "transaction", "certificate", "smt", "header"}
    for line in ("a = 0.5", "a = b / c", "a /= 2", "a = float(b)"):
        assert floats(ast.parse(line)) == [1]
    assert floats(ast.parse("HERE = Path(__file__).parent\nA = HERE / 'a'")) == []
