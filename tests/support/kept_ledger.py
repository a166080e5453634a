"""A small study's ledger as SQL, kept for every released version of the schema.

python -m tests.support.kept_ledger writes the one of the present version; once that is released,
its file stays as it is.
"""

import sqlite3
import tempfile
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

from emsearch.coordinator.rankings import refresh_rankings
from emsearch.ledger import changes, intake, jobs
from emsearch.ledger.schema import HEAD
from emsearch.ledger.store import open_ledger
from emsearch.records.candidate import Candidate, Origin, Recipe
from emsearch.records.event import AttemptName, Event, EventKind
from emsearch.records.score import Score, Split
from emsearch.records.trial import Cause
from emsearch.trees.node import Node, Tree
from tests.support.studies import spec_of

FILE = Path(__file__).parents[1] / "upgrades" / f"ledger-{HEAD}.sql"


def write_kept(path: Path) -> None:
    """Write three candidates with a trial each, scored at two steps."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "ledger.sqlite"
        _fill(file)
        with closing(sqlite3.connect(file)) as connection:
            path.write_text("\n".join(connection.iterdump()) + "\n", encoding="utf-8")


def _fill(file: Path) -> None:
    ledger = open_ledger(file, create=True)
    spec = spec_of(study={"name": "kept"}).model_dump(mode="json")
    row = {"name": "kept", "seed": 7, "spec": spec, "version": "0.1.0", "stage": "searching"}
    study = ledger.create_study(row | {"created_s": 1_790_000_000.0})
    lease = ledger.acquire(study)
    arithmetic = {"parameters": 10, "flops": 10, "memory_gb": 0.1, "step_s": 0.5}
    with ledger.writing(lease) as connection:
        for number in range(3):
            origin = Origin.RANDOM if number else Origin.BASELINE
            tree = Tree("encoder_decoder_2d", Node("convolution", deltas=(("width", number),)))
            candidate = Candidate(number=number, tree=tree, recipe=Recipe(), origin=origin)
            fresh = changes.NewCandidate(
                candidate=candidate,
                digest=candidate.tree.digest(),
                recipe_digest=candidate.recipe.digest(),
                arithmetic=arithmetic,
            )
            [row_id] = changes.add_candidates(connection, study, [fresh])
            trial = changes.NewTrial(
                candidate_id=row_id, repeat=0, seed=number, until_step=40, expected_s=1.0
            )
            changes.add_trials(connection, study, [trial])
            jobs.begin_job(connection, study, f"job-{number}", [[number + 1]], 5.0)
            intake.take_in(connection, study, _events(number))
        refresh_rankings(connection, study, (10, 40))
    ledger.release(lease)
    ledger.close()


def _events(number: int) -> list[Event]:
    name = AttemptName(token=f"job-{number}", index=0, order=number + 1, restart=0)
    mean = 0.5 + 0.1 * (number % 3 - (number == 1))
    said = [
        (EventKind.STARTED, {"node": "cn1", "pid": 1}),
        *((EventKind.EVALUATED, _evaluated(step, mean)) for step in (10, 40)),
        (EventKind.ENDED, {"cause": Cause.COMPLETED, "step": 40}),
    ]
    return [
        Event(attempt=name, number=i, kind=kind, at_s=1_790_000_000.0 + i, facts=facts)
        for i, (kind, facts) in enumerate(said)
    ]


def _evaluated(step: int, mean: float) -> dict[str, object]:
    score = Score(
        split=Split.VALIDATION,
        iou_K=(mean, mean, None),
        mean_iou=mean,
        mean_iou_foreground=mean,
        accuracy=mean,
        voxels=7,
    )
    return {"step": step, "score": asdict(score), "loss": 1.0, "train_s": 2.5}


if __name__ == "__main__":
    write_kept(FILE)
