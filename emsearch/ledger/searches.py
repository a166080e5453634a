"""What an asynchronous search reads: each answer small, however long the study."""

from sqlalchemy import Connection, func, select

from emsearch.ledger.tables import CandidateRow, TrialRow

__all__ = ["highest_candidate", "repeats_of", "tree_digests"]


def highest_candidate(connection: Connection, study_id: int) -> int:
    """Return the highest number of a candidate; -1 where there is none."""
    number = connection.scalar(
        select(func.max(CandidateRow.number)).where(CandidateRow.study_id == study_id)
    )
    return -1 if number is None else int(number)


def tree_digests(connection: Connection, study_id: int) -> set[str]:
    """Return the digests of all trees of a study."""
    return set(
        connection.scalars(
            select(CandidateRow.tree_digest).where(CandidateRow.study_id == study_id)
        )
    )


def repeats_of(connection: Connection, candidate_row: int) -> int:
    """Return how many trials a candidate has, in whatever state."""
    count = select(func.count()).where(TrialRow.candidate_id == candidate_row)
    return int(connection.scalar(count) or 0)
