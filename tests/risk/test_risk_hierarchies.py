"""Labels become coarser step by step, and never finer; what nobody can place becomes a star."""

from __future__ import annotations

import pyarrow as pa  # noqa: TID253  (Airflow loads no tests)
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sharing.risk.hierarchies import HIERARCHIES, STAR
from sharing.risk.ladder import climb
from sharing.risk.values import Values, text_of

PATHS = {
    "age": [
        ["63", "60-64", "60-69", "60-79", "60+", STAR],
        ["0", "0-4", "0-9", "0-19", "under 60", STAR],
        ["63.5", "60-64", "60-69", "60-79", "60+", STAR],
        ["89", "85-89", "80-89", "80+", "60+", STAR],
        ["90+", "90+", "90+", "80+", "60+", STAR],
        ["104", "90+", "90+", "80+", "60+", STAR],
        ["50-65", "50-65", "50-65", "50-65", STAR, STAR],
        ["unknown", STAR, STAR, STAR, STAR, STAR],
    ],
    "date": [
        ["2026-11-20T08:30:00+08:00", "2026-11-20", "2026-11", "2026-Q4", "2026", "2025-2029", "2020s", STAR],
        ["2026-02", "2026-02", "2026-02", "2026-Q1", "2026", "2025-2029", "2020s", STAR],
        ["1958", "1958", "1958", "1958", "1958", "1955-1959", "1950s", STAR],
        ["2026-13-01", STAR, STAR, STAR, STAR, STAR, STAR, STAR],
        ["1940-1944", "1940-1944", "1940-1944", "1940-1944", "1940-1944", "1940-1944", "1940s", STAR],
        ["soon", STAR, STAR, STAR, STAR, STAR, STAR, STAR],
    ],
    "place": [
        ["310115001002", "310115", "3101", "31", STAR],
        ["320000", "320000", "3200", "32", STAR],
        ["江苏省南京市鼓楼区中山路1号", "江苏省南京市鼓楼区", "江苏省南京市", "江苏省", STAR],
        ["江苏省苏州市昆山市", "江苏省苏州市昆山市", "江苏省苏州市", "江苏省", STAR],
        ["上海市浦东新区张江镇", "上海市浦东新区", "上海市", "上海市", STAR],
        ["北京市北京市示范区", "北京市示范区", "北京市", "北京市", STAR],
        ["北京市市辖区东城区", "北京市东城区", "北京市", "北京市", STAR],
        ["新疆维吾尔自治区乌鲁木齐市示范区", "新疆维吾尔自治区乌鲁木齐市示范区", "新疆维吾尔自治区乌鲁木齐市",
         "新疆维吾尔自治区", STAR],
        ["内蒙古自治区锡林郭勒盟二连浩特市", "内蒙古自治区锡林郭勒盟二连浩特市", "内蒙古自治区锡林郭勒盟",
         "内蒙古自治区", STAR],
        ["湖北省恩施土家族苗族自治州恩施市", "湖北省恩施土家族苗族自治州恩施市", "湖北省恩施土家族苗族自治州",
         "湖北省", STAR],
        ["云南省昆明市石林彝族自治县", "云南省昆明市石林彝族自治县", "云南省昆明市", "云南省", STAR],
        ["the house by the river", STAR, STAR, STAR, STAR],
    ],
    "code": [
        ["E11.900x001", "E11.9", "E11", "E", STAR],
        ["I10", "I10", "I10", "I", STAR],
        ["A10BA02", "A10BA", "A10", "A", STAR],
        ["M80.0/1", "M80.0", "M80", "M", STAR],
        ["38.93", "38", "38", "38", STAR],
        ["200120", "2001", "200", "20", STAR],
        ["44054006", "44054006", STAR, STAR, STAR],
        ["718-7", "718-7", STAR, STAR, STAR],
        ["a sentence about somebody", STAR, STAR, STAR, STAR],
    ],
    "": [["male", STAR]],
}  # fmt: skip


@pytest.mark.parametrize(("hierarchy", "path"), [(name, path) for name, paths in PATHS.items() for path in paths])
def test_a_value_goes_up_as_documented(hierarchy: str, path: list[str]) -> None:
    walked = path[:1]
    for level in HIERARCHIES[hierarchy]:
        walked.append(level.step(walked[-1]))
    assert walked == path


TEXTS = {
    "age": st.one_of(st.integers(0, 130).map(str), st.from_regex(r"[0-9]{1,3}(-[0-9]{1,3}|\+)?", fullmatch=True)),
    "date": st.one_of(st.dates().map(str), st.datetimes().map(lambda one: one.isoformat()), st.text(max_size=9)),
    "place": st.text("江苏省南京市区县州盟旗自治上海浦东新北12345 ", max_size=18),
    "code": st.one_of(st.from_regex(r"[A-Z][0-9]{2}(\.[0-9x]{1,6})?", fullmatch=True), st.text(max_size=9)),
    "": st.text(max_size=9),
}


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    st.sampled_from(sorted(TEXTS)).flatmap(lambda name: st.tuples(st.just(name), st.lists(TEXTS[name], max_size=30)))
)
def test_what_is_alike_at_one_level_is_alike_at_every_level_above(case: tuple[str, list[str]]) -> None:
    hierarchy, texts = case
    values = Values("a", hierarchy)
    values.encode(pa.array([*texts, None], pa.string()))
    ladder = climb(values, HIERARCHIES[hierarchy])
    assert ladder.rungs[0].labels == (None, *sorted(set(texts)))
    assert len(ladder.rungs[-1].labels) == 1
    for low, high in zip(ladder.rungs, ladder.rungs[1:], strict=False):
        assert len(high.labels) < len(low.labels)
        assert len(high.up) == len(low.labels)
        # Every value is under exactly one label, so what all labels stand for are all values.
        assert sum(high.lost + 1) == sum(low.lost + 1) == ladder.values
    assert set(ladder.lift(0, ladder.top)) == {0}


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from(["2026-01-05", "2026-02", "1958", None, "x"]), max_size=12), st.randoms())
def test_codes_do_not_depend_on_the_order_of_arrival(texts: list[str | None], shuffler: object) -> None:
    def labels(some: list[str | None]) -> list[tuple[str | None, ...]]:
        values = Values("a", "date")
        values.encode(pa.array(some, pa.string()))
        return [rung.labels for rung in climb(values, HIERARCHIES["date"]).rungs]

    assert labels(texts) == labels(list(reversed(texts)))


@pytest.mark.parametrize(
    "array",
    [
        pa.array([3, 1, None, 3], pa.int64()),
        pa.array([3.5, float("nan"), None, 1.0]),
        pa.array(["b", "a", None]),
        pa.array([True, None, False]),
        pa.array([[1, 2], [1], None, [1, 2]]),
        pa.array([{"a": 1}, None]),
        pa.array(["b", "a", None]).dictionary_encode(),
        pa.array([None, None], pa.null()),
        pa.array([0, 1, None], pa.date32()),
        pa.array([0, 1, None], pa.timestamp("ms", "UTC")),
        pa.array([b"a", None]),
        pa.array([1, None], pa.decimal128(5, 2)),
        pa.array([], pa.string()),
    ],
    ids=lambda array: str(array.type),
)
def test_values_of_every_type_are_numbered(array: pa.Array) -> None:
    values = Values("a", "")
    numbers = values.encode(array)
    assert [values.texts[number] for number in numbers] == [text_of(one) for one in array.to_pylist()]
    assert (values.encode(array, closed=True) == numbers).all()
    assert sorted(values.ranks()) == list(range(len(values)))
