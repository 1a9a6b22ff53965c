"""What checking does to the world outside: nothing."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from quality import Gate
from schemas.records import Normalised, Resource

SECRET = "欧阳机密"
PATIENT = {
    "resourceType": "Patient",
    "id": "p1",
    "name": [{"text": SECRET}],
    "gender": "male",
    "birthDate": "1700-01-01",
    "identifier": [{"system": "urn:oid:2.16.156.10011.1.3", "value": SECRET}],
}

# Runs a check in a fresh interpreter and tells what the interpreter's own audit saw of network, files, processes.
PROGRAM = """
import json, os, sys
seen = []
def watch(event, args):
    if event.startswith(("socket.", "subprocess.", "os.system", "urllib", "http.client", "webbrowser", "smtplib")):
        # urllib3, which great-expectations imports, asks the kernel for a free port of ::1 to learn of IPv6.
        if event != "socket.__new__" and (event, *args[1:]) != ("socket.bind", ("::1", 0)):
            seen.append(event)
    elif event == "open" and isinstance(args[1], str) and any(letter in args[1] for letter in "wax+"):
        seen.append(f"open {args[0]} {args[1]}")
    elif event in ("os.mkdir", "os.rename", "os.chmod"):
        seen.append(f"{event} {args[0]}")
sys.dont_write_bytecode = True
sys.addaudithook(watch)
from quality import Gate
from schemas.records import Normalised, Resource
light = sorted({"great_expectations", "pandas", "fhir.resources"} & set(sys.modules))
batch = [Normalised((Resource(json.loads(sys.argv[1]), "PID", "p1"),))]
report = Gate("hl7v2").check(batch)
print(json.dumps({"seen": seen, "light": light, "refused": len(report.refusals[0]), "left": os.listdir(".")}))
"""


def test_check_opens_no_socket_writes_no_file_and_prints_nothing(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(PATIENT)],
        cwd=tmp_path,
        env={"HOME": str(tmp_path), "TMPDIR": str(tmp_path), "PYTHONPATH": str(root), "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    told = json.loads(done.stdout)
    assert told["refused"] >= 3
    assert told["light"] == [], "importing the stage must not import what is heavy"
    assert told["seen"] == []
    assert told["left"] == []
    assert done.stderr == ""


def test_no_value_reaches_logs_or_report(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    caplog.set_level(logging.DEBUG)
    report = Gate("hl7v2").check([Normalised((Resource(PATIENT, "PID", "p1"),))] * 3)
    assert report.passed == []
    captured = capfd.readouterr()
    for text in (repr(report), caplog.text, captured.out, captured.err):
        assert SECRET not in text
        assert "1700" not in text
