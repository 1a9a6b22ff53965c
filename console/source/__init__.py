"""`xinglin source`: a hospital's engineer adds a source alone, from `init` to `enable` and `status`."""

from __future__ import annotations

import typer

from console import tallies
from console.source import changing, describing, looking, switching, watching

app = typer.Typer(
    help="Onboard a source: init → check → preview → profile → certify → enable → status. See docs/onboarding.",
    no_args_is_help=True,
)
app.command("kinds")(describing.kinds)
app.command("init")(describing.init)
app.command("check")(looking.check)
app.command("preview")(looking.preview)
app.command("profile")(looking.profile)
app.command("coverage")(looking.coverage)
app.command("certify")(switching.certify)
app.command("enable")(switching.enable)
app.command("disable")(switching.disable)
app.command("status")(watching.status)
app.command("unmapped")(tallies.unmapped)
app.command("notes")(tallies.notes)
app.command("diff")(changing.diff)
app.command("backfill")(changing.backfill)
