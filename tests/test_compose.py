"""docker-compose.yaml describes a region in which every institution has its own node, worker, users and network."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from graphlib import TopologicalSorter
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from ledger.page.addresses import VARIABLE, node_addresses
from schemas.region import load_region
from schemas.source import load_sources

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docker-compose.yaml").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
INSTITUTIONS = {one.id for one in load_region(ROOT / "region.yaml").institutions}
SOURCES = load_sources(ROOT / "deploy" / "sources")
STATE = re.compile(r"^\$\{XINGLIN_STATE:\?[^}]+\}/(?P<path>[^:]+):(?P<target>[^:]+)(?P<mode>:ro)?$")
ONE_SHOT = {"airflow-init", "mongo-init"}
CONTROL = {"airflow-init", "api-server", "scheduler", "dag-processor", "triggerer"}

# Who needs each variable that our code reads. A new name in the code must be entered here, and set there.
WORKING = {name for name, one in SERVICES.items() if one.get("environment", {}).get("XINGLIN_NODE") in INSTITUTIONS}
SIGNING = {f"node-{id_}" for id_ in INSTITUTIONS}
SHOWING = {f"chain-{id_}" for id_ in INSTITUTIONS}
NODES = WORKING | SIGNING | SHOWING
NEEDED = {
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": set(),  # whether the region on one machine has its own SQLite
    "XINGLIN_NOTIFIERS": set(),  # who is told of a feed beside the log, where somebody is
    "XINGLIN_ALERT_URL_FILE": set(),
    "XINGLIN_EXPORT_PROCESSES": set(),  # four at most by themselves
    "XINGLIN_CORPORA": set(),  # of whoever measures, not of a region
    "PATH": set(),  # of deploy/services.py, which starts Debian's servers for tests
    "XINGLIN_SECRET_*": set(),  # or files of the home; which ones, the sources say
    "XINGLIN_HOME": CONTROL | NODES,
    "XINGLIN_REGION": CONTROL | WORKING | SHOWING | {"mongo-init"},
    "XINGLIN_SOURCES": CONTROL | WORKING,
    "XINGLIN_KEY_PASSWORD_FILE": WORKING | SIGNING,
    "MONGODB_URI_FILE": NODES | {"triggerer"},
    "XINGLIN_NODE": WORKING,  # nodes are named in their commands
    "XINGLIN_NODE_SOCKET": WORKING,
    "XINGLIN_NODE_MONGODB_URI_FILE": SIGNING,
    "XINGLIN_NODE_URLS": {"api-server"},
    "NOTIFY_SOCKET": set(),  # of systemd, where a node runs under it
    "XINGLIN_MONGO_ACCOUNTS_FILE": {"mongo-init"},
    "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": set(),  # for two workers on one machine
    "XINGLIN_API_SERVER": set(),
    "XINGLIN_BROKER_URL_FILE": set(),
    # Of the region on one machine, or the values themselves where the files above are not wanted.
    "MONGODB_URI": set(),
    "XINGLIN_KEY_PASSWORD": set(),
    "XINGLIN_NODE_MONGODB_URI": set(),
    "XINGLIN_*_PORT": set(),
}


def environment(name: str) -> dict[str, str]:
    """A service's environment."""
    return {key: str(value) for key, value in SERVICES[name].get("environment", {}).items()}


def secret_folders(name: str) -> list[str]:
    """Which folders of secrets a service sees."""
    return [one["source"] for one in SERVICES[name].get("secrets", ())]


def networks(name: str) -> set[str]:
    """The networks a service is in."""
    return set(SERVICES[name].get("networks", ()))


def state_mounts(name: str) -> dict[str, bool]:
    """Path below the state folder to whether the service may write there."""
    found = (STATE.match(one) for one in SERVICES[name].get("volumes", ()))
    return {one["path"]: not one["mode"] for one in found if one}


def strings(value: Any, at: str = "") -> Iterator[tuple[str, str]]:
    """Every text in a part of the file, with the key it stands under."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from strings(inner, str(key))
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner, at)
    elif value is not None:
        yield at, str(value)


def started(*command: str) -> dict[str, list[str]]:
    """The further arguments of every service that runs a command."""
    found = {name: one.get("command", []) for name, one in SERVICES.items()}
    return {name: words[len(command) :] for name, words in found.items() if words[: len(command)] == list(command)}


def workers() -> dict[str, list[str]]:
    """Queues by worker."""
    begun = started("python", "-m", "console.region.worker", "celery", "worker", "--queues")
    return {name: words[0].split(",") for name, words in begun.items()}


# --- institutions ------------------------------------------------------------------------------------------------


def test_every_institution_has_exactly_one_worker_on_its_own_queue() -> None:
    queues = sorted(queue for found in workers().values() for queue in found)
    assert queues == sorted(["default", *(f"node-{id_}" for id_ in INSTITUTIONS)])
    assert workers() == {f"worker-{queue.removeprefix('node-')}": [queue] for queue in queues}


@pytest.mark.parametrize("name", sorted(WORKING))
def test_an_institutions_process_sees_its_own_records_secrets_and_network_only(name: str) -> None:
    id_ = environment(name)["XINGLIN_NODE"]
    assert name == f"{name.partition('-')[0]}-{id_}"
    assert secret_folders(name) == [id_]
    assert state_mounts(name) == {"region": False, f"nodes/{id_}": True, f"sockets/{id_}": False}
    assert networks(name) - {"door"} == {f"node-{id_}"}
    assert SERVICES[name]["user"] == SERVICES[f"worker-{id_}"]["user"]
    assert "group_add" not in SERVICES[name]


@pytest.mark.parametrize("id_", sorted(INSTITUTIONS))
def test_an_institutions_node_alone_sees_its_signing_key(id_: str) -> None:
    name, worker = f"node-{id_}", SERVICES[f"worker-{id_}"]["user"].partition(":")[0]
    assert secret_folders(name) == [name]
    assert state_mounts(name) == {f"node-homes/{id_}": True, f"sockets/{id_}": True}
    assert networks(name) == {f"node-{id_}"}
    assert SERVICES[name]["group_add"] == [worker], "its worker reaches the socket"
    (words,) = (found for one, found in started("xinglin", "node", "run").items() if one == name)
    options = dict(zip(words[::2], words[1::2], strict=True))
    socket = environment(f"worker-{id_}")["XINGLIN_NODE_SOCKET"]
    assert options == {"--institution": id_, "--socket": socket, "--group": worker, "--worker": worker}
    assert not [one for one in SERVICES if one != name and f"node-homes/{id_}" in state_mounts(one)]


@pytest.mark.parametrize("id_", sorted(INSTITUTIONS))
def test_what_shows_a_chain_has_no_key_and_no_socket(id_: str) -> None:
    name = f"chain-{id_}"
    assert secret_folders(name) == [name]
    assert state_mounts(name) == {"region": False}
    assert networks(name) == {f"node-{id_}", "door"}
    assert SERVICES[name]["command"][:5] == ["xinglin", "node", "serve", "--institution", id_]
    assert not [key for key in environment(name) if re.search("PASSWORD|SOCKET", key)]


def test_the_page_of_the_chain_asks_every_institutions_own_service() -> None:
    port = {SERVICES[name]["command"][-1] for name in SHOWING}
    assert port == {"8470"}
    found = node_addresses(environment("api-server"))
    assert {one.institution: one.url for one in found} == {id_: f"http://chain-{id_}:8470" for id_ in INSTITUTIONS}


def test_no_other_service_sees_an_institutions_keys() -> None:
    for name in SERVICES.keys() - NODES:
        assert not (INSTITUTIONS | NODES) & set(secret_folders(name)), name
        assert not any(path.startswith(("nodes", "node-homes", "sockets")) for path in state_mounts(name)), name


def test_each_institution_has_users_of_its_own_that_the_image_names() -> None:
    users = {name: SERVICES[name]["user"] for name in SIGNING | SHOWING | {f"worker-{id_}" for id_ in INSTITUTIONS}}
    assert len(set(users.values())) == 3 * len(INSTITUTIONS)
    assert not set(users.values()) & {SERVICES[name]["user"] for name in SERVICES.keys() - NODES}
    first, last = re.findall(r"seq (\d+) (\d+)", (ROOT / "deploy" / "Dockerfile").read_text())[0]
    ours = {int(one["user"].split(":")[0]) for one in SERVICES.values() if one["image"].startswith("xinglin:")}
    assert all(int(first) <= user <= int(last) for user in ours)


def test_two_institutions_share_no_network_but_the_door() -> None:
    for one, other in combinations(sorted(NODES), 2):
        if one.partition("-")[2] != other.partition("-")[2]:
            assert networks(one) & networks(other) <= {"door"}
    assert COMPOSE["networks"]["door"]["driver_opts"]["com.docker.network.bridge.enable_icc"] == "false"


def test_no_institution_holds_what_signs_tokens_or_opens_airflows_database() -> None:
    for name in [*NODES, "worker-default"]:
        assert not [key for key in environment(name) if re.search("JWT|FERNET|SQL_ALCHEMY", key)], name
        assert not networks(name) & networks("postgres"), name


def test_the_worker_of_the_common_queue_holds_no_key_and_reaches_no_database() -> None:
    assert state_mounts("worker-default") == {"region": False}
    assert not networks("worker-default") & (networks("mongo-1") - {"default-queue"})
    assert not [key for key in environment("worker-default") if re.search("MONGO|PASSWORD", key)]


# --- the way in and the way out ------------------------------------------------------------------------------------


def test_every_source_that_sends_by_itself_has_a_listener_of_its_institution() -> None:
    listening = {source: name for name, ids in started("xinglin", "listen").items() for source in ids}
    pushed = {one.id: one for one in SOURCES if one.kind == "his.hl7v2_mllp"}
    assert set(listening) == set(pushed)
    for id_, source in pushed.items():
        name = listening[id_]
        assert environment(name)["XINGLIN_NODE"] == source.institution
        assert [port.rpartition(":")[2] for port in SERVICES[name]["ports"]] == [str(source.settings["port"])]


def test_every_drop_folder_is_mounted_read_only_where_the_source_looks() -> None:
    for source in (one for one in SOURCES if one.kind == "his.hl7v2_files"):
        target = f"/var/lib/xinglin/{source.settings['folder']}:ro"
        assert [one for one in SERVICES[f"worker-{source.institution}"]["volumes"] if one.endswith(target)]


def test_nothing_is_published_beyond_the_loopback() -> None:
    published = {name: port for name, one in SERVICES.items() for port in one.get("ports", ())}
    assert {"api-server", "mllp-hospital-east", "mllp-hospital-west"} | SHOWING == set(published)
    assert len({port.rpartition(":")[0] for port in published.values()}) == len(published)
    for name, port in published.items():
        assert re.match(r"^\$\{[A-Z_]+_ADDRESS:-127\.0\.0\.1\}:\$\{[A-Z_]+:-\d+\}:\d+$", port), name
    assert "0.0.0.0" not in TEXT.replace("--host, 0.0.0.0,", ""), "only a process inside listens at every address"
    assert not [name for name, one in SERVICES.items() if one.get("network_mode") == "host"]


def test_only_what_publishes_a_port_is_in_a_network_with_a_way_in() -> None:
    published = {name for name, one in SERVICES.items() if "ports" in one}
    inside = {name for name, one in COMPOSE["networks"].items() if (one or {}).get("internal")}
    assert set(COMPOSE["networks"]) - inside == {"door"}
    assert COMPOSE["networks"]["door"]["driver_opts"]["com.docker.network.bridge.enable_ip_masquerade"] == "false"
    assert {name for name in SERVICES if "door" in networks(name)} == published


def test_every_service_is_in_a_network_of_this_file() -> None:
    for name, one in SERVICES.items():
        assert networks(name) or one["network_mode"] == "service:mongo-1", name
        assert networks(name) <= set(COMPOSE["networks"]), name


# --- secrets -------------------------------------------------------------------------------------------------------


def test_no_secret_value_stands_in_the_file() -> None:
    secret = re.compile(r"PASSWORD|SECRET|KEY|TOKEN|URI|BROKER_URL|BACKEND|CONN|CREDENTIAL", re.IGNORECASE)
    for name in SERVICES:
        for key, value in environment(name).items():
            if secret.search(key):
                assert re.match(r"^(cat )?/(run/secrets/own|var/lib/xinglin)/[a-z.-]+$", value), f"{name}: {key}"
    assert not re.search(r"://[^/\s]*:[^/\s]*@", TEXT)
    bare = re.sub(r"#.*|AIRFLOW__\w+|/\S+", "", TEXT)
    assert not re.findall(r"(?=[A-Za-z]*[0-9])[A-Za-z0-9+/_=]{24,}", bare), "this looks like a key"


def test_every_variable_is_required_or_has_a_harmless_default() -> None:
    used = re.findall(r"\$\{([^}]+)\}", TEXT)
    assert all(re.match(r"^[A-Z_]+(:\?[a-z].{10,}|:-(127\.0\.0\.1|\d+))$", one) for one in used)
    names = {re.match("[A-Z_]+", one)[0] for one in used}  # type: ignore[index]
    example = (ROOT / "deploy" / "region.env.example").read_text(encoding="utf-8")
    assert set(re.findall(r"^([A-Z_]+)=", example, re.MULTILINE)) == names


def test_the_example_for_one_institution_names_what_its_worker_is_given() -> None:
    lines = (ROOT / "deploy" / "institution.env.example").read_text(encoding="utf-8").splitlines()
    example = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    here = environment("worker-hospital-east")
    assert example.keys() == here.keys()
    elsewhere = {"AIRFLOW__CORE__EXECUTION_API_SERVER_URL"}
    assert {key: example[key] for key in example.keys() - elsewhere} == {
        key: here[key] for key in here.keys() - elsewhere
    }


def test_prepare_makes_every_secret_and_file_that_a_service_names(tmp_path: Path) -> None:
    script = [sys.executable, str(ROOT / "deploy" / "prepare.py"), str(tmp_path)]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name, service in SERVICES.items():
        for folder in secret_folders(name):
            wanted = re.findall(r"/run/secrets/own/([a-z.-]+)", " ".join(text for _, text in strings(service)))
            if name.startswith("worker-"):
                wanted.append("broker-url")  # read by the health check
            assert wanted, name
            assert not [one for one in wanted if not (tmp_path / "secrets" / folder / one).is_file()], name
        for path in state_mounts(name):
            assert (tmp_path / path).is_dir(), f"{name}: {path}"
    assert (tmp_path / "region" / "pools.json").is_file()


# --- images, rights, order -------------------------------------------------------------------------------------------


def test_every_image_is_pinned_by_version() -> None:
    images = {one["image"] for one in SERVICES.values()}
    assert all(re.match(r"^[a-z/-]+:\d+\.\d+(\.\d+)?$", image) for image in images)
    bases = re.findall(r"^FROM (\S+)", (ROOT / "deploy" / "Dockerfile").read_text(), re.MULTILINE)
    assert bases and all(re.match(r"^python:3\.11\.\d+-slim-\w+$", base) for base in bases)
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert f"xinglin:{version}" in images


def test_the_image_has_the_providers_that_the_region_needs() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    installed = re.findall(r"--extra ([a-z-]+)", (ROOT / "deploy" / "Dockerfile").read_text())
    assert installed == ["region", "region-celery"]
    names = {re.split(r"[<>=\[]", one)[0] for extra in installed for one in extras[extra]}
    assert {"apache-airflow", "apache-airflow-providers-celery", "apache-airflow-providers-postgres"} <= names


def test_every_process_is_confined() -> None:
    for name, one in SERVICES.items():
        assert one["read_only"] is True, name
        assert one["cap_drop"] == ["ALL"] and "cap_add" not in one and not one.get("privileged"), name
        assert one["security_opt"] == ["no-new-privileges:true"], name
        assert int(one["user"].split(":")[0]) > 0, name
        assert set(one["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}, name
        assert "options" in one["logging"], name
        assert one["restart"] == ("no" if name in ONE_SHOT else "unless-stopped"), name
        assert ("healthcheck" in one) == (name not in ONE_SHOT), name
        assert not [mount for mount in one.get("volumes", ()) if "docker.sock" in mount], name


def test_services_start_in_an_order_that_exists() -> None:
    graph = {name: set(one.get("depends_on", ())) for name, one in SERVICES.items()}
    assert set().union(*graph.values()) <= set(SERVICES)
    list(TopologicalSorter(graph).static_order())  # raises CycleError
    for name, one in SERVICES.items():
        for needed, how in one.get("depends_on", {}).items():
            done = how["condition"] == "service_completed_successfully"
            assert done == (needed in ONE_SHOT), f"{name} waits for {needed}"


def test_the_accounts_are_made_on_the_members_that_run() -> None:
    members = sorted(name for name, one in SERVICES.items() if one["image"].startswith("mongo:"))
    command = SERVICES["mongo-init"]["command"]
    assert command[2:] == [f"{name}:27017" for name in members]
    assert len(members) == 3
    assert SERVICES["mongo-init"]["network_mode"] == f"service:{members[0]}"
    for name in members:
        assert "--replSet=xinglin" in SERVICES[name]["command"]
        assert "--keyFile=/run/secrets/own/keyfile" in SERVICES[name]["command"]


def test_every_file_of_the_image_that_a_service_names_exists() -> None:
    named = {text for one in SERVICES.values() for _, text in strings(one) if text.startswith("/opt/xinglin/")}
    assert named
    assert not [path for path in named if not (ROOT / path.removeprefix("/opt/xinglin/")).exists()]


# --- what our code and Airflow read ----------------------------------------------------------------------------------


def read_names() -> set[str]:
    """Environment variables that shipped code reads; a computed part stands as an asterisk."""
    found: set[str] = set()
    for folder in ("connectors", "console", "dags", "deploy", "normalise", "plugins", "quality", "schemas", "vault"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                found |= names_at(node)
    return found


def names_at(node: ast.AST) -> set[str]:
    """Names in ``os.environ[X]``, ``os.environ.get(X)``, ``os.getenv(X)`` and ``X in os.environ``."""
    match node:
        case ast.Call(func=ast.Attribute(value=target, attr="get" | "pop"), args=[name, *_]) if environ(target):
            return {spelt(name)}
        case ast.Call(func=ast.Attribute(value=ast.Name(id="os"), attr="getenv"), args=[name, *_]):
            return {spelt(name)}
        case ast.Subscript(value=target, slice=name, ctx=ast.Load()) if environ(target):
            return {spelt(name)}
        case ast.Compare(left=name, comparators=[target]) if environ(target):
            return {spelt(name)}
    return set()


def environ(node: ast.AST) -> bool:
    """Whether an expression is ``os.environ``."""
    return ast.unparse(node) == "os.environ"


def spelt(node: ast.AST) -> str:
    """A literal name, with ``*`` for what is computed."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    assert isinstance(node, ast.JoinedStr), f"an environment variable's name is computed: {ast.unparse(node)}"
    return "".join(str(part.value) if isinstance(part, ast.Constant) else "*" for part in node.values)


def test_every_variable_that_our_code_reads_is_set_for_who_needs_it() -> None:
    assert read_names() <= set(NEEDED), "enter new names in NEEDED, and in docker-compose.yaml for who needs them"
    for variable, needing in NEEDED.items():
        assert not [name for name in needing if variable not in environment(name)], variable


def test_no_variable_of_ours_is_set_that_nobody_reads() -> None:
    read = read_names() | {"XINGLIN_NODE", VARIABLE}  # of the image's entry point; handed to the page as a mapping
    ours = {key for name in SERVICES for key in environment(name) if key.startswith(("XINGLIN_", "MONGODB_"))}
    assert ours <= read
    assert "XINGLIN_NODE" in (ROOT / "deploy" / "entrypoint.sh").read_text(encoding="utf-8")


@pytest.mark.airflow
def test_airflow_knows_every_option_that_is_set() -> None:
    import airflow.providers.celery  # noqa: F401  (its options are part of the answer)
    from airflow.configuration import retrieve_configuration_description

    known = retrieve_configuration_description(include_providers=True)
    transport = {"sep"}  # handed on to kombu as it is
    for key in {key for name in SERVICES for key in environment(name) if key.startswith("AIRFLOW__")}:
        _, section, option = key.lower().split("__")
        options = set(known[section]["options"]) | (transport if section.endswith("transport_options") else set())
        sensitive = {one for one, about in known[section]["options"].items() if about.get("sensitive")}
        assert option in options or option.removesuffix("_cmd") in sensitive, key


def test_docker_compose_itself_reads_the_file() -> None:
    found = (one for one in (["docker", "compose"], ["docker-compose"]) if shutil.which(one[0]) and answers(one))
    command = next(found, None)
    if command is None:
        pytest.skip("no docker compose on PATH; the tests above parse the file themselves")
    variables = os.environ | {"XINGLIN_STATE": "/srv/xinglin", "LAB_CENTRE_INBOX": "/srv/lis"}
    arguments = [*command, "--file", str(ROOT / "docker-compose.yaml"), "config", "--quiet"]
    done = subprocess.run(arguments, env=variables, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def answers(command: list[str]) -> bool:
    """Whether this is Compose 2 or newer."""
    done = subprocess.run([*command, "version", "--short"], capture_output=True, text=True, check=False)
    return done.returncode == 0 and not done.stdout.startswith("1.")
