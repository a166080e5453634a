import pytest
from hypothesis import given
from hypothesis import strategies as st

from emsearch.reports.charts import pareto
from emsearch.reports.figures import Chart, Point, Series, curves, scatter, short, span

values = st.floats(-1e6, 1e6).filter(lambda value: value == 0 or abs(value) > 1e-6)


def inside(chart: Chart, x: float, y: float) -> bool:
    slack = 1e-6 * chart.width
    return (
        chart.left - slack <= x <= chart.right + slack
        and chart.top - slack <= y <= chart.bottom + slack
    )


@given(scores=st.lists(values, min_size=1, max_size=20))
def test_a_curve_never_leaves_its_frame(scores: list[float]) -> None:
    points = tuple((10.0 * (n + 1), score) for n, score in enumerate(scores))
    chart = curves([Series(points=points, kind="random", title="t")], "label")
    for pair in chart.lines[0].points.split():
        x, y = map(float, pair.split(","))
        assert inside(chart, round(x), round(y))
    assert 2 <= len(chart.y_ticks) <= 8


@given(
    sizes=st.lists(st.floats(1, 1e12), min_size=1, max_size=20),
    score=st.floats(0, 1),
    margin=st.floats(0, 0.5),
)
def test_an_interval_never_leaves_its_frame(
    sizes: list[float], score: float, margin: float
) -> None:
    points = [Point(x=x, y=score, low=score - margin, high=score + margin) for x in sizes]
    chart = scatter(points, "x", "y", "label")
    for mark in chart.marks:
        assert inside(chart, mark.x, mark.low)
        assert inside(chart, mark.x, mark.high)
    for tick in chart.x_ticks:
        assert chart.left <= tick.at <= chart.right


def test_a_higher_score_is_drawn_higher_and_a_larger_tree_further_right() -> None:
    low, high = scatter([Point(x=10, y=0.2), Point(x=1000, y=0.6)], "x", "y", "label").marks
    assert low.y > high.y
    assert low.x < high.x


def test_ticks_stand_at_round_values() -> None:
    series = Series(points=((100, 0.41), (400, 0.74)), kind="random", title="")
    chart = curves([series], "label")
    assert [tick.text for tick in chart.y_ticks] == ["0.4", "0.5", "0.6", "0.7", "0.8"]
    assert [tick.text for tick in chart.x_ticks] == ["0", "100", "200", "300", "400"]


def test_a_span_is_in_parts_of_a_hundred() -> None:
    drawn = span(0.4, 0.5, 0.6, within=(0.2, 0.6))
    assert (drawn.low, drawn.middle, drawn.high) == pytest.approx((50, 75, 100))


@pytest.mark.parametrize(
    ("value", "text"), [(850, "850"), (1234, "1.23 k"), (1_136_693, "1.14 M"), (2e9, "2 G")]
)
def test_large_numbers_are_short(value: float, text: str) -> None:
    assert short(value) == text


def test_the_front_joins_points_that_no_smaller_one_outscores() -> None:
    points = [Point(x=x, y=y) for x, y in ((10, 0.3), (20, 0.2), (30, 0.5), (30, 0.6), (40, 0.6))]
    assert pareto(points) == ((10, 0.3), (30, 0.6))
    chart = scatter(points, "x", "y", "label", front=pareto(points))
    places = [place.split(",") for place in chart.front.split(" ")]
    assert len(places) == 4
    assert places[0][1] == places[1][1]
    assert places[1][0] == places[2][0]
    assert not scatter(points, "x", "y", "label").front
