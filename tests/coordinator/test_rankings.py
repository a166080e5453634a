from dataclasses import asdict
from random import Random

import pytest
from sqlalchemy import URL, event, select

from emsearch.coordinator.rankings import RankingKeeper, Sample, rank_changed, refresh_rankings
from emsearch.ledger import changes, intake, jobs, leaders, queries, ranks
from emsearch.ledger.leaders import Sorting, Wanted
from emsearch.ledger.store import Lease, Ledger, open_ledger
from emsearch.ledger.tables import CandidateRow
from emsearch.records.candidate import Candidate, Origin, Recipe
from emsearch.records.event import AttemptName, Event, EventKind
from emsearch.records.score import Score, Split
from emsearch.records.trial import Cause, TrialState
from emsearch.trees.node import Node, Tree

RUNGS = (10, 40)
ARITHMETIC = {"parameters": 10, "flops": 10, "memory_gb": 0.1, "step_s": 0.5}


class AFewCandidates:
    """A ledger whose candidates are given results one by one."""

    def __init__(self, database: URL, count: int = 6) -> None:
        self.ledger: Ledger = open_ledger(database, create=True)
        spec = {"dataset": {"classes": ["a", "b"]}}
        row = {"name": "s", "seed": 1, "spec": spec, "version": "0", "stage": "searching"}
        self.lease: Lease = self.ledger.acquire(self.ledger.create_study(row))
        self.said = 0
        self.sample: Sample = {}
        with self.ledger.writing(self.lease) as connection:
            for number in range(count):
                tree = Tree("encoder_decoder_2d", Node("convolution", deltas=(("width", number),)))
                candidate = Candidate(
                    number=number, tree=tree, recipe=Recipe(), origin=Origin.RANDOM
                )
                fresh = changes.NewCandidate(
                    candidate=candidate,
                    digest=candidate.tree.digest(),
                    recipe_digest=candidate.recipe.digest(),
                    arithmetic=ARITHMETIC,
                )
                [added] = changes.add_candidates(connection, 1, [fresh])
                trials = [
                    changes.NewTrial(
                        candidate_id=added, repeat=repeat, seed=1, until_step=40, expected_s=1.0
                    )
                    for repeat in range(2)
                ]
                changes.add_trials(connection, 1, trials)
            jobs.begin_job(connection, 1, "j", [range(1, 2 * count + 1)], 0.0)

    def score(self, candidate: int, repeat: int, step: int, mean: float) -> None:
        trial = 2 * candidate + repeat + 1
        score = Score(
            split=Split.VALIDATION,
            iou_K=(mean, None if candidate == 0 else mean / 2),
            mean_iou=mean,
            mean_iou_foreground=mean / 2,
            accuracy=0.9,
            voxels=7,
        )
        name = AttemptName(token="j", index=0, order=trial, restart=0)
        facts = {"step": step, "score": asdict(score), "train_s": 1.0}
        self.said += 1
        said = Event(
            attempt=name, number=self.said, kind=EventKind.EVALUATED, at_s=self.said, facts=facts
        )
        with self.ledger.writing(self.lease) as connection:
            intake.take_in(connection, 1, [said])

    def places(self, measure: str = "mean_iou") -> list[tuple[int, int, int, float | None]]:
        with self.ledger.reading() as connection:
            rows = leaders.ranked(connection, 1, measure=measure)
        return [(row.rank, row.candidate, row.step, row.score) for row in rows]


@pytest.fixture
def few(database: URL) -> AFewCandidates:
    return AFewCandidates(database)


def refresh(few: AFewCandidates, *, whole: bool) -> None:
    with few.ledger.writing(few.lease) as connection:
        if whole:
            few.sample = refresh_rankings(connection, 1, RUNGS)
        else:
            rank_changed(connection, 1, RUNGS, few.sample)


def fill(few: AFewCandidates, step: int = 10) -> None:
    random = Random(3)
    for candidate in range(6):
        for repeat in range(2):
            few.score(
                candidate, repeat, step, round(0.3 + 0.1 * candidate + random.random() / 20, 3)
            )


def test_candidates_without_a_result_stand_last_by_number(few: AFewCandidates) -> None:
    few.score(4, 0, 10, 0.5)
    refresh(few, whole=True)
    assert [place[:3] for place in few.places()] == [
        (1, 4, 10),
        *((2 + place, number, 0) for place, number in enumerate((0, 1, 2, 3, 5))),
    ]


def test_who_came_further_stands_before_who_scored_more(few: AFewCandidates) -> None:
    fill(few)
    few.score(0, 0, 40, 0.31)
    refresh(few, whole=True)
    assert [place[1] for place in few.places()] == [0, 5, 4, 3, 2, 1]


def test_a_result_at_no_rung_changes_nothing(few: AFewCandidates) -> None:
    fill(few)
    refresh(few, whole=True)
    before = few.places()
    few.score(0, 0, 25, 0.99)
    refresh(few, whole=True)
    assert few.places() == before


def test_news_of_one_candidate_changes_its_own_rows_alone(few: AFewCandidates) -> None:
    fill(few)
    refresh(few, whole=True)
    before = {place[1]: place[3] for place in few.places()}
    few.score(1, 0, 10, 0.99)  # said before: stays as it was
    few.score(3, 0, 40, 0.99)
    refresh(few, whole=False)
    after = few.places()
    assert after[0][:3] == (1, 3, 40)
    assert {place[1]: place[3] for place in after[1:]} == {
        number: before[number] for number in (0, 1, 2, 4, 5)
    }


def test_news_is_ranked_as_all_together_would_rank_it_where_all_are_few(
    few: AFewCandidates,
) -> None:
    fill(few)
    refresh(few, whole=True)
    few.score(3, 0, 40, 0.8)
    few.score(2, 0, 40, 0.7)
    refresh(few, whole=False)
    soon = few.places()[:2]
    refresh(few, whole=True)
    for place, before in zip(few.places()[:2], soon, strict=True):
        assert place == pytest.approx(before)


def test_in_the_end_the_way_makes_no_difference(few: AFewCandidates) -> None:
    fill(few)
    refresh(few, whole=True)
    for candidate in (5, 3, 4):
        few.score(candidate, 1, 40, 0.7 + candidate / 100)
        refresh(few, whole=False)
    refresh(few, whole=True)
    before = few.places(), few.places("iou_1"), few.places("accuracy")
    refresh(few, whole=True)
    assert (few.places(), few.places("iou_1"), few.places("accuracy")) == before


def test_a_class_has_places_of_its_own_and_who_lacks_it_stands_last(few: AFewCandidates) -> None:
    fill(few)
    refresh(few, whole=True)
    assert [place[1] for place in few.places("iou_1")] == [5, 4, 3, 2, 1, 0]
    assert few.places("iou_1")[-1] == (6, 0, 0, None)
    scores = [place[3] or 0 for place in few.places("iou_1")[:-1]]
    assert max(scores) < 0.5


def test_a_failure_is_counted_at_once(few: AFewCandidates) -> None:
    fill(few)
    refresh(few, whole=True)
    with few.ledger.writing(few.lease) as connection:
        values = {"cause": Cause.DIVERGED, "detail": ""}
        changes.move_trial(connection, 7, TrialState.RUNNING, TrialState.FAILED, values)
        assert ranks.stale_candidates(connection, 1) == [4]
    refresh(few, whole=False)
    with few.ledger.reading() as connection:
        failed = leaders.ranked(connection, 1, wanted=Wanted(failed=True))
        assert [(row.candidate, row.trials, row.failed) for row in failed] == [(3, 2, 1)]
        assert not connection.scalars(select(CandidateRow.id).where(CandidateRow.is_stale)).all()


def test_a_cycle_costs_as_many_statements_whatever_the_study_holds(database: URL) -> None:
    counted = []
    few = AFewCandidates(database, count=40)
    for candidate in range(40):
        few.score(candidate, 0, 10, 0.5)
        if candidate in {9, 39}:
            refresh(few, whole=True)
            few.score(candidate, 1, 10, 0.6)
            counted.append(written(few))
    assert counted[0] == counted[1]


def written(few: AFewCandidates) -> tuple[int, int]:
    """Return the statements of a refresh, and the rows that it put."""
    statements: list[str] = []
    rows: list[int] = []

    def note(_c: object, _k: object, statement: str, parameters: object, *_rest: object) -> None:
        statements.append(statement)
        if statement.startswith("INSERT INTO rankings"):
            rows.append(len(parameters))  # type: ignore[arg-type]

    event.listen(few.ledger._engine, "before_cursor_execute", note)
    refresh(few, whole=False)
    event.remove(few.ledger._engine, "before_cursor_execute", note)
    return len(statements), sum(rows)


def test_all_are_ranked_together_in_a_small_part_of_the_time(few: AFewCandidates) -> None:
    now = [0.0]

    def clock() -> float:
        now[0] += 1.0  # every look at it takes a second: a refresh as a whole takes one
        return now[0]

    keeper = RankingKeeper(1, RUNGS, clock)
    fill(few)
    wholes = 0
    for turn in range(60):
        few.score(turn % 6, 0, 100 + turn, 0.5)
        with few.ledger.writing(few.lease) as connection:
            before = queries.study(connection).ranked_s
            keeper.refresh(connection)
            wholes += queries.study(connection).ranked_s != before
    assert 2 <= wholes <= 5
    for turn in range(2):  # the second comes too soon after all were ranked together
        few.score(0, 0, 200 + turn, 0.5)
        with few.ledger.writing(few.lease) as connection:
            keeper.refresh(connection)
    assert keeper.is_due() is False
    now[0] += 100
    assert keeper.is_due(), "what has come in since waits to be ranked with all"
    with few.ledger.writing(few.lease) as connection:
        keeper.refresh(connection, whole=True)
        ranked_s = queries.study(connection).ranked_s
        keeper.refresh(connection, whole=True)
        assert queries.study(connection).ranked_s == ranked_s, "nothing has come in since"
    now[0] += 1000
    assert keeper.is_due() is False, "nothing has come in since"


def test_the_same_candidates_are_listed_in_every_order(few: AFewCandidates) -> None:
    fill(few)
    refresh(few, whole=True)
    with few.ledger.reading() as connection:
        for sorting in Sorting:
            rows = leaders.ranked(connection, 1, sorting=sorting)
            assert {row.candidate for row in rows} == set(range(6))
        latest = leaders.ranked(connection, 1, 2, sorting=Sorting.DATE)
        since = leaders.ranked(connection, 1, wanted=Wanted(since_s=9.0))
        until = leaders.ranked(connection, 1, wanted=Wanted(until_s=5.0))
        assert [row.candidate for row in latest] == [5, 4]
        assert {row.candidate for row in since} == {4, 5}
        assert {row.candidate for row in until} == {0, 1}


@pytest.mark.parametrize("sorting", Sorting)
@pytest.mark.parametrize("wanted", [None, Wanted(step=10)], ids=["all", "one rung"])
def test_a_page_has_the_places_of_the_whole(
    few: AFewCandidates, sorting: Sorting, wanted: Wanted | None
) -> None:
    fill(few)
    few.score(1, 1, 40, 0.55)
    refresh(few, whole=True)
    with few.ledger.reading() as connection:
        whole = leaders.ranked(connection, 1, None, wanted, sorting=sorting)
        for most in range(1, 7):
            page = leaders.ranked(connection, 1, most, wanted, sorting=sorting)
            assert page == whole[:most]
            assert page
