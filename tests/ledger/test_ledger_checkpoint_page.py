"""The checkpoint on its page is that of the head in the proof file on the other page."""

from __future__ import annotations

import json
import re
from pathlib import Path

from ledger.chain.header import Header
from ledger.proofs.checkpoint import Checkpoint

FORMATS = Path(__file__).parents[2] / "docs" / "formats"


def test_the_checkpoint_on_its_page_is_what_the_code_makes() -> None:
    proof = json.loads(re.findall(r"```json\n(.*?)\n```", (FORMATS / "proof.md").read_text("utf-8"), re.DOTALL)[1])
    [shown] = re.findall(r"```text\n(.*?)\n\n", (FORMATS / "checkpoint.md").read_text("utf-8"), re.DOTALL)
    assert shown + "\n" == Checkpoint.of(Header.decode(bytes.fromhex(proof["head"]["header"]))).text()
