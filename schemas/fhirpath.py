"""The grammar of FHIRPath, for invariants and views alike: text in, a tree of :class:`Node` out, each with its place.

What a name means is said by whoever compiles the tree: ``quality.fhirpath`` for the invariants of FHIR R4,
``sharing.views.compiler`` for columns and conditions of views. Source: FHIRPath N1 (2.0.0), appendix B; without
quantities, calendar units and ``$total``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Literal, NamedTuple, NoReturn

from schemas.errors import ExpressionError

#: A view comes from whoever asks: no expression may cost more than reading it does.
LONGEST: Final = 10_000
DEEPEST: Final = 100
MOST_DIGITS: Final = 100

_TOKEN: Final = re.compile(
    r"""(?>\s+|//[^\r\n]*|/\*.*?\*/)*+(?:
      (?P<string>'(?:[^'\\]|\\.)*')
    | (?P<name>[A-Za-z_][A-Za-z0-9_]*|`(?:[^`\\]|\\.)*`)
    | (?P<variable>%(?:[A-Za-z_][A-Za-z0-9_-]*|`(?:[^`\\]|\\.)*`|'(?:[^'\\]|\\.)*'))
    | (?P<special>\$[a-z]+)
    | (?P<time>@T\d\d(?::\d\d(?::\d\d(?:\.\d+)?)?)?)
    | (?P<date>@\d{4}(?:-\d\d(?:-\d\d)?)?(?:T(?:\d\d(?::\d\d(?::\d\d(?:\.\d+)?)?)?)?(?:Z|[+-]\d\d:\d\d)?)?)
    | (?P<number>\d+(?:\.\d+)?)
    | (?P<sign><=|>=|!=|!~|[-+*/&|<>=~.,()\[\]{}])
    | (?P<end>\Z)
    )""",
    re.VERBOSE | re.DOTALL | re.ASCII,
)
_ESCAPE: Final = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|(.))", re.DOTALL)
_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", **{one: one for one in "'\"`\\/"}}
#: Binary operators by how tightly they bind, loosest first (FHIRPath N1, 6.8).
_LEVELS: Final = (
    ("implies",),
    ("or", "xor"),
    ("and",),
    ("in", "contains"),
    ("=", "!=", "~", "!~"),
    ("<", ">", "<=", ">="),
    ("|",),
    ("is", "as"),
    ("+", "-", "&"),
    ("*", "/", "div", "mod"),
)
_BINDS: Final = {sign: level for level, signs in enumerate(_LEVELS) for sign in signs}
#: Functions whose argument is the name of a type.
_TYPED: Final = frozenset({"is", "as", "ofType", "getReferenceKey"})

Kind = Literal["literal", "empty", "member", "this", "index", "variable", "call", "operator", "sign", "item", "type"]


@dataclass(frozen=True, slots=True)
class Node:
    """One step of an expression.

    Attributes:
        kind: ``member`` (an element), ``item`` (``[n]``), ``sign`` (unary), ``type`` (a type's name), or as it says.
        value: A literal's value, or the name of the element, function, variable, operator or type.
        at: Character where it stands, from 1.
        base: What a member, call or item is asked of; None for the expression's own input.
        inner: Arguments of a call, or the sides of an operator.
        type: FHIR type of a literal.
        deep: Levels below it.
    """

    kind: Kind
    value: Any
    at: int
    base: Node | None = None
    inner: tuple[Node, ...] = ()
    type: str = ""
    deep: int = 0


class _Token(NamedTuple):
    kind: str
    text: str
    at: int

    @property
    def shown(self) -> str:
        return "the end" if self.kind == "end" else repr(self.text[:40])


def parse(text: str) -> Node:
    """Return the tree of an expression.

    Raises:
        ExpressionError: It is not of this grammar, too long or too deep; says what was expected, what came, and where.
    """
    if len(text) > LONGEST:
        raise ExpressionError(f"an expression has at most {LONGEST:,} characters; this one has {len(text):,}")
    parser = _Parser(text)
    tree = parser.expression()
    if parser.here.kind != "end":
        parser.unexpected("an operator or the end")
    return tree


def _tokens(text: str) -> list[_Token]:
    found: list[_Token] = []
    at = 0
    while not found or found[-1].kind != "end":
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            at += len(text[at:]) - len(text[at:].lstrip())
            raise ExpressionError(f"nothing of FHIRPath begins with {text[at : at + 1]!r}", at + 1)
        found.append(_Token(match.lastgroup, match[match.lastgroup], match.start(match.lastgroup) + 1))
        at = match.end()
    return found


def _plain(quoted: str, at: int) -> str:
    """Return what stands between quotes, escapes resolved (FHIRPath N1, 4.1.2)."""

    def resolved(found: re.Match[str]) -> str:
        if found[1]:
            return chr(int(found[1], 16))
        if found[2] not in _ESCAPES:
            raise ExpressionError(f"\\{found[2]} is no escape of FHIRPath", at + found.start() + 1)
        return _ESCAPES[found[2]]

    text = _ESCAPE.sub(resolved, quoted[1:-1])
    try:  # two escapes can make one character, and half of one makes none
        return text.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        raise ExpressionError("half a character: a \\u escape of D800 to DFFF needs its other half", at) from None


class _Parser:
    """Reads tokens from left to right.

    Attributes:
        here: The token that comes; the last one says that no other does.
    """

    def __init__(self, text: str) -> None:
        self._rest = iter(_tokens(text))
        self._inside = 0
        self.here = next(self._rest)

    def unexpected(self, expected: str) -> NoReturn:
        """Say what was expected here and what came."""
        raise ExpressionError(f"expected {expected}, found {self.here.shown}", self.here.at)

    def expression(self, loosest: int = 0) -> Node:
        """Return what stands here, as far as operators of this level and tighter ones join it."""
        left = self._signed()
        while (level := self._level()) >= loosest:
            sign = self._take()
            right = self._type() if sign.text in ("is", "as") else self.expression(level + 1)
            left = self._node("operator", sign, None, left, right)
        return left

    def _level(self) -> int:
        """Return how tightly the operator that comes binds; -1 where none comes."""
        token = self.here
        return _BINDS.get(token.text, -1) if token.kind in ("name", "sign") else -1

    def _node(self, kind: Kind, token: _Token, base: Node | None, *inner: Node, value: str | None = None) -> Node:
        """Return a node over others, called by its token's text where no other value is told."""
        deep = 1 + max([one.deep for one in (base, *inner) if one is not None], default=0)
        if deep > DEEPEST:
            raise ExpressionError(f"an expression is at most {DEEPEST} steps deep", token.at)
        return Node(kind, token.text if value is None else value, token.at, base, inner, deep=deep)

    def _signed(self) -> Node:
        signs = []
        while self.here.kind == "sign" and self.here.text in "+-":
            signs.append(self._take())
        node = self._path()
        for sign in reversed(signs):
            node = self._node("sign", sign, None, node)
        return node

    def _path(self) -> Node:
        node = self._term()
        while self.here.kind == "sign" and self.here.text in ".[":
            sign = self._take()
            if sign.text == ".":
                node = self._invocation(node)
            else:
                node = self._node("item", sign, node, self._within("]"), value="[]")
        return node

    def _within(self, close: str) -> Node:
        """Return the expression up to a closing sign."""
        node = self._nested()
        self._expect(close)
        return node

    def _nested(self) -> Node:
        """Return an expression inside another; each costs levels of this parser, so they are counted."""
        self._inside += 1
        if self._inside > DEEPEST // 4:
            raise ExpressionError(f"parentheses are at most {DEEPEST // 4} levels deep", self.here.at)
        node = self.expression()
        self._inside -= 1
        return node

    def _term(self) -> Node:
        token = self.here
        if token.kind == "sign" and token.text == "(":
            self._take()
            return self._within(")")
        if token.kind == "sign" and token.text == "{":
            self._take()
            self._expect("}")
            return Node("empty", None, token.at)
        if token.kind in ("name", "special"):
            if token.text in ("true", "false"):
                self._take()
                return Node("literal", token.text == "true", token.at, type="boolean")
            return self._invocation(None)
        if token.kind in ("sign", "end"):
            self.unexpected("a value, an element or a function")
        return _literal(self._take())

    def _invocation(self, base: Node | None) -> Node:
        token = self.here
        if token.kind == "special" and base is None:
            self._take()
            if token.text in ("$this", "$index"):
                return Node("this" if token.text == "$this" else "index", token.text, token.at)
            raise ExpressionError(f"{token.text} is not known here; there are $this and $index", token.at)
        if token.kind != "name":
            self.unexpected("the name of an element or function")
        self._take()
        name = _plain(token.text, token.at) if token.text.startswith("`") else token.text
        if not (self.here.kind == "sign" and self.here.text == "("):
            return self._node("member", token, base, value=name)
        self._take()
        return self._node("call", token, base, *self._arguments(name), value=name)

    def _arguments(self, function: str) -> list[Node]:
        found: list[Node] = []
        while not (self.here.kind == "sign" and self.here.text == ")"):
            if found:
                self._expect(",")
            found.append(self._type() if function in _TYPED else self._nested())
        self._take()
        return found

    def _type(self) -> Node:
        """Return a type's name; its namespace says nothing that its case does not (``System.String``, ``FHIR.string``).

        SQL on FHIR writes the type of ``getReferenceKey`` as a string, too.
        """
        token = self._take()
        if token.kind == "string":
            return Node("type", _plain(token.text, token.at), token.at)
        name = token
        while name.kind == "name" and self.here.kind == "sign" and self.here.text == ".":
            self._take()
            name = self._take()
        if name.kind != "name":
            raise ExpressionError(f"expected the name of a type, found {name.shown}", name.at)
        return Node("type", name.text.strip("`"), token.at)

    def _take(self) -> _Token:
        token = self.here
        self.here = next(self._rest, token)
        return token

    def _expect(self, sign: str) -> None:
        if self.here.kind != "sign" or self.here.text != sign:
            self.unexpected(repr(sign))
        self._take()


def _literal(token: _Token) -> Node:
    if token.kind == "string":
        return Node("literal", _plain(token.text, token.at), token.at, type="string")
    if token.kind == "variable":
        name = token.text[1:]
        return Node("variable", _plain(name, token.at) if name[0] in "`'" else name, token.at)
    if token.kind == "time":
        return Node("literal", token.text[2:], token.at, type="time")
    if token.kind == "date":
        text = token.text[1:]
        return Node("literal", text.removesuffix("T"), token.at, type="dateTime" if "T" in text else "date")
    if len(token.text) > MOST_DIGITS:  # Python itself refuses to read thousands of them
        raise ExpressionError(f"a number has at most {MOST_DIGITS} digits", token.at)
    if "." in token.text:
        return Node("literal", Decimal(token.text), token.at, type="decimal")
    return Node("literal", int(token.text), token.at, type="integer")
