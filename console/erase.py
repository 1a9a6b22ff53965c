"""`xinglin erase`: a patient's records, or one record, made unreadable for ever, and the chain told."""

from __future__ import annotations

from typing import Annotated

import typer

from console.exits import USAGE, fail, print_json, sentences
from console.motions import Institution, acting
from console.record import Json, readable
from console.records import site
from console.screen import quiet_libraries, say


def erase(
    patient: Annotated[str | None, typer.Option(metavar="ID", help="All records of this Patient (FHIR id).")] = None,
    record: Annotated[
        str | None, typer.Option(metavar="REF", help="One record, RECORD or RECORD.VERSION, in hex.")
    ] = None,
    reason: Annotated[str, typer.Option(help="patient, retention or mistake.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Destroy the keys: nothing brings them back.")] = False,
    institution: Institution = None,
    as_json: Json = False,
) -> None:
    """Make a patient's records, or one record, unreadable for ever, and tell the chain. Run it again to see how far.

    Not reached: answers and datasets fetched before, backups, messages in quarantine, other institutions' records.
    """
    from dags.steps.records import desk
    from sharing.record.asking import Reference
    from sharing.record.erasing import WHY, erase_patient, erase_record

    if (patient is None) == (record is None):
        fail("erase what? give --patient or --record", USAGE)
    if reason and reason not in WHY:
        fail(f"--reason: expected one of {', '.join(WHY)}", USAGE)
    with sentences(), quiet_libraries():
        who, at = acting(institution), site()
        vault, here = at.vault(who), desk(who, at)
        reference = None if record is None else readable(Reference.read, record)
        version = None if reference is None or "." not in (record or "") else reference.version
        found = vault.records.versions(patient=patient, rid=b"" if reference is None else reference.rid)
        count = len(found) if version is None else int((reference.rid, version) in found if reference else 0)
        if not yes:
            fail(f"this makes {count} sealed versions at {who} unreadable for ever; do it with --yes", USAGE)
        if reference is None:
            done = erase_patient(here, vault, str(patient), reason or "patient")
        else:
            done = erase_record(here, vault, reference.rid, version, reason or "mistake")
    if as_json:
        print_json({"records": done.records, "erased_on_chain": done.final, "waiting": done.waiting, "done": done.done})
        return
    say(f"{done.records} sealed versions at {who} are unreadable, and raw messages that are theirs alone")
    if done.done:
        say("The chain says so of all of them: proofs still verify and say erased; every node purges their summaries.")
    else:
        say(f"{done.waiting} wait for the next block; run it again then, or after whatever goes wrong, to finish")
