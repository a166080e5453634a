"""Plans: what trees come to, module by module, with the values that networks are built with."""

import json
from hashlib import sha256
from typing import Any, NamedTuple

__all__ = ["Plan", "digest_of", "width_of"]

_ENCODER = json.JSONEncoder(check_circular=False)  # plans are tuples: they hold no circles


class Plan(NamedTuple):
    """A module with the settings that it is built with; children stand in canonical order."""

    kind: str
    settings: tuple[tuple[str, Any], ...] = ()
    children: tuple["Plan", ...] = ()

    def get(self, name: str) -> Any:
        """Return the value of a setting. Raises KeyError for one that does not matter here."""
        for key, value in self.settings:
            if key == name:
                return value
        raise KeyError(name)


def digest_of(plan: Plan) -> str:
    """Return 12 hex digits that depend on the effective, canonical tree alone."""
    return sha256(_ENCODER.encode(plan).encode()).hexdigest()[:12]


def width_of(plan: Plan) -> int:
    """Return the channels that a block gives."""
    if plan.kind == "convolution":
        return int(plan.get("width"))
    last = plan.children[-1]
    if last.kind == "merge":
        return sum(width_of(child) for child in plan.children[::2])
    return width_of(plan.children[-2] if last.kind == "residual" else last)
