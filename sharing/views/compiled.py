"""What an expression is compiled to, and what its functions are told while they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from schemas.fhirpath import Node
from sharing.views.faults import Fault
from sharing.views.model import NUMBERS, PRIMITIVE, TEMPORAL, TEXTS


@dataclass(slots=True)
class Env:
    """Where an expression is evaluated.

    Attributes:
        resource: The resource that the node is in.
        row: Position of the node among those of its ``forEach``, from 0.
        index: Position of ``$this`` in the innermost function that goes over items, from 0.
    """

    resource: Any = None
    row: int = 0
    index: int = 0


#: A node and where it is; a collection as :mod:`sharing.views.values` has them.
Run = Callable[[Any, Env], Any]
UNSAID: Final = object()


@dataclass(frozen=True, slots=True)
class Code:
    """A compiled expression.

    Attributes:
        run: Evaluates it on one node.
        type: FHIR type of every item, a backbone's path, or "" where that is not known.
        many: Whether it can be several items, as far as FHIR R4 and the expression say.
        uses: Of ``resource``, ``row`` and ``index``, what it reads from its :class:`Env`.
        value: What it always is, or :data:`UNSAID`.
        child: Name of the element of the node that it is, where it is no more than that.
    """

    run: Run
    type: str = ""
    many: bool = True
    uses: frozenset[str] = frozenset()
    value: Any = UNSAID
    child: str = ""

    @property
    def family(self) -> str:
        """``text``, ``number``, ``boolean``, ``element``, or "" where that is not known."""
        if self.type in TEXTS:
            return "text"
        if self.type in NUMBERS:
            return "number"
        return self.type if self.type in ("", "boolean") else "element"

    @property
    def temporal(self) -> bool:
        """Whether it is a date, dateTime, instant or time."""
        return self.type in TEMPORAL

    @property
    def open(self) -> bool:
        """Whether it may be a date, as far as is known."""
        return self.type == "" or self.type in TEMPORAL

    def of(self, run: Run, type_: str = "", many: bool = False, *others: Code) -> Code:
        """Return what is made from this and others."""
        return Code(run, type_, many, self.uses.union(*(other.uses for other in others)))


@dataclass(frozen=True, slots=True)
class Scope:
    """What is known where an expression stands.

    Attributes:
        resource: Type of the view's resources.
        type: Type of the node that it is evaluated on, or "".
        constants: Values of ``%name`` and their types.
        notes: What is added to where an expression is right and yet most likely not what was meant.
    """

    resource: str = ""
    type: str = ""
    constants: Mapping[str, tuple[Any, str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def inside(self, type_: str) -> Scope:
        """Return the scope of what is evaluated on each item of a collection."""
        return replace(self, type=type_)


@dataclass(frozen=True, slots=True)
class Call:
    """A function's call while it is compiled.

    Attributes:
        node: Where it stands.
        base: What it is asked of.
        scope: Where it stands.
        compile: Compiles a node in a scope.
    """

    node: Node
    base: Code
    scope: Scope
    compile: Callable[[Node, Scope], Code]

    @property
    def label(self) -> str:
        """The function as messages name it."""
        return f"{self.node.value}()"

    def fault(self, why: str) -> Fault:
        """Return what is wrong with it, with its place."""
        return Fault(f"{self.label} {why}", self.node.at)

    def argument(self, index: int) -> Code:
        """Return an argument that is evaluated where the call stands (N1, 5.: all but criteria and projections)."""
        return self.compile(self.node.inner[index], self.scope)

    def each(self, index: int = 0) -> Code:
        """Return an argument that is evaluated on each item."""
        return self.compile(self.node.inner[index], self.scope.inside(self.base.type))

    @property
    def primitive(self) -> bool:
        """Whether what it is asked of is known to have no elements."""
        return self.base.type in PRIMITIVE
