"""Settings of modules, and how a node inherits them.

The value of a setting at a node is its default plus the sum of the deltas on the path from the
root, clipped to the setting's range. A choice adds to the index of its option.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from emsearch.errors import SpecError

__all__ = ["SETTINGS", "Inherited", "Number", "Setting", "Value", "find_setting"]

Number = float | int
"""What deltas are made of: amounts, or steps from option to option."""
Value = float | int | str
"""What a setting means: an amount or an option."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """One thing that can be set at a node."""

    name: str
    about: str
    """What it does, for users."""
    default: Number
    """An amount, or the index of an option."""
    lowest: Number
    highest: Number
    options: tuple[Value, ...] = ()
    """What can be chosen; empty for amounts."""

    @property
    def allowed(self) -> str:
        """What it may be, in words."""
        if self.options:
            return f"one of {list(self.options)}"
        article = "a whole number" if isinstance(self.default, int) else "a number"
        return f"{article} from {self.lowest} to {self.highest}"

    def meaning(self, number: Number) -> Value:
        """Return what a sum of deltas means, clipped to the range."""
        clipped = min(max(number, self.lowest), self.highest)
        if self.options:
            return self.options[int(clipped)]
        return round(clipped, 4) if isinstance(self.default, float) else int(clipped)

    def number(self, value: Value) -> Number:
        """Return the sum of deltas that means `value`. Raises SpecError with what is allowed."""
        if self.options:
            if value not in self.options:
                raise SpecError(f"{self.name} = {value!r}: it is {self.allowed}")
            return self.options.index(value)
        wanted = (int,) if isinstance(self.default, int) else (int, float)
        is_number = isinstance(value, wanted) and not isinstance(value, bool)
        if not is_number or not self.lowest <= value <= self.highest:  # type: ignore[operator]
            raise SpecError(f"{self.name} = {value!r}: it is {self.allowed}")
        return value  # type: ignore[return-value]


def _whole(name: str, default: int, lowest: int, highest: int, about: str) -> Setting:
    return Setting(name=name, about=about, default=default, lowest=lowest, highest=highest)


def _real(name: str, default: float, lowest: float, highest: float, about: str) -> Setting:
    return Setting(name=name, about=about, default=default, lowest=lowest, highest=highest)


def _choice(name: str, options: tuple[Value, ...], about: str, default: int = 0) -> Setting:
    highest = len(options) - 1
    return Setting(
        name=name, about=about, default=default, lowest=0, highest=highest, options=options
    )


_BODIES = ("encoder_decoder", "pyramid", "atrous_pyramid", "dilated_block", "block")
_NORM = "of activations; with instance and group a voxel depends on its whole tile"
_CARRIED = ("maps+features", "maps+image", "maps+features+image", "maps")

SETTINGS: dict[str, Setting] = {
    setting.name: setting
    for setting in (
        _choice("dimensions", (2, 3), "2: sections one by one; 3: the whole patch at once"),
        _choice("body", _BODIES, "the module between a network's input and its predictor"),
        _whole("levels", 2, 0, 8, "times that an encoder halves the resolution"),
        _whole("convolutions", 2, 1, 12, "convolutions of a block"),
        _whole("blocks", 3, 1, 8, "blocks of a dilated block, each dilated twice the one before"),
        _whole("paths", 3, 1, 6, "parallel paths of a pyramid"),
        _whole("width", 32, 1, 2048, "kernels of a convolution at full resolution"),
        _real("growth", 2.0, 1.0, 3.0, "factor of the width from one resolution to the next"),
        _whole("widest", 1024, 1, 4096, "largest width at any resolution"),
        _choice("form", ("plain", "residual", "dense"), "how a block's convolutions are joined"),
        _whole("mixed", 0, 0, 9, "finest resolutions whose blocks open with a 3x3x3 convolution"),
        _choice("bottom", ("block", "dilated_block", "atrous_pyramid"), "the coarsest module"),
        _choice("kernel", (1, 3, 5, 7), "size of a kernel in y, voxels", 1),
        _choice("kernel_x", ("same", 1, 3, 5, 7), "size of a kernel in x; same: that in y"),
        _choice(
            "kernel_z",
            (1, "led", 3, 5),
            "size of a kernel in z; led: 1 at the `thin` finest resolutions, else 3",
            1,
        ),
        _whole("thin", 0, 0, 9, "finest resolutions at which z is led to be left alone"),
        _choice(
            "pool_z", ("never", "led", "always"), "whether z is pooled; led: from `thin` on", 1
        ),
        _whole("dilation", 1, 1, 16, "spacing of a kernel's taps, voxels"),
        _choice("normalisation", ("none", "batch", "instance", "group"), _NORM, 1),
        _choice("activation", ("relu", "leaky_relu", "elu", "silu", "gelu"), "of convolutions"),
        _choice("dropout", (0.0, 0.1, 0.2, 0.3, 0.5), "part of the channels that an edge drops"),
        _choice("pool", ("max", "average", "strided"), "how resolution is halved"),
        _choice("upsample", ("transposed", "interpolated"), "how resolution is doubled"),
        _choice("skip", ("merge", "residual"), "whether skips are concatenated or added"),
        _choice("combine", ("add", "merge"), "whether paths are added or concatenated"),
        _choice("share", ("no", "yes"), "whether paths of an atrous pyramid share weights"),
        _choice("crf", ("no", "yes"), "whether a CRF-RNN refines the predictor's output"),
        _whole("crf_iterations", 3, 1, 10, "mean-field iterations of a CRF-RNN"),
        _whole("crf_radius", 3, 1, 7, "reach of a CRF-RNN's window in y and x, voxels"),
        _real("aspect", 1.0, 0.1, 100.0, "size of a voxel in z over its size in y and x"),
        _choice("coupling", ("joint", "cascade"), "whether gradients cross into a 2-D stage"),
        _real("auxiliary", 0.33, 0.0, 1.0, "weight of the loss on a 2-D stage's own output"),
        _choice("carries", _CARRIED, "what a 2-D stage hands to the 3-D stage"),
    )
}
"""Every setting by name: the catalogue."""


def find_setting(name: str) -> Setting:
    """Return the setting called `name`. Raises SpecError that lists those there are."""
    if name not in SETTINGS:
        raise SpecError(f"no setting {name!r}; known settings: {', '.join(sorted(SETTINGS))}")
    return SETTINGS[name]


class Inherited:
    """The settings at one place of a tree."""

    __slots__ = ("sums", "values")

    def __init__(self, sums: dict[str, Number], values: dict[str, Any]) -> None:
        self.sums = sums
        """Default plus deltas so far, by name; not clipped."""
        self.values = values
        """What these sums mean, by name: amounts as numbers, choices as options."""

    def below(self, deltas: Iterable[tuple[str, Number]]) -> "Inherited":
        """Return the settings at a node with these deltas. Raises SpecError for unknown names."""
        sums, values = self.sums.copy(), self.values.copy()
        for name, delta in deltas:
            if name not in sums:
                find_setting(name)  # raises, and says which settings there are
            sums[name] += delta
            values[name] = SETTINGS[name].meaning(sums[name])
        return Inherited(sums, values)

    @classmethod
    def defaults(cls) -> "Inherited":
        """Return what holds above the root; it is shared, and nothing changes it."""
        return _DEFAULTS


def _defaults() -> Inherited:
    sums = {name: setting.default for name, setting in SETTINGS.items()}
    return Inherited(sums, {name: SETTINGS[name].meaning(total) for name, total in sums.items()})


_DEFAULTS = _defaults()
