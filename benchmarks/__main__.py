"""Every benchmark, one after the other, each as the script it is, in its own process and bounded in time.

    python -m benchmarks [NAME…] [--quick] [--results FOLDER]

Prints what each prints and leaves bench-results/NAME.json. The exit code is 1 where one failed or ran out of time; one
that cannot run here (no corpora) is skipped and says so. A script's own options stand in its --help.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # the scripts find one another so when each is run by itself

from report import SKIPPED, options  # noqa: E402

#: Seconds each may take, some three times what it takes on two idle cores.
LIMITS = {
    "convert_speed": 90,
    "kinds_speed": 240,
    "cda_speed": 120,
    "convert_corpora": 180,
    "wearables_corpora": 60,
    "dicom_corpora": 90,
    "sql_corpora": 120,
    "fhir_corpora": 120,
    "hl7v2_facts": 60,
    "cda_facts": 60,
    "ledger_speed": 400,
    "ledger_growth": 2_400,
    "region_interval": 900,
    "flow_speed": 290,
    "projection": 600,
    "scrubbing": 60,
    "sharing_speed": 900,
    "deidentify": 60,
}
#: Seconds a script has to stop what it started, once its time is over.
STOP_SECONDS = 30


def run(name: str, arguments: list[str]) -> int:
    """Run one benchmark and return its exit code; 124 where its time was over."""
    print(f"\n== {name}", flush=True)
    begun = time.monotonic()
    script = subprocess.Popen([sys.executable, str(HERE / f"{name}.py"), *arguments])
    try:
        code = script.wait(LIMITS[name])
    except subprocess.TimeoutExpired:
        print(f"{name}: not done after {LIMITS[name]} s; stopped", file=sys.stderr)
        code = 124
    finally:
        end(script)
    print(f"-- {name}: {time.monotonic() - begun:.0f} s", flush=True)
    return code


def end(script: subprocess.Popen[bytes]) -> None:
    """The script has ended: by itself, else told to (it stops its mongod then), else by force."""
    if script.poll() is None:
        script.terminate()
        try:
            script.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            script.kill()
            script.wait()


def main() -> None:
    """Run the benchmarks asked for."""
    parser = options(__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of: {', '.join(LIMITS)}; all without it")
    chosen = parser.parse_args()
    if unknown := sorted(set(chosen.names) - set(LIMITS)):
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(LIMITS)}")
    arguments = ["--results", str(chosen.results), *(["--quick"] if chosen.quick else [])]
    codes = {name: run(name, arguments) for name in chosen.names or LIMITS}
    if failed := [name for name, code in codes.items() if code not in (0, SKIPPED)]:
        raise SystemExit(f"failed: {', '.join(failed)}")
    print(f"\nfigures: {chosen.results}")


if __name__ == "__main__":
    main()
