"""Carry a trial on: from its last checkpoint to the step that its order names.

An attempt writes into its own folder only: at most one checkpoint, and at the end of the horizon
`weights.pt` (the averaged weights) and `result.json`, by which a later attempt sees that the trial
is complete. It reads the checkpoints of all attempts at its trial.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from os.path import relpath
from pathlib import Path
from typing import Any

import numpy as np
import torch

from emsearch.errors import CollapsedError, DivergedError
from emsearch.inference.device import pick_device, place, reproducible
from emsearch.inference.part import Part, parts_of
from emsearch.inference.predict import Predictor
from emsearch.inference.score import confusion_on
from emsearch.metrics.overlap import Confusion
from emsearch.metrics.scorecard import score
from emsearch.networks.build import build
from emsearch.records.chance import seed_of
from emsearch.records.event import AskedToLeaveError, Outcome, Post, leave_if_asked
from emsearch.records.files import read_json, replacing, write_json
from emsearch.records.order import TrainOrder, tree_of
from emsearch.records.score import Score, Split
from emsearch.records.trial import Cause
from emsearch.training.batches import Batches, open_batches
from emsearch.training.best import Best
from emsearch.training.checkpoint import (
    CHECKPOINT,
    PLATEAU,
    drop_checkpoints,
    load_newest,
    save_checkpoint,
    write_state,
)
from emsearch.training.loss import SegmentationLoss
from emsearch.training.memory import telling_memory
from emsearch.training.pace import Pace
from emsearch.training.provenance import provenance
from emsearch.training.schedule import plateau_end
from emsearch.training.training import Training
from emsearch.training.weights import VoxelWeights

__all__ = ["LOOK_EVERY", "begin_training", "run_trial"]

LOOK_EVERY = 10  # steps between looks at the loss, each of which waits for the device


def run_trial(task: TrainOrder, post: Post) -> Outcome:
    """Train until `task.until_step` and return how that ended.

    Raises DivergedError and CollapsedError, facts about the candidate, and torch.OutOfMemoryError
    or MemoryError where memory runs out.
    """
    attempts = post.folder.parent
    if (told := _finished(attempts, task.horizon)) is not None:
        post.evaluated(told["evaluated"])
        return Outcome(cause=Cause.COMPLETED, facts=told["facts"])
    device = pick_device(task.device)
    with telling_memory(), reproducible(device), open_batches(task, post.study, device) as batches:
        write_json(post.folder / "provenance.json", provenance(task, device), indent=1)
        trial = _Trial(task=task, post=post, training=begin_training(task, batches, device))
        trial.resume(load_newest(attempts, device, trial.can_use), batches)
        return trial.carry_on(batches, _Validation.of(task, trial.training, post.study, device))


@dataclass(kw_only=True)
class _Trial:
    """A training with what an attempt says of it."""

    task: TrainOrder
    post: Post
    training: Training
    best: Best = field(default_factory=Best)
    evaluated: dict[str, Any] = field(default_factory=dict)
    """What was said at the last evaluation."""
    due: int | None = None
    """Mark that was reached and has not been evaluated."""
    train_s: float = 0.0
    """Seconds of training and evaluation, in all attempts that led here."""
    first_step: int = 0
    """Budget that this attempt found spent."""
    _since_s: float = field(default_factory=time.monotonic)
    _saved_s: float = field(default_factory=time.monotonic)

    def can_use(self, state: Mapping[str, Any]) -> bool:
        """Return whether a checkpoint leads to this horizon.

        One of a shorter training does where it lies before that one's decay.
        """
        same = bool(state["horizon"] == self.task.horizon)
        return same or state["done"] <= plateau_end(state["horizon"], self.task.recipe)

    def resume(self, state: Mapping[str, Any] | None, batches: Batches) -> None:
        """Go on from a checkpoint's state, and say its last evaluation again."""
        if state is None:
            return
        self.training.load_state_dict(state["training"])
        self.training.pace.seconds = state["seconds"]
        self.best.load_state_dict(state["best"])
        batches.drawn.load_state_dict(state["drawn"])
        self.first_step = int(self.training.pace.done)
        self.train_s = state["train_s"]
        self.evaluated = state["evaluated"]
        self.due = state.get("due")
        if self.evaluated:
            self.post.evaluated(self.evaluated)

    def carry_on(self, batches: Batches, validation: "_Validation") -> Outcome:
        """Train to the order's end, or until there is a reason to leave."""
        task, pace = self.task, self.training.pace
        while pace.done < task.until_step or self.due is not None:
            if (cause := self.post.stop_cause()) is not None:
                return self._leave(cause, {"step": int(pace.done)}, batches)
            if self.due is None:
                self.due = self._advance(batches)
            if self.due is not None and not self._evaluate(validation, self.due, batches):
                continue  # asked to leave in its midst: the next attempt evaluates anew
            self.due = None
            if not self._keep(batches):
                return _SUPERSEDED
        if not self.evaluated or self.evaluated["step"] != task.until_step:
            self.due = task.until_step
            return self.carry_on(batches, validation)
        if task.until_step < task.horizon:
            facts = {name: self.evaluated[name] for name in ("step", "score", "train_s")}
            return self._leave(Cause.PAUSED, facts, batches)
        return self._finish()

    def _advance(self, batches: Batches) -> int | None:
        """Take a step; return the mark at which to evaluate that it reached, None for none."""
        task, training = self.task, self.training
        before, began_s = training.pace.done, time.monotonic()
        training.advance(*batches(training.step))
        if training.step % LOOK_EVERY == 0:
            training.mean_loss()
        training.pace.seconds += time.monotonic() - began_s
        done = training.pace.done
        self.post.progress(min(int(done), task.until_step), task.until_step)
        marks = sorted({*task.evaluate_at, task.until_step})
        return next((mark for mark in reversed(marks) if before < mark <= done), None)

    def _ends_plateau(self) -> bool:
        """Return whether the next step is the first whose rate depends on the horizon."""
        pace = self.training.pace
        end = plateau_end(pace.horizon, self.task.recipe)
        return self.task.keep_plateau and pace.done <= end < pace.done + pace.step

    def _keep(self, batches: Batches) -> bool:
        """Write the checkpoints that are due; False where another attempt has come to count."""
        if self._ends_plateau() and not self._save(batches, PLATEAU):
            return False
        is_time = time.monotonic() - self._saved_s > self.task.checkpoint_every_s
        return not is_time or self._save(batches)

    def _evaluate(self, validation: "_Validation", mark: int, batches: Batches) -> bool:
        """Score the averaged network; False where it is asked to leave before that is done."""
        loss = self.training.mean_loss()
        try:
            confusion_KK = validation.look(self.training, partial(leave_if_asked, self.post))
        except AskedToLeaveError:
            return False
        self.training.forget_loss()
        drawn = batches.drawn.drawn()
        self.evaluated = {
            "step": mark,
            "steps": self.training.step,
            "score": _as_json(score(confusion_KK, Split.VALIDATION)),
            "loss": loss,
            "train_s": self._seconds(),
            "sampled_K": list(drawn.fractions_K),
            "seen_K": list(drawn.seen_K),
        }
        self.best.see(self.evaluated, self.training.average.network)
        self.post.evaluated(self.evaluated)
        return True

    def _leave(self, cause: Cause, facts: Mapping[str, Any], batches: Batches) -> Outcome:
        facts = {"first_step": self.first_step, **facts}
        return Outcome(cause=cause, facts=facts) if self._save(batches) else _SUPERSEDED

    def _save(self, batches: Batches, kind: str = CHECKPOINT) -> bool:
        """Write a checkpoint; False where another attempt has come to count."""
        self.training.mean_loss()  # no checkpoint of a training that has diverged
        if not self.post.holds_claim():
            return False
        state = {
            "horizon": self.task.horizon,
            "done": self.training.pace.done,
            "seconds": self.training.pace.seconds,
            "training": self.training.state_dict(),
            "best": self.best.state_dict(),
            "drawn": batches.drawn.state_dict(),
            "evaluated": self.evaluated,
            "due": self.due,
            "train_s": self._seconds(),
        }
        save_checkpoint(self.post.folder, self.training.step, state, kind)
        if kind == CHECKPOINT:
            self._saved_s = time.monotonic()
        return True

    def _finish(self) -> Outcome:
        """Leave the best averaged weights and the result, then drop the checkpoint."""
        if not self.post.holds_claim():
            return _SUPERSEDED
        weights = self.post.folder / "weights.pt"
        with replacing(weights) as scratch:
            write_state(self.best.weights, scratch)
        facts = {
            "first_step": self.first_step,
            **self.evaluated,
            "score": self.best.evaluated["score"],
            "best_step": self.best.evaluated["step"],
            "micro_batch": self.training.micro_batch_facts,
            "weights": Path(relpath(weights, self.post.study)).as_posix(),
        }
        result = {"horizon": self.task.horizon, "facts": facts, "evaluated": self.evaluated}
        write_json(self.post.folder / "result.json", result, indent=1)
        drop_checkpoints(self.post.folder)
        return Outcome(cause=Cause.COMPLETED, facts=facts)

    def _seconds(self) -> float:
        now_s = time.monotonic()
        self.train_s += now_s - self._since_s
        self._since_s = now_s
        return self.train_s


@dataclass(frozen=True, kw_only=True, slots=True)
class _Validation:
    """The validation split and the averaged network that is scored on it."""

    parts: list[Part]
    predictor: Predictor

    @classmethod
    def of(
        cls, task: TrainOrder, training: Training, study: Path, device: torch.device
    ) -> "_Validation":
        return cls(
            parts=parts_of(task.dataset, study, Split.VALIDATION),
            predictor=Predictor.of(
                tree_of(task),
                training.average.network,
                len(task.dataset.classes),
                task.recipe.patch_zyx,
                device,
            ),
        )

    def look(self, training: Training, look_up: Callable[[], None]) -> Confusion:
        """Return the confusion of the averaged network.

        Raises DivergedError where its weights are not finite, and CollapsedError where it sees one
        class everywhere after half of the horizon; before that it may still learn.
        """
        if not all(bool(weight.isfinite().all()) for weight in self.predictor.network.parameters()):
            raise DivergedError(f"weights are not finite at step {training.step}")
        confusion_KK = confusion_on(self.parts, self.predictor, look_up)
        predicted_K, true_K = confusion_KK.sum(0) > 0, confusion_KK.sum(1) > 0
        if (
            2 * training.pace.done >= training.pace.horizon
            and predicted_K.sum() == 1 < true_K.sum()
        ):
            only = int(np.flatnonzero(predicted_K)[0])
            raise CollapsedError(
                f"at step {training.step} the network sees class {only} everywhere; "
                "other seeds may not"
            )
        return confusion_KK


_SUPERSEDED = Outcome(cause=Cause.CANCELLED, facts={"superseded": True})


def _as_json(found: Score) -> dict[str, Any]:
    """Return a score in plain values, which a checkpoint can hold too."""
    return {**asdict(found), "split": found.split.value, "iou_K": list(found.iou_K)}


def _finished(attempts: Path, horizon: int) -> dict[str, Any] | None:
    """Return the result that an attempt left which was killed before it could tell it."""
    for path in sorted(attempts.glob("*/result.json")):
        told: dict[str, Any] = read_json(path)
        if told["horizon"] == horizon:  # else it was extended since
            return told
    return None


def begin_training(task: TrainOrder, batches: Batches, device: torch.device) -> Training:
    """Return the training at step 0."""
    classes = len(task.dataset.classes)
    network = place(build(tree_of(task), 1, classes, seed_of("weights", task.seed)), device)
    weights = VoxelWeights.of(task.recipe, batches.sampler.fractions_K, device)
    loss = SegmentationLoss.of(task.recipe, weights)
    pace = Pace.of(task.horizon, task.recipe, task.budget)
    training = Training(network, loss, task.recipe, pace, task.seed)
    training.micro_batch = task.micro_batch
    if task.compile:
        training.compile()
    return training
