"""Nursing-home devices that publish vital signs over MQTT, and residents whose phones and watches drop files.

The residents are the region's people, known by their resident identity numbers. The same seed and day give the same
bytes.
"""

from __future__ import annotations

import io
import json
import os
import random
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from threading import Thread
from typing import Any, Final

from simulators.broker import Broker
from simulators.fit_file import activity
from simulators.people import patient
from simulators.sent import Sent

#: Residents of a home, and the first of the region's people among them.
RESIDENTS: Final = 40
FIRST_RESIDENT: Final = 200
FIRST_DAY: Final = datetime.fromisoformat("2026-01-05T06:00:00+08:00")
#: One message in so many is published twice at once: its device has missed the acknowledgement.
_TWICE_EVERY: Final = 12
#: Of yesterday's messages, one in so many is published again.
_AGAIN_EVERY: Final = 10
_PUBLISH_SECONDS: Final = 60.0

Progress = Callable[[], None]
Message = tuple[str, bytes]


@dataclass(frozen=True, slots=True)
class NursingHome:
    """One home.

    Attributes:
        seed: The region's seed.
        name: What its topics begin with.
        record_bytes: The listener's size limit, to go beyond.
    """

    seed: int
    name: str = "sunset"
    record_bytes: int = 4_194_304

    @property
    def topic_filter(self) -> str:
        """What to subscribe to."""
        return f"{self.name}/+/vitals"

    def plan(self, messages: int, day: int = 0) -> list[Message]:
        """Return the right messages of a day, as topics and payloads."""
        chance = random.Random(f"home {self.seed} {self.name} {day}")
        plan = []
        for number in range(messages):
            room = chance.randrange(RESIDENTS)
            at = FIRST_DAY + timedelta(days=day, seconds=number * 30)
            point = _point(chance, self._device(room), f"{self.name}-{day}-{number}", at, self._user(room))
            plan.append((f"{self.name}/room{room:02d}/vitals", json.dumps(point, ensure_ascii=False).encode()))
        return plan

    def troubles(self, day: int = 0) -> Iterator[tuple[Message, str, bool]]:
        """Yield bad messages, the reason each must be set aside or refused for, and whether that is at the door."""
        chance = random.Random(f"trouble {self.seed} {self.name} {day}")
        topic = f"{self.name}/room00/vitals"
        at = FIRST_DAY + timedelta(days=day, hours=23)

        def point(name: str, user: str = self._user(0), **body: Any) -> bytes:
            made = _header(self._device(0), f"{self.name}-{day}-{name}", at, user, "heart-rate", "2.0")
            frame = {"effective_time_frame": {"date_time": at.isoformat()}}
            return json.dumps({"header": made, "body": {**frame, **body}}, ensure_ascii=False).encode()

        right = {"value": chance.randrange(55, 90), "unit": "beats/min"}
        yield (topic, b"\x00\x01low battery %d" % day), "not_json", False
        yield (
            (topic, point("gbk", heart_rate=right, user_notes="护士测量").decode().encode("gb18030")),
            "charset",
            False,
        )
        yield (topic, point("unit", heart_rate={"value": 70, "unit": "bpm"})), "bad_value", False
        yield (topic, point("empty")), "required", False
        yield (topic, point("nobody", user="", heart_rate=right)), "quality:record-is-attributed", False
        high = {"value": 720, "unit": "beats/min"}
        yield (topic, point("high", heart_rate=high)), "quality:value-plausible-most", False
        yield (topic, point("large", heart_rate=right, user_notes="x" * self.record_bytes)), "oversize", True

    def publish(
        self,
        host: str,
        port: int,
        messages: int,
        trouble: bool = True,
        day: int = 0,
        username: str | None = None,
        password: str | None = None,
        progress: Progress = lambda: None,
    ) -> Sent:
        """Return what was published once the broker has acknowledged all of it.

        Args:
            host: The broker's address.
            port: Its port.
            messages: Right messages of the day.
            trouble: Whether bad messages are mixed in.
            day: Which day, from 0; from the second on a part of the day before is published again.
            username: At the broker.
            password: At the broker.
            progress: Called after each message is handed to the network.

        Raises:
            TimeoutError: The broker did not acknowledge everything in time.
        """
        sent, out = Sent(), []
        for number, message in enumerate(self.plan(messages, day)):
            times = 2 if number % _TWICE_EVERY == _TWICE_EVERY - 1 else 1
            out += [message] * times
            sent += Sent(sealed=1, repeats=times - 1)
        if day:
            again = self.plan(messages, day - 1)[::_AGAIN_EVERY]
            out += again
            sent.repeats += len(again)
        for bad, reason, at_the_door in self.troubles(day) if trouble else ():
            out.insert(len(out) // 2, bad)
            (sent.refused if at_the_door else sent.set_aside)[reason] += 1
        _deliver(host, port, out, username, password, progress)
        sent.answers["PUBACK"] = len(out)
        return sent

    def _user(self, room: int) -> str:
        return patient(self.seed, FIRST_RESIDENT + room).identity

    def _device(self, room: int) -> dict[str, str]:
        return {
            "manufacturer": "杏林模拟", "model": "XL-100",
            "serial_number": f"{self.name}-{room:04d}", "firmware": "1.4",
        }  # fmt: skip


def _deliver(
    host: str, port: int, out: list[Message], username: str | None, password: str | None, progress: Progress
) -> None:
    import paho.mqtt.client as paho
    from paho.mqtt.enums import CallbackAPIVersion

    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv311)
    client.max_queued_messages_set(0)
    client.max_inflight_messages_set(100)
    if username is not None:
        client.username_pw_set(username, password)
    client.reconnect_delay_set(1, 5)
    client.connect(host, port)
    client.loop_start()
    try:
        sent = []
        for topic, payload in out:
            sent.append(client.publish(topic, payload, qos=1))
            progress()
        for one in sent:
            one.wait_for_publish(_PUBLISH_SECONDS)
            if not one.is_published():
                raise TimeoutError("the broker does not acknowledge what is published; see that it runs")
    finally:
        client.disconnect()
        client.loop_stop()


def _header(device: Mapping[str, str], id_: str, at: datetime, user: str, name: str, version: str) -> dict[str, Any]:
    return {
        "id": id_,
        "creation_date_time": (at + timedelta(seconds=5)).isoformat(),
        "schema_id": {"namespace": "omh", "name": name, "version": version},
        "acquisition_provenance": {"source_name": "bedside", "modality": "sensed", "device": dict(device)},
        **({"user_id": user} if user else {}),
    }


def _point(chance: random.Random, device: Mapping[str, str], id_: str, at: datetime, user: str) -> dict[str, Any]:
    """Return a data point of one of the measures that a bedside device takes."""
    name, version, body = chance.choice(_MEASURES)(chance)
    if name in ("step-count", "total-sleep-time"):
        begin = at - timedelta(hours=8)
        frame: dict[str, Any] = {
            "time_interval": {"start_date_time": begin.isoformat(), "end_date_time": at.isoformat()}
        }
    else:
        frame = {"date_time": at.isoformat()}
    header = _header(device, id_, at, user, name, version)
    return {"header": header, "body": {**body, "effective_time_frame": frame}}


def _one(
    element: str, low: float, high: float, unit: str, digits: int = 0
) -> Callable[[random.Random], dict[str, Any]]:
    def make(chance: random.Random) -> dict[str, Any]:
        value = round(chance.uniform(low, high), digits)
        return {element: {"value": value if digits else int(value), "unit": unit}}

    return make


def _measure(name: str, version: str, *parts: Callable[[random.Random], dict[str, Any]]) -> Any:
    def make(chance: random.Random) -> tuple[str, str, dict[str, Any]]:
        body: dict[str, Any] = {}
        for part in parts:
            body |= part(chance)
        return name, version, body

    return make


_MEASURES: Final = (
    _measure("heart-rate", "2.0", _one("heart_rate", 52, 110, "beats/min")),
    _measure(
        "blood-pressure", "4.0",
        _one("systolic_blood_pressure", 105, 165, "mmHg"), _one("diastolic_blood_pressure", 58, 95, "mmHg"),
    ),
    _measure("oxygen-saturation", "2.0", _one("oxygen_saturation", 91, 100, "%")),
    _measure("body-temperature", "4.0", _one("body_temperature", 35.9, 38.2, "C", 1)),
    _measure("respiratory-rate", "2.0", _one("respiratory_rate", 11, 24, "breaths/min")),
    _measure("body-weight", "2.0", _one("body_weight", 42, 88, "kg", 1)),
    _measure("blood-glucose", "3.0", _one("blood_glucose", 4.2, 11.5, "mmol/L", 1)),
    _measure("step-count", "3.0", _one("step_count", 0, 2600, "steps")),
    _measure("total-sleep-time", "1.0", _one("total_sleep_time", 240, 540, "min")),
)  # fmt: skip

#: Records that a day of an Apple Health export becomes: one for each kind of sample.
_KINDS_A_DAY: Final = 5


@dataclass(frozen=True, slots=True)
class Phones:
    """Residents whose phones and watches drop files, each into a folder named by the resident's number.

    Attributes:
        seed: The region's seed.
    """

    seed: int

    def drop(self, folder: Path, residents: int = 3, trouble: bool = True, day: int = 0) -> Sent:
        """Return what was dropped once every file stands in its folder under its name.

        Each resident's phone exports everything since the first day; what it exported the day before comes again. A
        watch's activity and two data points come beside it. Trouble adds an export cut off, a FIT file that lost its
        end, and JSON that is none.

        Args:
            folder: Made where it is not there.
            residents: How many.
            trouble: Whether bad files are dropped as well.
            day: Which day, from 0.
        """
        sent = Sent()
        for number in range(residents):
            own = folder / patient(self.seed, FIRST_RESIDENT + number).identity
            own.mkdir(parents=True, exist_ok=True)
            _write(own / f"export{day:04d}.zip", self.export(number, day))
            _write(own / f"walk{day:04d}.fit", self.walk(number, day))
            _write(own / f"points{day:04d}.ndjson", self.points(number, day))
            sent += Sent(sealed=_KINDS_A_DAY + 3, repeats=_KINDS_A_DAY * day, files=3)
        if trouble:
            own = folder / patient(self.seed, FIRST_RESIDENT).identity
            _write(own / f"cut{day:04d}.zip", self.export(0, day)[:-30])
            _write(own / f"cut{day:04d}.fit", self.walk(1, day)[:-5])
            _write(own / f"broken{day:04d}.json", b'{"header": {"id": "%d"' % day)
            sent += Sent(set_aside=Counter({"truncated": 2, "not_json": 1}), files=3)
        return sent

    def export(self, number: int, day: int = 0) -> bytes:
        """Return an export.zip of a Chinese phone: everything since the first day."""
        lines = [line for past in range(day + 1) for line in _samples(self.seed, number, past)]
        made = FIRST_DAY + timedelta(days=day + 1)
        text = (
            '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE HealthData [\n<!ELEMENT HealthData ANY>\n]>\n'
            f'<HealthData locale="zh_CN">\n <ExportDate value="{_stamp(made)}"/>\n <Me/>\n'
            + "\n".join(lines)
            + "\n</HealthData>\n"
        )
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            entry = zipfile.ZipInfo("apple_health_export/导出.xml", (2026, 1, 1, 0, 0, 0))
            archive.writestr(entry, text.encode(), zipfile.ZIP_DEFLATED)
        return out.getvalue()

    def walk(self, number: int, day: int = 0) -> bytes:
        """Return a FIT file of a walk of five minutes."""
        chance = random.Random(f"walk {self.seed} {number} {day}")
        rates = [min(150, 80 + at // 6 + chance.randrange(6)) for at in range(300)]
        return activity(3_900_000_000 + number, FIRST_DAY + timedelta(days=day, hours=11), rates)

    def points(self, number: int, day: int = 0) -> bytes:
        """Return two data points, a line each, that name nobody."""
        chance = random.Random(f"points {self.seed} {number} {day}")
        device = {"manufacturer": "杏林模拟", "model": "XL-W", "serial_number": f"watch-{number:04d}"}
        points = []
        for at, make in enumerate(_MEASURES[:2]):
            name, version, body = make(chance)
            when = FIRST_DAY + timedelta(days=day, hours=12 + at)
            header = _header(device, f"w-{number}-{day}-{at}", when, "", name, version)
            frame = {"effective_time_frame": {"date_time": when.isoformat()}}
            points.append(json.dumps({"header": header, "body": {**body, **frame}}, ensure_ascii=False))
        return ("\n".join(points) + "\n").encode()


def _write(path: Path, content: bytes) -> None:
    part = path.with_suffix(".part")
    part.write_bytes(content)
    part.rename(path)


def _stamp(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S} +0800"


def _samples(seed: int, number: int, day: int) -> Iterator[str]:
    """Yield a day's samples: phone and watch count the same steps at noon."""
    chance = random.Random(f"export {seed} {number} {day}")
    phone, watch = "手机", "手表\u00a0Watch"
    begin = FIRST_DAY + timedelta(days=day, hours=1)
    for hour in range(10):
        at = begin + timedelta(hours=hour)
        end = at + timedelta(minutes=10)
        steps = chance.randrange(40, 900)
        yield _record("HKQuantityTypeIdentifierStepCount", phone, "count", at, end, steps)
        if hour in (4, 5):
            yield _record("HKQuantityTypeIdentifierStepCount", watch, "count", at, end, steps + 3)
        rate = chance.randrange(58, 105)
        yield _record("HKQuantityTypeIdentifierHeartRate", watch, "count/min", at, at, rate)
    yield _record("HKQuantityTypeIdentifierOxygenSaturation", watch, "%", begin, begin, chance.randrange(93, 100) / 100)
    night = begin - timedelta(hours=6)
    yield _record(
        "HKCategoryTypeIdentifierSleepAnalysis", watch, "", night, begin, "HKCategoryValueSleepAnalysisAsleepCore"
    )
    parts = "".join(
        _record(f"HKQuantityTypeIdentifierBloodPressure{name}", "血压计", "mmHg", begin, begin, value)
        for name, value in (("Systolic", chance.randrange(108, 150)), ("Diastolic", chance.randrange(60, 92)))
    )
    stamp = _stamp(begin)
    yield (
        f' <Correlation type="HKCorrelationTypeIdentifierBloodPressure" sourceName="血压计" creationDate="{stamp}" '
        f'startDate="{stamp}" endDate="{stamp}">{parts}</Correlation>'
    )


def _record(type_: str, source: str, unit: str, start: datetime, end: datetime, value: Any) -> str:
    with_unit = f' unit="{unit}"' if unit else ""
    return (
        f' <Record type="{type_}" sourceName="{source}"{with_unit} creationDate="{_stamp(end)}" '
        f'startDate="{_stamp(start)}" endDate="{_stamp(end)}" value="{value}"/>'
    )


@contextmanager
def onboarding(home: Path) -> Iterator[dict[str, str]]:
    """Yield what the pages of docs/onboarding call a nursing home's broker and the folder of its residents' phones.

    ``MQTT_PORT``, ``MQTT_USER``, ``MQTT_PASSWORD``: a broker to which devices publish as soon as somebody subscribes.
    ``PHONES_FOLDER``: where phones and watches dropped a day's files.
    """
    folder = home / "hospital" / "phones"
    Phones(20261101).drop(folder, trouble=False)
    for number, path in enumerate(sorted(one for one in folder.rglob("*") if one.is_file())):
        os.utime(path, (1_790_000_000 + number, 1_790_000_000 + number))  # as if since yesterday
    with Broker(users={"xinglin": "sunset"}) as broker:
        Thread(target=_patiently, args=(broker,), daemon=True).start()
        yield {
            "MQTT_PORT": str(broker.port), "MQTT_USER": "xinglin", "MQTT_PASSWORD": "sunset",
            "PHONES_FOLDER": str(folder),
        }  # fmt: skip


def _patiently(broker: Broker) -> None:
    """The home's devices publish once a subscriber's session is there: what nobody has subscribed to is lost."""
    if broker.await_subscriber("xinglin-pilot-home", 120.0):
        home = NursingHome(20261101)
        home.publish("127.0.0.1", broker.port, 40, trouble=False, username="xinglin", password="sunset")  # noqa: S106
