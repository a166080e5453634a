"""A network on its way: its weights, their average, its optimizer, and one step of it.

Axes: B batch, C channel, K class, Z Y X voxels in array order.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from emsearch.errors import DivergedError
from emsearch.networks.hybrid import StagedLogits
from emsearch.networks.network import join_crf
from emsearch.records.candidate import Recipe
from emsearch.records.chance import seed_of
from emsearch.training.average import WeightAverage
from emsearch.training.loss import SegmentationLoss
from emsearch.training.schedule import rate_factor

__all__ = ["CRF_JOINS", "Training"]

CRF_JOINS = 0.5
"""Part of the horizon after which a CRF-RNN joins: one that joins at once tends to collapse."""


class Training:
    """A training between two steps. What the next step does depends on it and the batch alone."""

    def __init__(
        self, network: nn.Module, loss: SegmentationLoss, recipe: Recipe, horizon: int, seed: int
    ) -> None:
        self.network = network.train()
        self.loss = loss
        self.recipe = recipe
        self.horizon = horizon
        self.seed = seed
        self.has_crf = join_crf(self.network, joined=False)
        """Whether it ends in a CRF-RNN, which joins once the network before it has trained."""
        self.average = WeightAverage(network, recipe.ema_decay)
        self.optimizer = _optimizer(network, recipe)
        self.step = 0
        """Steps taken."""
        self.has_chance = any(isinstance(part, _CHANCE) for part in network.modules())
        """Whether the network draws random numbers, as dropout does."""
        self.micro_batch: int | None = None
        """Patches whose activations are in memory at once; None: those of the whole batch."""
        self._device = next(network.parameters()).device
        self.is_mixed = self._device.type == "cuda" and torch.cuda.is_bf16_supported()
        """Whether convolutions compute in bfloat16; weights, loss and optimizer stay float32."""
        self._loss_sum = torch.zeros((), device=self._device)
        self._loss_steps = 0

    def advance(self, image_BCZYX: Tensor, labels_BZYX: Tensor) -> None:
        """Take one step on a batch, whose labels below 0 are ignored."""
        rate = self.recipe.learning_rate * rate_factor(
            self.step, self.horizon, self.recipe.warmup, self.recipe.decay
        )
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        if self.has_crf:
            join_crf(self.network, joined=self.step >= CRF_JOINS * self.horizon)
        self.optimizer.zero_grad(set_to_none=True)
        if self.micro_batch is None or self.micro_batch >= len(image_BCZYX):
            loss = self._loss(self._output(image_BCZYX), labels_BZYX)
            torch.autograd.backward([loss])
        else:
            loss = self._backward_in_parts(torch.split(image_BCZYX, self.micro_batch), labels_BZYX)
        nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.gradient_clip)
        self.optimizer.step()
        self.average.update(self.network)
        self._loss_sum += loss.detach()
        self._loss_steps += 1
        self.step += 1

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
        """Return all that `load_state_dict` needs to go on as if there had been no break."""
        return {
            "step": self.step,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "loss": (self._loss_sum, self._loss_steps),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        self.step = state["step"]
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self._loss_sum, self._loss_steps = state["loss"]

    def _loss(self, output: "Output", labels_BZYX: Tensor) -> Tensor:
        """Return the loss; of a network in two stages that of the first is added, weighed."""
        if not isinstance(output, StagedLogits):
            return self.loss(output, labels_BZYX)
        auxiliary = self.loss(output.auxiliary_BKZYX, labels_BZYX)
        return self.loss(output.logits_BKZYX, labels_BZYX) + output.auxiliary_weight * auxiliary

    def _backward_in_parts(self, parts: Sequence[Tensor], labels_BZYX: Tensor) -> Tensor:
        """Set the gradients of the whole batch, a part in memory at a time; return its loss.

        The loss is no sum over patches (Dice is of the batch), so its gradient with respect to the
        logits comes first, from a pass that keeps nothing else. The step is that of the whole batch
        to rounding, but for batch statistics and dropout, which are of each part.
        """
        with torch.no_grad():
            outputs = [self._output(part) for part in parts]
        logits = [
            torch.cat(of).requires_grad_() for of in zip(*map(_tensors, outputs), strict=True)
        ]
        loss = self._loss(_like(outputs[0], logits), labels_BZYX)
        slopes = torch.autograd.grad(loss, logits)
        sizes = [len(part) for part in parts]
        for part, slope in zip(
            parts, zip(*(torch.split(slope, sizes) for slope in slopes), strict=True), strict=True
        ):
            torch.autograd.backward(_tensors(self._output(part)), slope)
        return loss

    def _output(self, image_BCZYX: Tensor) -> "Output":
        """Return what the network gives; its chance depends on seed and step alone."""
        if not self.has_chance:
            return self._forward(image_BCZYX)
        devices = [self._device] if self._device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(seed_of("chance", self.seed, self.step))
            return self._forward(image_BCZYX)

    def _forward(self, image_BCZYX: Tensor) -> "Output":
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self.is_mixed):
            output: Output = self.network(image_BCZYX)
        return output


Output = Tensor | StagedLogits
"""Of a network that trains: logits_BKZYX, or those of two stages."""


def _tensors(output: Output) -> tuple[Tensor, ...]:
    if isinstance(output, StagedLogits):
        return output.logits_BKZYX, output.auxiliary_BKZYX
    return (output,)


def _like(output: Output, tensors: Sequence[Tensor]) -> Output:
    if isinstance(output, StagedLogits):
        return StagedLogits(tensors[0], tensors[1], output.auxiliary_weight)
    return tensors[0]


_CHANCE = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)


def _optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Return AdamW in one kernel; biases and scales of normalisations do not decay."""
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [weight for weight in weights if weight.ndim > 1]},
        {"params": [weight for weight in weights if weight.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        fused=True,
    )
