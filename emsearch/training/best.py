"""The evaluation that a training leaves: that of the highest smoothed score."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

__all__ = ["Best"]

_KEPT = 0.5  # of the smoothed score, at each evaluation: one lucky evaluation does not win


@dataclass(kw_only=True, slots=True)
class Best:
    """The best evaluation so far with the averaged weights that it scored."""

    smoothed: float | None = None
    """Exponential mean of the scores so far."""
    highest: float = 0.0
    """The largest that it has been."""
    evaluated: dict[str, Any] = field(default_factory=dict)
    """What was said at that evaluation."""
    weights: dict[str, Tensor] = field(default_factory=dict)
    """In the host's memory."""

    def see(self, evaluated: Mapping[str, Any], network: nn.Module) -> None:
        """Take an evaluation in; of equal ones the later counts."""
        score = float(evaluated["score"]["mean_iou"])
        before = score if self.smoothed is None else self.smoothed
        self.smoothed = _KEPT * before + (1 - _KEPT) * score
        if not self.evaluated or self.smoothed >= self.highest:
            self.highest = self.smoothed
            self.evaluated = dict(evaluated)
            self.weights = {
                name: value.detach().to("cpu", copy=True)
                for name, value in network.state_dict().items()
            }

    def state_dict(self) -> dict[str, Any]:
        """Return what `load_state_dict` goes on from."""
        return {
            "smoothed": self.smoothed,
            "highest": self.highest,
            "evaluated": self.evaluated,
            "weights": self.weights,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        self.smoothed, self.highest = state["smoothed"], state["highest"]
        self.evaluated = dict(state["evaluated"])
        self.weights = {name: value.cpu() for name, value in state["weights"].items()}
