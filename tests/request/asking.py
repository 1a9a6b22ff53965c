"""A request for a dataset, for tests to ask and to spoil: its value, its draft, and the chain it is asked on."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

from schemas.sharing import Code, Cohort, DatasetRequest, Demands, Ethics
from shangmi import sm3
from sharing.request import write_request

CHAIN = bytes(range(32))
LOINC = "http://loinc.org"
VIEW: dict[str, Any] = {
    "resourceType": "ViewDefinition",
    "name": "glucose",
    "status": "active",
    "resource": "Observation",
    "select": [
        {
            "column": [
                {"name": "id", "path": "getResourceKey()"},
                {"name": "code", "path": "code.coding.first().code"},
                {"name": "value", "path": "value.ofType(Quantity).value"},
            ]
        }
    ],
    "where": [{"path": "code.coding.exists(code = '2339-0')"}],
}
REQUEST = DatasetRequest(
    chain_id=CHAIN,
    title="血糖控制的地区差异 glucose control by district",
    requester="hospital-west",
    holders=("hospital-east", "lab-centre"),
    purpose="research",
    reader="",
    recipient=b"",
    cohort=Cohort(((Code(LOINC, "2339-0"), Code(LOINC, "4548-4")),), (date(2025, 1, 1), date(2026, 10, 31)), (18, 89)),
    views={"glucose": VIEW},
    profile="gbt-37964",
    demands=Demands(),
    ndjson=False,
    most=5_000,
    ethics=Ethics("区伦理委员会", "2026-117", (date(2026, 1, 1), date(2027, 12, 31)), sm3(b"approval")),
    made=date(2026, 11, 20),
    keep_until=date(2028, 6, 30),
    nonce=bytes(16),
)


def file(**changes: Any) -> bytes:
    """The file of the request, with fields changed."""
    return write_request(replace(REQUEST, **changes))
