"""`xinglin view`: rows out, bad lines named, memory bounded, nothing half written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq  # noqa: TID253  (Airflow loads no tests)
import pytest
from click.testing import Result
from typer.testing import CliRunner

from console import view as command
from console.main import app

VIEW = {
    "resource": "Patient",
    "name": "people",
    "title": "People",
    "select": [
        {"column": [{"name": "id", "path": "id", "type": "id"}, {"name": "sex", "path": "gender", "type": "code"}]}
    ],
}
PEOPLE = [
    {"resourceType": "Patient", "id": "a", "gender": "female"},
    {"resourceType": "Group", "id": "g"},
    {"resourceType": "Patient", "id": "b"},
]
ROWS = [{"id": "a", "sex": "female"}, {"id": "b", "sex": None}]


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    view, resources = tmp_path / "view.json", tmp_path / "people.ndjson"
    view.write_bytes(orjson.dumps(VIEW))
    resources.write_bytes(b"".join(orjson.dumps(one) + b"\n" for one in PEOPLE))
    return str(view), str(resources)


def run(*arguments: str, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(app, ["view", *arguments], input=stdin)


def rows(done: Result) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in done.stdout.splitlines()]


def test_rows_are_printed_as_ndjson(files: tuple[str, str]) -> None:
    done = run(*files)

    assert (done.exit_code, done.stderr) == (0, "")
    assert rows(done) == ROWS


def test_standard_input_is_read_with_any_line_ends_and_a_byte_order_mark(files: tuple[str, str]) -> None:
    content = b"\xef\xbb\xbf" + b"\r\n\r\n".join(map(orjson.dumps, PEOPLE))
    done = run(files[0], "-", stdin=content)

    assert done.exit_code == 0
    assert rows(done) == ROWS


def test_parquet_is_written_whole_with_its_schema(files: tuple[str, str], tmp_path: Path) -> None:
    out = tmp_path / "people.parquet"
    done = run(*files, "--out", str(out))

    assert done.exit_code == 0
    assert done.stdout == f"{out}: 2 rows of 2 resources\n"
    assert pq.read_table(out).to_pylist() == ROWS
    assert sorted(tmp_path.iterdir()) == sorted([out, *map(Path, files)])


def test_ndjson_file_and_counts_as_json(files: tuple[str, str], tmp_path: Path) -> None:
    out = tmp_path / "people.rows.ndjson"
    done = run(*files, "--out", str(out), "--json")

    assert [orjson.loads(line) for line in out.read_bytes().splitlines()] == ROWS
    assert json.loads(done.stdout) == {
        "file": str(out),
        "lines": 3,
        "resources": 2,
        "rows": 2,
        "refused": 0,
        "unreadable": 0,
    }


def test_bad_lines_are_named_by_number_and_the_others_go_on(files: tuple[str, str]) -> None:
    lines = [b"{", orjson.dumps(PEOPLE[0]), b"[]", b'{"resourceType": 3}', b"", b"\xff\xfe", orjson.dumps(PEOPLE[2])]
    done = run(files[0], "-", stdin=b"\n".join(lines))

    assert done.exit_code == 3
    assert rows(done) == ROWS
    said = done.stderr.splitlines()
    assert [one.partition(" is ")[0].partition(" expected")[0] for one in said] == [
        f"xinglin: standard input: line {number}:" for number in (1, 3, 4, 6)
    ]


def test_resource_that_does_not_fit_is_named_and_the_others_go_on(files: tuple[str, str]) -> None:
    odd = {"resourceType": "Patient", "id": "x", "gender": ["secret", "secret too"]}
    done = run(files[0], "-", stdin=b"\n".join(map(orjson.dumps, [PEOPLE[0], odd, PEOPLE[2]])))

    assert done.exit_code == 1
    assert rows(done) == ROWS
    assert done.stderr.startswith(
        "xinglin: standard input: line 2: select[0].column[1].path: column sex holds one value"
    )
    assert "secret" not in done.stderr


def test_line_that_is_too_long_is_passed_over(files: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "LINE_BYTES", 64)
    long = {**PEOPLE[0], "id": "x" * 1_000}
    done = run(files[0], "-", stdin=b"\n".join(map(orjson.dumps, [PEOPLE[0], long, PEOPLE[2]])))

    assert done.exit_code == 3
    assert rows(done) == ROWS
    assert "line 2: longer than 64 bytes; passed over" in done.stderr


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "is not JSON"),
        (b"[]", "the definition: expected an object, found a list"),
        (b'{"resource": "Patient"}', "select: expected at least 1 in the list, found 0"),
        (
            b'{"resource": "Patient", "select": [{"column": [{"name": "a", "path": "name.("}]}]}',
            "select[0].column[0].path: character 6: expected the name of an element or function, found '('",
        ),
    ],
)
def test_unreadable_view_is_named_and_nothing_is_written(
    files: tuple[str, str], tmp_path: Path, content: bytes, said: str
) -> None:
    Path(files[0]).write_bytes(content)
    done = run(*files, "--out", str(tmp_path / "out.parquet"))

    assert done.exit_code == 3
    assert done.stdout == ""
    assert said in done.stderr
    assert not (tmp_path / "out.parquet").exists()


def test_unknown_names_say_what_there_is(files: tuple[str, str], tmp_path: Path) -> None:
    assert "shipped views are charges, conditions," in run("patient", files[1]).stderr
    for done in (run("patient", files[1]), run(files[0], str(tmp_path / "none")), run(str(tmp_path), files[1])):
        assert done.exit_code == 3
        assert done.stdout == ""


def test_usage_is_said(files: tuple[str, str]) -> None:
    assert run(files[0]).exit_code == 2
    assert run(*files, "--out", "rows.csv").exit_code == 2
    assert run().exit_code == 2


def test_shipped_view_is_taken_by_name_and_its_dictionary_told(files: tuple[str, str]) -> None:
    assert [row["id"] for row in rows(run("patients", files[1]))] == ["a", "b"]
    done = run("patients", "--dictionary")
    assert done.exit_code == 0
    assert "Year of birth; those of the very old are one." in done.stdout
    assert json.loads(run("patients", "--dictionary", "--json").stdout)["resource"] == "Patient"


def test_what_is_most_likely_not_meant_is_noted(files: tuple[str, str]) -> None:
    body = {"resource": "Patient", "select": [{"column": [{"name": "a", "path": "famly", "type": "string"}]}]}
    Path(files[0]).write_bytes(orjson.dumps(body))
    done = run(*files)

    assert done.exit_code == 0
    assert done.stderr.startswith(
        "xinglin: note: select[0].column[0].path: character 1: FHIR R4 has no element 'famly'"
    )


def test_file_that_stood_there_stays_where_writing_fails(files: tuple[str, str], tmp_path: Path) -> None:
    out = tmp_path / "people.parquet"
    out.write_bytes(b"before")
    done = run(files[0], str(tmp_path), "--out", str(out))

    assert done.exit_code == 3
    assert out.read_bytes() == b"before"
    assert sorted(tmp_path.iterdir()) == sorted([out, *map(Path, files)])


def test_a_full_disk_leaves_nothing_half_written(files: tuple[str, str], tmp_path: Path) -> None:
    limited = tmp_path / "many.ndjson"
    limited.write_bytes(b"".join(orjson.dumps({**PEOPLE[0], "id": f"{one:064}"}) + b"\n" for one in range(20_000)))
    program = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "from console.main import main; main()"
    )
    out = tmp_path / "out.ndjson"
    arguments = ["view", files[0], str(limited), "--out", str(out)]
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)

    assert done.returncode == 3
    assert "File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(tmp_path.iterdir()) == sorted([limited, *map(Path, files)])


def test_reader_that_has_seen_enough_ends_it_quietly(files: tuple[str, str], tmp_path: Path) -> None:
    many = tmp_path / "many.ndjson"
    many.write_bytes(b"".join(orjson.dumps({**PEOPLE[0], "id": f"{one:064}"}) + b"\n" for one in range(20_000)))
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "console.main", "view", files[0], str(many)],
        stdout=writing, stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    os.close(writing)

    assert done.stderr == ""


def test_memory_does_not_grow_with_the_file(files: tuple[str, str], tmp_path: Path) -> None:
    def peak(count: int) -> int:
        many = tmp_path / f"{count}.ndjson"
        with many.open("wb") as stream:
            for one in range(count):
                stream.write(orjson.dumps({**PEOPLE[0], "id": f"{one:032}", "text": {"div": "x" * 400}}) + b"\n")
        program = (
            "import sys\nfrom pathlib import Path\nfrom console.main import app\n"
            "try:\n    app()\nexcept SystemExit as end:\n    assert not end.code\n"
            "lines = Path('/proc/self/status').read_text().splitlines()\n"
            "print(next(line.split()[1] for line in lines if line.startswith('VmHWM:')), file=sys.stderr)"
        )
        arguments = ["view", files[0], str(many), "--out", str(tmp_path / f"{count}.parquet")]
        done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True)
        assert pq.read_metadata(tmp_path / f"{count}.parquet").num_rows == count
        return int(done.stderr.split()[-1])

    assert peak(20_000) < peak(2_500) + 16 * 1024
