"""The page on the format says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from make_package_vectors import VECTORS
from package_forged import Forged

from ledger.chain.validators import institution_id
from ledger.messages.manifest_word import manifest_message
from sharing.package import names
from sharing.package.container import FOOTER_BYTES, FOOTER_MAGIC, HEADER_BYTES, HEADER_MAGIC, MAX_PLAIN
from sharing.package.manifest import FORMAT
from sharing.package.sealing import CHUNK, DatasetKey, SealedWriter

PAGE = (Path(__file__).parents[2] / "docs" / "formats" / "dataset.md").read_text(encoding="utf-8")


def example() -> dict[str, str]:
    rows = re.findall(r"^\| (.+?) \| `([^`]+)` \|$", PAGE.split("## Example")[1], re.MULTILINE)
    return dict(rows)


def test_the_example_is_what_the_code_makes() -> None:
    said = example()
    salt, secret, request = (bytes.fromhex(said[one]) for one in ("salt", "secret", "request"))
    key, name = DatasetKey(secret, salt, request, said["holder"]), "tables/glucose/part-00000.parquet"
    assert key.commitment.hex() == said["commitment"]
    assert key.of_file(name).hex() == said[f"key of `{name}`"] and name == names.table_part("glucose", 0)
    sealed = bytearray()
    writer = SealedWriter(sealed.extend, key.of_file(name))
    writer.write(b"PAR1")
    writer.finish()
    assert sealed.hex() == said["that file, content `PAR1`"]
    message = manifest_message(bytes(range(32)), institution_id("hospital-east"), request, bytes(range(96, 128)))
    assert message.hex() == said["signed bytes, chain id 00…1f, manifest digest 60…7f"]


def test_the_page_names_every_member_and_every_constant() -> None:
    manifest = Forged.of(VECTORS / "valid.xld").manifest
    table = PAGE.split("## Manifest")[1].split("##")[0]
    named = set(re.findall(r"`(\w+)`", table))
    members = set(manifest) | {
        inner
        for value in manifest.values()
        for one in (value if isinstance(value, list) else [value])
        if isinstance(one, dict)
        for inner in one
    }
    assert members <= named, members - named
    assert FORMAT in PAGE and f"| {HEADER_BYTES} | … |" in PAGE
    assert FOOTER_BYTES == 8 + 4 + 64 + 8 and f"{MAX_PLAIN >> 20} MiB" in PAGE and f"{CHUNK:,} bytes" in PAGE
    for magic in (HEADER_MAGIC.rstrip(b"\0"), FOOTER_MAGIC):
        assert f"`{magic.decode()}`" in PAGE
    for file in (names.REQUEST, names.POLICIES, names.EVIDENCE, names.DICTIONARY, names.RISK, names.DEIDENTIFICATION):
        assert f"`{file}`" in PAGE
