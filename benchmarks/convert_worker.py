"""One converter in a process of its own, told what to do on stdin; started by convert_speed.py.

    python convert_worker.py (xinglin | hl7v2-fhir-bridge) FOLDER

For each file name on stdin, parses, converts and validates the messages of that file in FOLDER, one after the other,
and writes one line of JSON: seconds, messages, refused, resources, numbers (values mapped as quantities).
The peer's interpreter holds no part of this project, so this file imports none of it at the top.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: Turns one message into its resources, validated; None where it is refused.
Converter = Callable[[bytes], list[dict[str, Any]] | None]


def xinglin() -> Converter:
    """This project: convert, then check the structure of every resource."""
    sys.path.insert(0, str(Path(__file__).parent.parent))
    from normalise.errors import SetAside
    from normalise.hl7v2 import convert
    from quality.structure import check_structure
    from schemas.records import SourceContext

    context = SourceContext("bench", "hospital-east", "Asia/Shanghai")

    def run(message: bytes) -> list[dict[str, Any]] | None:
        try:
            bodies = [one.body for one in convert(message, context).resources]
        except SetAside:
            return None
        return None if any(check_structure(body) for body in bodies) else bodies

    return run


def bridge() -> Converter:
    """The peer, as its own command line runs it: parse, convert, validate the bundle."""
    from v2fhir.config import default_config_path, load_config
    from v2fhir.convert import convert
    from v2fhir.errors import HL7Error
    from v2fhir.hl7.parser import parse_bytes
    from v2fhir.validate import BundleInvalid, validate_bundle

    config = load_config(default_config_path(), {})

    def run(message: bytes) -> list[dict[str, Any]] | None:
        try:
            parsed = parse_bytes(message, config.default_charset, config.fallback_charsets)
            bundle = convert(parsed, config, None).bundle
            validate_bundle(bundle)
        except (HL7Error, BundleInvalid):
            return None
        return [entry["resource"] for entry in bundle["entry"]]

    return run


CONVERTERS: dict[str, Callable[[], Converter]] = {"xinglin": xinglin, "hl7v2-fhir-bridge": bridge}


def measure(convert: Converter, messages: list[bytes]) -> dict[str, float]:
    """Return what converting the messages took and gave.

    Counting is outside the clock. What a message became goes on its way and is not kept, as either product does it.
    """
    seconds, refused, resources, numbers = 0.0, 0, 0, 0
    for message in messages:
        started = time.perf_counter()
        bodies = convert(message)
        seconds += time.perf_counter() - started
        refused += bodies is None
        resources += len(bodies or ())
        numbers += sum("valueQuantity" in body for body in bodies or ())
    return {
        "seconds": seconds, "messages": len(messages), "refused": refused,
        "resources": resources, "numbers": numbers,
    }  # fmt: skip


def main() -> None:
    """Serve until stdin ends."""
    convert, folder = CONVERTERS[sys.argv[1]](), Path(sys.argv[2])
    for name in sys.stdin:
        lines = (folder / name.strip()).read_bytes().split(b"\n\n")
        print(json.dumps(measure(convert, [line for line in lines if line])), flush=True)


if __name__ == "__main__":
    main()
