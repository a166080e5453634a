"""A network on its way: its weights, their average, its optimizer, and one step of it.

Axes: B batch, C channel, K class, Z Y X voxels in array order.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from emsearch.errors import DivergedError
from emsearch.networks.compiled import compiled
from emsearch.networks.hybrid import StagedLogits
from emsearch.networks.late import join_late
from emsearch.records.candidate import Recipe
from emsearch.records.chance import seed_of
from emsearch.training.average import WeightAverage
from emsearch.training.deep import DeepHeads
from emsearch.training.loss import SegmentationLoss, at_scale
from emsearch.training.optimizer import make_optimizer
from emsearch.training.pace import Pace
from emsearch.training.schedule import rate_factor

__all__ = ["LATE_JOINS", "Training"]

LATE_JOINS = 0.5
"""Part of the horizon after which a CRF-RNN, or the 3-D stage of a cascade, joins.

A CRF-RNN that joins at once tends to collapse.
"""


class Training:
    """A training between two steps. What the next step does depends on it and the batch alone."""

    def __init__(
        self, network: nn.Module, loss: SegmentationLoss, recipe: Recipe, pace: Pace, seed: int
    ) -> None:
        self.network = network.train()
        self.loss = loss
        self.recipe = recipe
        self.pace = pace
        self.seed = seed
        self.has_late = join_late(self.network, joined=False)
        """Whether it has parts that join once the network before them has trained."""
        self.has_joined = False
        self.average = WeightAverage(network, recipe.ema_decay)
        self.heads = _heads(network, loss, recipe, seed)
        """For the loss at lower resolutions; made after the average, which has none."""
        self.optimizer = make_optimizer([network, self.heads], recipe)
        self._weights = [*network.parameters(), *self.heads.parameters()]
        self.has_chance = any(isinstance(part, _CHANCE) for part in network.modules())
        """Whether the network draws random numbers, as dropout does."""
        self.micro_batch: int | None = None
        """Patches whose activations are in memory at once; None: those of the whole batch."""
        self._device = next(network.parameters()).device
        self.is_mixed = self._device.type == "cuda" and torch.cuda.is_bf16_supported()
        """Whether convolutions compute in bfloat16; weights, loss and optimizer stay float32."""
        self._run: Any = self.network
        self._loss_sum = torch.zeros((), device=self._device)
        self._loss_steps = 0

    @property
    def step(self) -> int:
        """Steps taken."""
        return self.pace.steps

    @property
    def micro_batch_facts(self) -> dict[str, Any] | None:
        """Return the micro-batch and the layers that make its step another one; None without."""
        if self.micro_batch is None:
            return None
        broken = sorted(
            {type(part).__name__ for part in self.network.modules() if isinstance(part, _BY_BATCH)}
        )
        return {"patches": self.micro_batch, "differs_by": broken}

    def compile(self) -> None:
        """Run the network compiled from now on; rounding differs from that of the plain one."""
        self._run = compiled(self.network)

    def advance(self, image_BCZYX: Tensor, labels_BZYX: Tensor) -> None:
        """Take one step on a batch, whose labels below 0 are ignored."""
        rate = self.recipe.learning_rate * rate_factor(self.pace, self.recipe)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        if self.has_late and not self.has_joined:
            self.has_joined = self.pace.done >= LATE_JOINS * self.pace.horizon
            join_late(self.network, joined=self.has_joined)
        self.optimizer.zero_grad(set_to_none=True)
        if self.micro_batch is None or self.micro_batch >= len(image_BCZYX):
            loss = self._loss(self._output(image_BCZYX), labels_BZYX)
            torch.autograd.backward([loss])
        else:
            loss = self._backward_in_parts(torch.split(image_BCZYX, self.micro_batch), labels_BZYX)
        nn.utils.clip_grad_norm_(self._weights, self.recipe.gradient_clip)
        self.optimizer.step()
        self.average.update(self.network)
        self._loss_sum += loss.detach()
        self._loss_steps += 1
        self.pace.steps += 1

    def mean_loss(self) -> float:
        """Return the mean loss of the steps since it was last forgotten.

        Waits for the device. Raises DivergedError where it is not finite.
        """
        mean = float(self._loss_sum) / max(self._loss_steps, 1)
        if not torch.tensor(mean).isfinite():
            raise DivergedError(
                f"the loss is {mean} by step {self.step}; a lower learning rate than "
                f"{self.recipe.learning_rate:g} may help"
            )
        return mean

    def forget_loss(self) -> None:
        """Begin the mean loss anew."""
        self._loss_sum = torch.zeros((), device=self._device)
        self._loss_steps = 0

    def state_dict(self) -> dict[str, Any]:
        """Return all that `load_state_dict` needs to go on as if there had been no break.

        There is no gradient scaler: bfloat16 has float32's range. Every generator's state follows
        from seed and step.
        """
        return {
            "step": self.pace.steps,
            "network": self.network.state_dict(),
            "heads": self.heads.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "loss": (self._loss_sum, self._loss_steps),
            "has_joined": self.has_joined,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        self.pace.steps = state["step"]
        self.network.load_state_dict(state["network"])
        self.heads.load_state_dict(state["heads"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self._loss_sum, self._loss_steps = state["loss"]
        self.has_joined = state["has_joined"]

    def _loss(self, output: "_Output", labels_BZYX: Tensor) -> Tensor:
        """Return the weighed sum of the losses of all that the network gives."""
        weight_BZYX = self.loss.weights(labels_BZYX)
        losses = [
            share * self.loss(logits, at_scale(labels_BZYX, logits), at_scale(weight_BZYX, logits))
            for logits, share in zip(output.logits, output.shares, strict=True)
        ]
        return torch.stack(losses).sum() if len(losses) > 1 else losses[0]

    def _backward_in_parts(self, parts: Sequence[Tensor], labels_BZYX: Tensor) -> Tensor:
        """Set the gradients of the whole batch, a part in memory at a time; return its loss.

        The loss is no sum over patches (Dice is of the batch), so its gradient with respect to the
        logits comes first, from a pass that keeps nothing else. The step is that of the whole batch
        to rounding, but for batch statistics and dropout, which are of each part.
        """
        with torch.no_grad():
            outputs = [self._output(part) for part in parts]
        logits = [
            torch.cat(of).requires_grad_()
            for of in zip(*(output.logits for output in outputs), strict=True)
        ]
        loss = self._loss(_Output(tuple(logits), outputs[0].shares), labels_BZYX)
        slopes = torch.autograd.grad(loss, logits)
        sizes = [len(part) for part in parts]
        for part, slope in zip(
            parts, zip(*(torch.split(slope, sizes) for slope in slopes), strict=True), strict=True
        ):
            torch.autograd.backward(self._output(part).logits, slope)
        return loss

    def _output(self, image_BCZYX: Tensor) -> "_Output":
        """Return what the network gives; its chance depends on seed and step alone."""
        if not self.has_chance:
            return self._forward(image_BCZYX)
        devices = [self._device] if self._device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(seed_of("chance", self.seed, self.step))
            return self._forward(image_BCZYX)

    def _forward(self, image_BCZYX: Tensor) -> "_Output":
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self.is_mixed):
            given = self._run(image_BCZYX)
            deep = self.heads.take(image_BCZYX.shape[2]) if len(self.heads) else []
        logits, shares = ([given], [1.0])
        if isinstance(given, StagedLogits):
            logits = [given.logits_BKZYX, given.auxiliary_BKZYX]
            shares = [1.0, given.auxiliary_weight]
        for one in deep:
            halvings = image_BCZYX.shape[-1] / one.shape[-1]
            shares.append(2 * self.recipe.deep_supervision / halvings)
        return _Output((*logits, *deep), tuple(shares))


class _Output(NamedTuple):
    """What a network that trains gives."""

    logits: tuple[Tensor, ...]
    """Of its end, of a first stage, of lower resolutions; each BKZYX."""
    shares: tuple[float, ...]
    """Weight of the loss of each."""


_BY_BATCH = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)  # noqa: SLF001
_CHANCE = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)


def _heads(network: nn.Module, loss: SegmentationLoss, recipe: Recipe, seed: int) -> DeepHeads:
    """Return the heads of deep supervision, none where the recipe has none."""
    if recipe.deep_supervision == 0:
        return DeepHeads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of("heads", seed))
        heads = DeepHeads.of(network, len(loss.weights.weight_K), recipe.patch_zyx)
    return heads.to(next(network.parameters()).device)
