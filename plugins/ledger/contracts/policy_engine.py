"""Cedar, the engine that evaluates rules, behind the three questions the chain has for it (section 14).

The engine's version is part of what a region agrees on: another one may decide otherwise. It is imported when it is
first asked, since the offline verifier runs without it.
"""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Literal

from ledger.errors import Halted

if TYPE_CHECKING:
    import cedarpy

#: The engine that this program was tested with, and that new chains begin with.
ENGINE: Final = "cedar-4.12"
Verdict = Literal["allow", "deny", "error"]


@cache
def installed_engine() -> str:
    """Return the engine that is installed, as chains name it: ``cedar-`` and the first two numbers of its version."""
    try:
        version = importlib.metadata.version("cedarpy")
    except importlib.metadata.PackageNotFoundError:
        return "none"
    return "cedar-" + ".".join(version.split(".")[:2])


def require_engine(engine: str) -> None:
    """Return where this engine is the installed one.

    Raises:
        Halted: It is another; this node must not judge rules with it.
    """
    if (found := installed_engine()) != engine:
        wanted = f"cedarpy>={engine.removeprefix('cedar-')},=={engine.removeprefix('cedar-')}.*"
        raise Halted(
            f"the chain's rules are judged by {engine}, installed is {found}: another engine may decide otherwise. "
            f"Install '{wanted}' and start the node again (docs/governance.md, section Another engine)"
        )


@dataclass(frozen=True, slots=True)
class Answer:
    """What the engine said to one request.

    Attributes:
        verdict: ``error`` where it reported any error, or came to no decision: its own answer is then worth nothing.
        reasons: Engine's ids of the policies that decided.
        errors: Its messages, for people; they are no part of what the chain agrees on.
    """

    verdict: Verdict
    reasons: tuple[str, ...]
    errors: tuple[str, ...]


class CompiledRules:
    """Rules and schema, read once by the engine.

    Args:
        text: Rules that ``policy_check`` found sound.
        schema: Their schema.
    """

    def __init__(self, text: str, schema: str) -> None:
        import cedarpy

        self._rules: cedarpy.PolicySet = cedarpy.PolicySet.from_str(text)
        self._schema: cedarpy.Schema = cedarpy.Schema.from_str(schema)
        self.ids: Mapping[str, str] = {
            one: policy["annotations"]["id"] for one, policy in read_rules(text)["staticPolicies"].items()
        }

    def ask(self, requests: Sequence[dict[str, Any]], entities: Sequence[dict[str, Any]]) -> list[Answer]:
        """Return the answer to each request, always under the schema."""
        import cedarpy

        return [
            _answer(one)
            for one in cedarpy.is_authorized_batch(list(requests), self._rules, json.dumps(entities), self._schema)
        ]


def _answer(result: cedarpy.AuthzResult) -> Answer:
    import cedarpy

    errors = tuple(sorted(result.diagnostics.errors))
    if errors or result.decision is cedarpy.Decision.NoDecision:
        return Answer("error", (), errors)
    return Answer("allow" if result.allowed else "deny", tuple(sorted(result.diagnostics.reasons)), ())


def read_rules(text: str) -> dict[str, Any]:
    """Return rules as the engine understands them, in its JSON form: what it does not distinguish is the same there.

    Raises:
        ValueError: They do not parse, or nest too deep to be read by anyone.
    """
    import cedarpy

    from ledger.contracts.policy_text import nesting

    encoded = cedarpy.policies_to_json_str(text)
    if nesting(encoded) > 120:
        raise ValueError("a condition nests too deep; write several `when { … }` instead of one long condition")
    found: dict[str, Any] = json.loads(encoded)
    return found


def schema_faults(text: str, schema: str) -> list[tuple[str, str]]:
    """Return what the schema finds wrong with rules, as pairs of the engine's policy id and a message."""
    import cedarpy

    result = cedarpy.validate_policies(text, schema)
    faults = [(one.policy_id, one.error) for one in result.errors]
    return faults or ([] if result.validation_passed else [("", "the engine refuses the rules without a reason")])
