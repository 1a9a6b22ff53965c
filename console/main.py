"""The `xinglin` command: its parts and their order in the help."""

from __future__ import annotations

import sys

import typer

from console import (
    catalogue,
    consent,
    convert,
    coverage,
    credit,
    dataset,
    dataset_audit,
    deidentify,
    demo,
    erase,
    governance,
    identity,
    ledger,
    node,
    policy,
    record,
    records,
    request,
    running,
    source,
    view,
)
from console.exits import USAGE

dataset.app.command("audit")(dataset_audit.audit)
dataset.app.command("exports")(dataset_audit.exports)
dataset.app.command("recut")(dataset_audit.recut)

app = typer.Typer(
    name="xinglin",
    help="Share a region's health data safely. Exit codes: 0 done, 1 refused, 2 usage, 3 unreadable input.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # their frames would show local values
)
app.command("demo")(demo.demo)
app.command("up")(running.up)
app.command("down")(running.down)
app.command("status")(running.status)
app.command("listen")(running.listen)
app.command("convert")(convert.convert)
app.command("coverage")(coverage.coverage)
app.command("view")(view.view)
app.command("deidentify")(deidentify.deidentify)
app.command("batches")(records.batches)
app.command("credit")(credit.credit)
app.command("erase")(erase.erase)
app.add_typer(catalogue.app, name="catalogue")
app.add_typer(consent.app, name="consent")
app.add_typer(source.app, name="source")
app.add_typer(records.quarantine, name="quarantine")
app.add_typer(identity.app, name="identity")
app.add_typer(ledger.app, name="ledger")
app.add_typer(policy.app, name="policy")
app.add_typer(governance.app, name="governance")
app.add_typer(node.app, name="node")
app.add_typer(record.app, name="record")
app.add_typer(dataset.app, name="dataset")
app.add_typer(request.app, name="request")


def main() -> None:
    """Run the command line; what the base installation lacks is named."""
    try:
        app()
    except ModuleNotFoundError as missing:
        name = (missing.name or str(missing)).partition(".")[0]
        print(f"xinglin: this needs {name}, which comes with: pip install 'xinglin[region]'", file=sys.stderr)  # noqa: T201
        sys.exit(USAGE)


if __name__ == "__main__":
    main()
