"""FHIRPath as far as the invariants of FHIR R4 use it: text in, a tree of :class:`Node` out.

Source: FHIRPath N1 (2.0.0), chapters 4 to 6 and the grammar of its appendix.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final, Literal

_TOKEN: Final = re.compile(
    r"""\s*(?:
      (?P<string>'(?:[^'\\]|\\.)*')
    | (?P<number>\d+(?:\.\d+)?)
    | (?P<name>[A-Za-z_$%][A-Za-z0-9_]*|`[^`]+`)
    | (?P<sign><=|>=|!=|!~|[-+*/&|<>=~.,()\[\]{}])
    )""",
    re.VERBOSE,
)
#: Binary operators by how tightly they bind, loosest first (FHIRPath N1, 6.8).
_LEVELS: Final[tuple[frozenset[str], ...]] = (
    frozenset({"implies"}),
    frozenset({"or", "xor"}),
    frozenset({"and"}),
    frozenset({"in", "contains"}),
    frozenset({"=", "!=", "~", "!~"}),
    frozenset({"<", ">", "<=", ">="}),
    frozenset({"|"}),
    frozenset({"is", "as"}),
    frozenset({"+", "-", "&"}),
)
_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r", "f": "\f"}

Kind = Literal["literal", "name", "this", "variable", "call", "operator", "type"]


@dataclass(frozen=True, slots=True)
class Node:
    """One step of an expression.

    Attributes:
        kind: ``literal``, ``name`` (an element), ``this``, ``variable`` (``%resource``), ``call``, ``operator``, or
            ``type`` (what stands behind ``is`` and ``as``).
        value: The literal's value, or the name of the element, function, variable or operator.
        base: What a name or call is asked of; None for the expression's own input.
        inner: Arguments of a call, or both sides of an operator.
    """

    kind: Kind
    value: Any
    base: Node | None = None
    inner: tuple[Node, ...] = field(default=())


def parse(text: str) -> Node:
    """Return the tree of an expression.

    Raises:
        ValueError: It is not of this grammar; the message says where.
    """
    parser = _Parser(text)
    tree = parser.expression(0)
    if parser.here is not None:
        raise ValueError(f"{parser.here[1]!r} was not expected behind an expression")
    return tree


class _Parser:
    """Reads tokens from left to right."""

    def __init__(self, text: str) -> None:
        self._tokens: list[tuple[str, str]] = []
        at = 0
        text = text.rstrip()
        while at < len(text):
            match = _TOKEN.match(text, at)
            if match is None or match.lastgroup is None:
                raise ValueError(f"cannot be read at character {at}")
            self._tokens.append((match.lastgroup, match[match.lastgroup]))
            at = match.end()
        self._at = 0

    @property
    def here(self) -> tuple[str, str] | None:
        """The token that comes, as its kind and text."""
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def expression(self, level: int) -> Node:
        """Return what stands here, as far as operators of this level and tighter ones join it."""
        if level == len(_LEVELS):
            return self._path()
        left = self.expression(level + 1)
        while self.here is not None and self.here[0] != "string" and self.here[1] in _LEVELS[level]:
            sign = self._take()
            right = Node("type", self._type_name()) if sign in ("is", "as") else self.expression(level + 1)
            left = Node("operator", sign, None, (left, right))
        return left

    def _path(self) -> Node:
        node = self._term()
        while self.here == ("sign", "."):
            self._take()
            node = self._invocation(node)
        return node

    def _term(self) -> Node:
        kind, text = self._next()
        if kind == "string":
            return Node("literal", re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[1]), text[1:-1]))
        if kind == "number":
            return Node("literal", float(text) if "." in text else int(text))
        if text == "(":
            inside = self.expression(0)
            self._expect(")")
            return inside
        if kind == "name" and text in ("true", "false"):
            return Node("literal", text == "true")
        if kind == "name" and text.startswith("%"):
            return Node("variable", text[1:])
        if kind == "name":
            self._at -= 1
            return self._invocation(None)
        raise ValueError(f"{text!r} was not expected at the start of a term")

    def _invocation(self, base: Node | None) -> Node:
        kind, text = self._next()
        if kind != "name":
            raise ValueError(f"a name was expected, {text!r} came")
        if text == "$this":
            return Node("this", text)
        if self.here != ("sign", "("):
            return Node("name", text.strip("`"), base)
        self._take()
        inner: list[Node] = []
        while self.here != ("sign", ")"):
            inner.append(self._argument(text))
            if self.here == ("sign", ","):
                self._take()
        self._take()
        return Node("call", text, base, tuple(inner))

    def _argument(self, function: str) -> Node:
        if function in ("is", "as", "ofType"):
            return Node("type", self._type_name())
        return self.expression(0)

    def _type_name(self) -> str:
        name = self._next()[1].strip("`")
        while self.here == ("sign", "."):
            self._take()
            name = self._next()[1]
        return name

    def _take(self) -> str:
        return self._next()[1]

    def _next(self) -> tuple[str, str]:
        token = self.here
        if token is None:
            raise ValueError("ends before it is complete")
        self._at += 1
        return token

    def _expect(self, sign: str) -> None:
        if (found := self._take()) != sign:
            raise ValueError(f"{sign!r} was expected, {found!r} came")
