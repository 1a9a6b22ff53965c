"""`xinglin governance`: who takes part, with which key and how many votes, and the chain's numbers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from console import policy
from console.exits import UNREADABLE, USAGE, fail, print_json, sentences
from console.motions import Institution, Title, Tried, acting, chain, facts, put_forward, told
from console.records import site
from console.screen import columns, quiet_libraries, say

if TYPE_CHECKING:
    from ledger.chain.roster import Registration
    from ledger.contracts.change import Change
    from shangmi import PublicKey

app = typer.Typer(help="Who takes part and what the chain's numbers are; docs/governance.md.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="JSON for programs.")]
Name = Annotated[str, typer.Argument(metavar="INSTITUTION", help="Its id in region.yaml.")]
Output = Annotated[Path, typer.Option("--output", "-o", help="File to write: give it to who proposes it.")]
app.command("vote")(policy.vote)


@app.command("show")
def show(as_json: Json = False) -> None:
    """Show who is registered, with which votes and key, the chain's numbers, and every open proposal."""
    from ledger.chain.genesis import NUMBERS
    from ledger.contracts.motions import motion_of, open_motions

    with sentences(), quiet_libraries():
        tried = chain()
        roster, rules = tried.view.roster, tried.view.parameters
        members = [_member(tried, one) for one in sorted(roster, key=lambda one: one.name)]
        numbers = {name: getattr(rules, name) for name in NUMBERS}
        open_ = [(one, motion_of(tried.state, one)) for one in open_motions(tried.state)]
        motions = [facts(tried, id_, motion) for id_, motion in open_ if motion is not None]
    if as_json:
        print_json({"height": tried.view.head.height, "members": members, "numbers": numbers, "proposals": motions})
        return
    heading = ("institution", "class", "party", "standing", "votes", "key")
    say(columns(heading, [tuple(one[name] for name in heading) for one in members]))
    say("")
    say(columns(("number", "is"), list(numbers.items()), numbers=1))
    say("")
    say("\n\n".join(map(told, motions)) or "no proposal is open")


def _member(tried: Tried, one: Registration) -> dict[str, Any]:
    """Return what people ask of an institution: what it is, whether it may act, and its votes in this epoch."""
    from ledger.chain.state import ACTIVE, INSTITUTION, InstitutionState

    value = tried.state.get(INSTITUTION, one.id)
    convicted = value is not None and InstitutionState.decode(value).standing != ACTIVE
    seat = tried.view.validators.member(one.id)
    return {
        "institution": one.name,
        "title": one.title,
        "class": one.class_,
        "party": one.party,
        "standing": "convicted" if one.active and convicted else one.standing,
        "votes": 0 if seat is None else seat.weight,
        "key": one.key_id.hex(),
    }


def _id(name: str) -> bytes:
    from ledger.chain.validators import institution_id

    return institution_id(name)


@app.command("freeze")
def freeze(name: Name, title: Title, institution: Institution = None, as_json: Json = False) -> None:
    """Propose that an institution may do nothing until it is thawed; made in the block in which votes suffice."""
    from ledger.contracts.member_changes import Freeze

    put_forward(Freeze(_id(name)), title, institution, as_json)


@app.command("thaw")
def thaw(name: Name, title: Title, institution: Institution = None, as_json: Json = False) -> None:
    """Propose that a frozen institution takes part again."""
    from ledger.contracts.member_changes import Thaw

    put_forward(Thaw(_id(name)), title, institution, as_json)


@app.command("remove")
def remove(name: Name, title: Title, institution: Institution = None, as_json: Json = False) -> None:
    """Propose that an institution takes part no more; made in the block in which votes suffice."""
    from ledger.contracts.member_changes import Remove

    put_forward(Remove(_id(name)), title, institution, as_json)


@app.command("weight")
def weight(
    name: Name,
    votes: Annotated[int, typer.Argument(min=1, help="1 to its class's.")],
    title: Title,
    institution: Institution = None,
    as_json: Json = False,
) -> None:
    """Propose another number of votes for an institution, at most its class's."""
    from ledger.contracts.member_changes import NewWeight

    put_forward(NewWeight(_id(name), votes), title, institution, as_json)


@app.command("number")
def number(
    name: Annotated[str, typer.Argument(metavar="NUMBER", help="Like round_seconds.")],
    value: Annotated[int, typer.Argument(min=0)],
    title: Title,
    institution: Institution = None,
    as_json: Json = False,
) -> None:
    """Propose another value of one of the chain's numbers."""
    from ledger.contracts.rule_changes import BOUNDS, NewNumbers

    if name not in BOUNDS:
        fail(f"{name} is none of the numbers that may change: {', '.join(BOUNDS)}", USAGE)
    put_forward(NewNumbers(((name, value),)), title, institution, as_json)


@app.command("engine")
def engine(
    name: Annotated[str, typer.Argument(metavar="ENGINE", help="Like cedar-4.13.")],
    title: Title,
    institution: Institution = None,
    as_json: Json = False,
) -> None:
    """Propose that another engine judges the rules; read docs/governance.md first: every node halts for it."""
    from ledger.contracts.rule_changes import NewEngine

    with sentences():
        change = NewEngine.decode(NewEngine(name).content())
    put_forward(change, title, institution, as_json)


@app.command("propose")
def propose(
    file: Annotated[Path, typer.Argument(help="From `governance apply` or `governance new-key`.")],
    title: Title,
    institution: Institution = None,
    as_json: Json = False,
) -> None:
    """Propose an admission or a new key that its holder wrote to a file."""
    with sentences():
        change = _read(file)
    put_forward(change, title, institution, as_json)


def _read(path: Path) -> Change:
    """Return the change of a file; whatever is not one ends the command."""
    from ledger.contracts.motions import read_change
    from ledger.encoding import Reader
    from ledger.errors import Refused

    try:
        found = orjson.loads(path.read_bytes())
        reader = Reader(bytes.fromhex(found["bytes"]), "change")
        if found["format"] != "xinglin-change/v1":
            fail(f"{path}: expected format xinglin-change/v1", UNREADABLE)
        change = read_change(reader)
        reader.end()
    except OSError as error:
        fail(f"{path}: {error.strerror}", UNREADABLE)
    except (ValueError, KeyError, TypeError, Refused):
        fail(f"{path}: not a change written by `governance apply` or `governance new-key`", UNREADABLE)
    return change


def _write(path: Path, change: Change, facts: dict[str, Any]) -> None:
    from ledger.contracts.motions import change_bytes

    document = {"format": "xinglin-change/v1", "change": change.NAME, **facts, "bytes": change_bytes(change).hex()}
    try:
        with path.open("xb") as stream:
            stream.write(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    except FileExistsError:
        fail(f"{path} exists; nothing was written")
    say(f"{path} written; a member proposes it with `xinglin governance propose {path} --title …`")


@app.command("apply")
def apply(
    name: Name,
    called: Annotated[str, typer.Option("--name", help="What people call it.")],
    class_: Annotated[str, typer.Option("--class", help="A, B, C, R, or P for who takes part without a vote.")],
    keys: Annotated[Path, typer.Option(help="Folder for its keystore; made where there is none.")],
    output: Output,
    party: Annotated[str, typer.Option(help="Of class P: insurer or research.")] = "",
) -> None:
    """Write an application for admission: with a key, and the proof of holding it. Needs the region's genesis."""
    from ledger.chain.roster import CLASS_PARTY, CLASSES, parties_of
    from ledger.contracts.member_changes import Admit
    from ledger.contracts.possession import NO_KEY, prove_possession

    with sentences(), quiet_libraries():
        if class_ not in CLASSES or (party or CLASS_PARTY[class_]) not in parties_of(class_):
            fail(f"class {class_} {party}: expected A, B, C, R, or P with --party insurer or research", USAGE)
        genesis, key = site().genesis, _keystore(keys).signing_key
        proof = prove_possession(key, genesis.chain_id, _id(name), _replaced(name) or NO_KEY)
        change = Admit(name, called, class_, party or CLASS_PARTY[class_], key.public.bytes, proof)
        Admit.decode(change.content())
    _write(output, change, {"institution": name, "public_key": key.public.bytes.hex()})


def _replaced(name: str) -> bytes | None:
    """Return the id of the key that an institution was last registered with, where a replica here knows it."""
    from console.ledger import replicas

    for replica in replicas().values():
        found = replica.view.roster.registration(_id(name))
        return found.key_id if found else None
    return None


def _keystore(folder: Path) -> Any:
    """Open the keystore in a folder, or make one; its password lies beside it, for its owner alone."""
    import secrets

    from console.region.processes import write
    from vault.keystore import SIGNING_FILE, FileKeystore

    password = folder / "password"
    if (folder / SIGNING_FILE).exists():
        return FileKeystore.open(folder, password.read_bytes().rstrip(b"\r\n"))
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    word = secrets.token_urlsafe(24).encode()
    write(password, word, mode=0o600)
    return FileKeystore.create(folder, word)


@app.command("new-key")
def new_key(output: Output, institution: Institution = None) -> None:
    """Make a new signing key beside the present one, and write the change to it with the proof of holding it.

    The present key stays in use until the change is made; then `governance adopt-key` puts the new one in its place.
    """
    from ledger.contracts.member_changes import RotateKey
    from ledger.contracts.possession import prove_possession

    with sentences(), quiet_libraries():
        who, at = acting(institution), site()
        folder = at.home.keys(who) / "next"
        registration = chain().view.roster.registration(_id(who))
        if registration is None:
            fail(f"{who} is not registered on the chain; `xinglin governance apply` asks for admission")
        store = at.keystore(who).renew(folder, at.home.password(who))
        proof = prove_possession(store.signing_key, at.genesis.chain_id, registration.id, registration.key_id)
        change = RotateKey(registration.id, store.public_key.bytes, proof)
    _write(output, change, {"institution": who, "public_key": store.public_key.bytes.hex()})


@app.command("adopt-key")
def adopt_key(institution: Institution = None) -> None:
    """Put the new key in the place of the old, once the chain names it. Stop the institution's node first."""
    from ledger.opening import KEY_FILE
    from shangmi import PrivateKey

    with sentences(), quiet_libraries():
        who, at = acting(institution), site()
        folder, view = at.home.keys(who) / "next", chain().view
        try:
            new = PrivateKey.from_pem((folder / KEY_FILE).read_bytes(), at.home.password(who)).public
        except FileNotFoundError:
            fail(f"{folder} holds no new key; `xinglin governance new-key` makes one")
        registration = view.roster.registration(_id(who))
        if registration is None or registration.public_key != new.bytes:
            fail("the chain does not name the new key yet; `xinglin governance show` tells where its proposal stands")
        old = _exchange_keys(at.home.keys(who), new, at.genesis.chain_id, view.head.height)
    say(f"{who} signs with the new key now. Destroy {old}: whoever holds an old key could sign another history")


def _exchange_keys(present: Path, new: PublicKey, chain_id: bytes, height: int) -> Path:
    """Move the old files away and the new ones in, the signing key last: killed in between, it is done again.

    Returns:
        Where the old ones are.
    """
    from ledger.agreement.votes import VoteStore
    from ledger.opening import KEY_FILE, VOTES_FILE

    folder, old = present / "next", present / "old"
    old.mkdir(mode=0o700, exist_ok=True)
    if not (old / VOTES_FILE).exists():
        for one in sorted(present.glob(f"{VOTES_FILE}*"), reverse=True):  # the log before the record it belongs to
            one.rename(old / one.name)
    if not (folder / VOTES_FILE).exists() and not (present / VOTES_FILE).exists():
        VoteStore.create(folder / VOTES_FILE, new, floor=(chain_id, height)).close()
    for one in sorted(folder.iterdir(), key=lambda one: one.name == KEY_FILE):
        if (present / one.name).exists():
            (present / one.name).rename(old / one.name)
        one.rename(present / one.name)
    folder.rmdir()
    return old
