"""Carry a trial on: from its last checkpoint to the step that its order names.

An attempt writes into its own folder only: at most one checkpoint, and at the end of the horizon
`weights.pt` (the averaged weights) and `result.json`, by which a later attempt sees that the trial
is complete. It reads the checkpoints of all attempts at its trial.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from emsearch.errors import CollapsedError, DivergedError
from emsearch.inference.device import pick_device, place, reproducible
from emsearch.inference.predict import Predictor
from emsearch.inference.score import Part, confusion_on, parts_of
from emsearch.metrics.overlap import Confusion
from emsearch.metrics.scorecard import score
from emsearch.networks.build import build
from emsearch.records.chance import seed_of
from emsearch.records.event import Outcome, Post
from emsearch.records.files import read_json, replacing, write_json
from emsearch.records.order import TrainOrder, tree_of
from emsearch.records.score import Score, Split
from emsearch.records.trial import Cause
from emsearch.training.batches import Batches, open_batches
from emsearch.training.checkpoint import drop_checkpoints, load_newest, save_checkpoint
from emsearch.training.loss import SegmentationLoss, class_weights
from emsearch.training.provenance import provenance
from emsearch.training.training import Training

__all__ = ["run_trial"]

_LOOK_EVERY = 10  # steps between looks at the loss, each of which waits for the device


def run_trial(task: TrainOrder, post: Post) -> Outcome:
    """Train until `task.until_step` and return how that ended.

    Raises DivergedError and CollapsedError, facts about the candidate, and what torch raises where
    memory runs out.
    """
    attempts = post.folder.parent
    if (told := _finished(attempts)) is not None:
        post.evaluated(told["evaluated"])
        return Outcome(cause=Cause.COMPLETED, facts=told["facts"])
    device = pick_device(task.device)
    write_json(post.folder / "provenance.json", provenance(task, device))
    with reproducible(device), open_batches(task, post.study, device) as batches:
        trial = _Trial(task=task, post=post, training=_begin(task, batches, device))
        trial.resume(load_newest(attempts, device))
        return trial.carry_on(batches, _Validation.of(task, trial.training, post.study, device))


@dataclass(kw_only=True)
class _Trial:
    """A training with what an attempt says of it."""

    task: TrainOrder
    post: Post
    training: Training
    evaluated: dict[str, Any] = field(default_factory=dict)
    """What was said at the last evaluation."""
    train_s: float = 0.0
    """Seconds of training and evaluation, in all attempts that led here."""
    first_step: int = 0
    """Steps that this attempt found taken."""
    _since_s: float = field(default_factory=time.monotonic)
    _saved_s: float = field(default_factory=time.monotonic)

    def resume(self, state: Mapping[str, Any] | None) -> None:
        """Go on from a checkpoint's state, and say its last evaluation again."""
        if state is None:
            return
        self.training.load_state_dict(state["training"])
        self.first_step = self.training.step
        self.train_s = state["train_s"]
        self.evaluated = state["evaluated"]
        if self.evaluated:
            self.post.evaluated(self.evaluated)

    def carry_on(self, batches: Batches, validation: "_Validation") -> Outcome:
        """Train to the order's step, or until there is a reason to leave."""
        task, training = self.task, self.training
        while training.step < task.until_step:
            if (cause := self.post.stop_cause()) is not None:
                return self._leave(cause, {"step": training.step})
            training.advance(*batches(training.step))
            self.post.progress(training.step, task.until_step)
            if training.step in task.evaluate_at or training.step == task.until_step:
                self._evaluate(validation)
            elif training.step % _LOOK_EVERY == 0:
                training.mean_loss()
            if time.monotonic() - self._saved_s > task.checkpoint_every_s and not self._save():
                return _SUPERSEDED
        if not self.evaluated or self.evaluated["step"] != training.step:
            self._evaluate(validation)
        if task.until_step < task.horizon:
            facts = {name: self.evaluated[name] for name in ("step", "score", "train_s")}
            return self._leave(Cause.PAUSED, facts)
        return self._finish()

    def _evaluate(self, validation: "_Validation") -> None:
        loss = self.training.mean_loss()
        self.training.forget_loss()
        confusion_KK = validation.look(self.training)
        self.evaluated = {
            "step": self.training.step,
            "score": _as_json(score(confusion_KK, Split.VALIDATION)),
            "loss": loss,
            "train_s": self._seconds(),
        }
        self.post.evaluated(self.evaluated)

    def _leave(self, cause: Cause, facts: Mapping[str, Any]) -> Outcome:
        facts = {"first_step": self.first_step, **facts}
        return Outcome(cause=cause, facts=facts) if self._save() else _SUPERSEDED

    def _save(self) -> bool:
        """Write a checkpoint; False where another attempt has come to count."""
        self.training.mean_loss()  # no checkpoint of a training that has diverged
        if not self.post.holds_claim():
            return False
        state = {
            "training": self.training.state_dict(),
            "evaluated": self.evaluated,
            "train_s": self._seconds(),
        }
        save_checkpoint(self.post.folder, self.training.step, state)
        self._saved_s = time.monotonic()
        return True

    def _finish(self) -> Outcome:
        """Leave the averaged weights and the result, then drop the checkpoint."""
        if not self.post.holds_claim():
            return _SUPERSEDED
        weights = self.post.folder / "weights.pt"
        with replacing(weights) as scratch:
            torch.save(self.training.average.network.state_dict(), scratch)
        facts = {
            "first_step": self.first_step,
            **self.evaluated,
            "weights": weights.relative_to(self.post.study).as_posix(),
        }
        write_json(self.post.folder / "result.json", {"facts": facts, "evaluated": self.evaluated})
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

    def look(self, training: Training) -> Confusion:
        """Return the confusion of the averaged network.

        Raises DivergedError where its weights are not finite, and CollapsedError where it sees one
        class everywhere after half of the horizon; before that it may still learn.
        """
        if not all(bool(weight.isfinite().all()) for weight in self.predictor.network.parameters()):
            raise DivergedError(f"weights are not finite at step {training.step}")
        confusion_KK = confusion_on(self.parts, self.predictor)
        predicted_K, true_K = confusion_KK.sum(0) > 0, confusion_KK.sum(1) > 0
        if 2 * training.step >= training.horizon and predicted_K.sum() == 1 < true_K.sum():
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


def _finished(attempts: Path) -> dict[str, Any] | None:
    """Return the result that an attempt left which was killed before it could tell it."""
    for path in sorted(attempts.glob("*/result.json")):
        told: dict[str, Any] = read_json(path)
        return told
    return None


def _begin(task: TrainOrder, batches: Batches, device: torch.device) -> Training:
    """Return the training at step 0."""
    classes = len(task.dataset.classes)
    network = place(build(tree_of(task), 1, classes, seed_of("weights", task.seed)), device)
    weight_K = class_weights(batches.sampler.fractions_K, task.recipe.class_balance)
    loss = SegmentationLoss(weight_K=weight_K.to(device), dice_weight=task.recipe.dice_weight)
    return Training(network, loss, task.recipe, task.horizon, task.seed)
