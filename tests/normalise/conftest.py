"""Messages for the tests of normalising: short to write, whole HL7."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from normalise.errors import SetAside
from normalise.hl7v2 import convert, inspect
from schemas.records import Normalised, Refusal, SourceContext

CONTEXT = SourceContext("hospital-east-his", "hospital-east", "Asia/Shanghai")


@pytest.fixture
def context() -> SourceContext:
    """A hospital in Shanghai whose messages may declare no character set."""
    return CONTEXT


@pytest.fixture
def adt() -> Callable[..., bytes]:
    """Build an ADT message of segments after EVN."""

    def build(event: str, *segments: str, msh18: str = "UNICODE UTF-8") -> bytes:
        msh = rf"MSH|^~\&|HIS|EAST^1.2.156.1^ISO|HUB|REGION|20261101083000+0800||ADT^{event}|C1|P|2.5.1||||||{msh18}"
        return "\r".join((msh, f"EVN|{event}|20261101083000+0800", *segments)).encode()

    return build


@pytest.fixture
def oru() -> Callable[..., bytes]:
    """Build an ORU^R01 of one order with these segments after OBR."""

    def build(
        *segments: str, obr: str = "OBR|1|P1|F1|58410-2^CBC^LN|||20261101080000+0800", pid: str = "PID|1||7^^^EAST"
    ) -> bytes:
        msh = r"MSH|^~\&|LIS|EAST^1.2.156.1^ISO|HUB|REGION|20261101083000+0800||ORU^R01|C1|P|2.5.1||||||UNICODE UTF-8"
        return "\r".join((msh, pid, obr, *segments)).encode()

    return build


@pytest.fixture
def event() -> Callable[..., bytes]:
    """Build a message of any type of segments after MSH."""

    def build(event: str, *segments: str) -> bytes:
        msh = rf"MSH|^~\&|HIS|EAST^1.2.156.1^ISO|HUB|REGION|20261101083000+0800||{event}|C1|P|2.5.1||||||UNICODE UTF-8"
        return "\r".join((msh, *segments)).encode()

    return build


@pytest.fixture
def bodies() -> Callable[..., list[dict[str, Any]]]:
    """Return the resources of one type that a message becomes."""

    def of(content: bytes | Normalised, type_: str, context: SourceContext = CONTEXT) -> list[dict[str, Any]]:
        found = content if isinstance(content, Normalised) else convert(content, context)
        return [one.body for one in found.resources if one.type == type_]

    return of


@pytest.fixture
def refusal() -> Callable[..., Refusal]:
    """Return why a message is refused; converting and inspecting must say the same."""

    def of(content: bytes, context: SourceContext = CONTEXT) -> Refusal:
        with pytest.raises(SetAside) as refused:
            convert(content, context)
        assert inspect(content, context) == refused.value.refusal
        return refused.value.refusal

    return of
