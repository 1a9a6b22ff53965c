"""Invented laboratory results for benchmarks: ORU^R01 of about 1.3 KB in 14 segments, no two alike."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

#: LOINC code, name, UCUM unit, lowest and highest value made, reference range.
_TESTS = (
    ("2823-3", "Potassium", "mmol/L", 3.0, 5.9, "3.5-5.3"),
    ("2951-2", "Sodium", "mmol/L", 128, 149, "137-147"),
    ("2075-0", "Chloride", "mmol/L", 92, 112, "99-110"),
    ("2345-7", "Glucose", "mmol/L", 3.2, 14.0, "3.9-6.1"),
    ("2160-0", "Creatinine", "umol/L", 40, 180, "57-97"),
    ("718-7", "Hemoglobin", "g/L", 82, 175, "130-175"),
    ("6690-2", "Leukocytes", "10*9/L", 2.1, 17.0, "3.5-9.5"),
    ("777-3", "Platelets", "10*9/L", 60, 420, "125-350"),
)
_FAMILIES = ["王", "李", "张", "刘", "陈", "杨", "黄", "赵", "吴", "周", "徐", "孙"]
_GIVEN = ["伟", "芳", "娜", "敏", "静", "强", "磊", "洋", "艳", "勇", "杰", "娟"]


def messages(count: int, seed: int = 1) -> Iterator[bytes]:
    """Yield ``count`` messages in UTF-8; the same for the same seed."""
    chance = random.Random(seed)
    for number in range(count):
        yield _message(chance, seed, number)


def batch_file(held: list[bytes]) -> bytes:
    """Return the messages in a file of one batch (HL7 v2.5.1 section 2.10.3)."""
    head, tail = b"FHS|^~\\&|LIS\rBHS|^~\\&|LIS\r", f"BTS|{len(held)}\rFTS|1\r".encode()
    return head + b"".join(held) + tail


def _message(chance: random.Random, seed: int, number: int) -> bytes:
    taken = datetime(2026, 3, 1, tzinfo=UTC) + timedelta(minutes=chance.randrange(100_000))
    time, sent = f"{taken:%Y%m%d%H%M%S}+0800", f"{taken + timedelta(hours=2):%Y%m%d%H%M%S}+0800"
    born, record = f"{chance.randrange(1930, 2020)}{chance.randrange(1, 13):02}15", chance.randrange(10**8)
    order, name = f"{seed}-{number:06}", f"{chance.choice(_FAMILIES)}{chance.choice(_GIVEN)}"
    lines = [
        f"MSH|^~\\&|LIS|EAST|HIS|EAST|{sent}||ORU^R01^ORU_R01|B{order}|P|2.5.1|||||CHN|UNICODE UTF-8",
        f"PID|1||{record:08}^^^EAST&1.2.156.112600.1&ISO^MR||{name}^^^^^^L||{born}|{chance.choice('MF')}"
        "|||杏林路1号^^北京市^^100000^CHN||13800000000",
        f"PV1|1|I|W3^301^2^EAST|R|||D{record % 97:03}^周^敏|||MED|||||||||V{record:08}",
        f"ORC|RE|P{order}^HIS|F{order}^LIS||CM||||{time}|||D{record % 97:03}^周^敏",
        f"OBR|1|P{order}^HIS|F{order}^LIS|24323-8^Metabolic panel^LN|||{time}|||||||||D{record % 97:03}^周^敏"
        f"||||||{sent}||LAB|F",
    ]
    for index, (code, test, unit, low, high, usual) in enumerate(_TESTS, 1):
        value = round(chance.uniform(low, high), 1)
        lines.append(f"OBX|{index}|NM|{code}^{test}^LN||{value}|{unit}^{unit}^UCUM|{usual}|N|||F|||{time}")
    lines.append(f"OBX|9|TX|8251-1^Comment^LN||标本 {order} 状态良好，无溶血||||||F|||{time}")
    return "\r".join(lines).encode() + b"\r"
