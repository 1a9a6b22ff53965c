"""Credit as a picture: every point in its place, labels that never cover one another, and no need of colours."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.page.answers import CreditEpoch
from ledger.page.picture import BOTTOM, LABEL, LEFT, RIGHT, STYLES, TOP, credit_picture, spread

NAMES = st.sampled_from([f"institution-{one}" for one in range(40)])
EPOCHS = st.lists(st.dictionaries(NAMES, st.integers(0, 1 << 40), min_size=1, max_size=40), min_size=1, max_size=6)


def epochs(*scores: dict[str, int], first: int = 0) -> list[CreditEpoch]:
    return [CreditEpoch(first + at, one) for at, one in enumerate(scores)]


def test_nothing_is_drawn_before_an_epoch_has_ended() -> None:
    assert credit_picture([]) is None and credit_picture(epochs({})) is None


def test_scores_stand_at_their_height_and_epochs_at_their_place() -> None:
    picture = credit_picture(epochs({"a": 0, "b": 1000}, {"a": 500, "b": 1000}, first=7))
    assert picture is not None
    a, b = picture.lines
    assert a.points == ((LEFT, BOTTOM, 0), (RIGHT, (TOP + BOTTOM) / 2, 500))
    assert b.points == ((LEFT, TOP, 1000), (RIGHT, TOP, 1000))
    assert picture.ticks == ((LEFT, 7), (RIGHT, 8))
    assert picture.levels[0] == (BOTTOM, 0) and picture.levels[-1] == (TOP, 1000)


def test_scores_close_together_fill_the_picture() -> None:
    picture = credit_picture(epochs({"a": 600, "b": 602}, {"a": 611, "b": 597}))
    assert picture is not None
    assert [level for _, level in picture.levels] == [595, 600, 605, 610, 615]
    assert picture.lines[0].points[1][1] < TOP + 0.3 * (BOTTOM - TOP)


def test_equal_scores_stand_in_the_middle() -> None:
    picture = credit_picture(epochs({"a": 600, "b": 600}))
    assert picture is not None and picture.lines[0].points[0][1] == (TOP + BOTTOM) / 2


def test_one_epoch_alone_stands_in_the_middle() -> None:
    picture = credit_picture(epochs({"a": 600}))
    assert picture is not None and picture.lines[0].points[0][0] == (LEFT + RIGHT) / 2


def test_who_joined_later_has_a_shorter_line() -> None:
    picture = credit_picture(epochs({"a": 600}, {"a": 610, "b": 600}, {"a": 620, "b": 590}))
    assert picture is not None and [len(one.points) for one in picture.lines] == [3, 2]


def test_lines_are_told_apart_without_colours() -> None:
    picture = credit_picture(epochs({f"h{one:02}": 600 for one in range(3 * STYLES)}))
    assert picture is not None
    assert len({(one.dash, one.mark, one.style) for one in picture.lines}) == 3 * STYLES
    assert len({(one.dash, one.mark) for one in picture.lines[:16]}) == 16


@settings(max_examples=80, derandomize=True, deadline=None)
@given(EPOCHS)
def test_whatever_nodes_say_stays_inside_the_picture(scores: list[dict[str, int]]) -> None:
    picture = credit_picture(epochs(*scores))
    assert picture is not None
    for line in picture.lines:
        assert all(LEFT <= x <= RIGHT and TOP <= y <= BOTTOM for x, y, _ in line.points)
        assert TOP <= line.label_y <= picture.height
    labels = sorted(one.label_y for one in picture.lines)
    assert all(below - above >= LABEL - 0.2 for above, below in pairwise(labels))


def test_labels_stay_where_they_want_to_be_where_there_is_room() -> None:
    assert spread({"a": 100.0, "b": 200.0}) == {"a": 100.0, "b": 200.0}
