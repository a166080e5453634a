"""Networks with a name: those that the group published, and the baseline."""

from collections.abc import Callable
from dataclasses import dataclass

from emsearch.errors import SpecError
from emsearch.trees.arithmetic import Limits, Target
from emsearch.trees.baseline import baseline
from emsearch.trees.grow import Sketch, grown
from emsearch.trees.node import Tree
from emsearch.trees.settings import Value

__all__ = ["PRESETS", "Preset", "find_preset"]

Zyx = tuple[int, int, int]
Maker = Callable[[Target, Limits], Tree]


@dataclass(frozen=True, kw_only=True, slots=True)
class Preset:
    """A network with a name."""

    about: str
    channels: int
    """Channels of the image that it was made for."""
    patch_zyx: Zyx
    """Patch that it was made for."""
    make: Maker
    """From a target and limits to the tree; only the baseline heeds them."""


def _fixed(name: str, sketch: Sketch) -> Maker:
    return lambda _target, _limits: Tree(name, grown(sketch))


_PLAIN: dict[str, Value] = {"normalisation": "none", "activation": "relu", "pool_z": "never"}
_UNET: dict[str, Value] = {"dimensions": 2, "levels": 4, "width": 64}


def _published(deep_convolutions: int) -> Sketch:
    """Return the 2D-3D+3x3x3 network of 2021 with so many convolutions at half resolution."""
    planar: dict[str, Value] = {"levels": 3, "mixed": 2, "kernel_z": 1}
    volumetric: dict[str, Value] = {
        "body": "pyramid",
        "paths": 2,
        "kernel_z": 3,
        "convolutions": 3,
    }
    deep = Sketch(kind="block", values={"convolutions": deep_convolutions})
    pyramid = Sketch(kind="pyramid", inside={2: deep})
    return Sketch(
        kind="hybrid",
        values={**_PLAIN, "dimensions": 3, "width": 64, "carries": "maps+features"},
        inside={
            0: Sketch(kind="network", values=planar),
            2: Sketch(kind="network", values=volumetric, inside={0: pyramid}),
        },
    )


def _poster() -> Sketch:
    """Return the poster's network: a 2-D U-Net, a 3-level 3-D pyramid, a CRF-RNN."""
    # The deepest path has 72 kernels at quarter resolution: 18 doubled twice.
    paths = {
        0: Sketch(kind="block", values={"convolutions": 2}),
        2: Sketch(kind="block", values={"convolutions": 4}),
        5: Sketch(kind="block", values={"convolutions": 6, "width": 18}),
    }
    pyramid = Sketch(kind="pyramid", inside=paths)
    volumetric: dict[str, Value] = {
        "dimensions": 3,
        "body": "pyramid",
        "paths": 3,
        "width": 24,
        "kernel_z": 3,
        "crf": "yes",
        "aspect": 4.0,
    }
    return Sketch(
        kind="hybrid",
        values={**_PLAIN, **_UNET, "carries": "maps+image"},
        inside={
            2: Sketch(kind="network", values=volumetric, inside={0: pyramid}),
        },
    )


_SMALL: dict[str, Value] = {
    "dimensions": 3,
    "body": "pyramid",
    "kernel_z": 3,
    "paths": 1,
    "convolutions": 1,
    "width": 19,
}

PRESETS: dict[str, Preset] = {
    "baseline": Preset(
        about="a residual U-Net fitted to voxel size, patch and limits",
        channels=1,
        patch_zyx=(1, 256, 256),
        make=baseline,
    ),
    "unet": Preset(
        about="the group's 2-D U-Net",
        channels=1,
        patch_zyx=(1, 512, 512),
        make=_fixed("unet", Sketch(kind="network", values={**_PLAIN, **_UNET})),
    ),
    "guay-2021": Preset(
        about="the published 2D-3D+3x3x3 network, pyramid of 3 and 7 convolutions",
        channels=1,
        patch_zyx=(5, 296, 296),
        make=_fixed("guay-2021", _published(7)),
    ),
    "guay-2020": Preset(
        about="the same with a pyramid of 3 and 5 convolutions",
        channels=1,
        patch_zyx=(5, 296, 296),
        make=_fixed("guay-2020", _published(5)),
    ),
    "pyramid-3d-small": Preset(
        about="one 3x3x3 convolution over stored 2-D predictions and the image",
        channels=8,
        patch_zyx=(6, 128, 128),
        make=_fixed(
            "pyramid-3d-small",
            Sketch(kind="network", values={**_PLAIN, **_SMALL}),
        ),
    ),
    "poster-2019": Preset(
        about="the poster's hybrid: 2-D U-Net over 6 sections, 3-D pyramid, CRF-RNN",
        channels=1,
        patch_zyx=(6, 512, 512),
        make=_fixed("poster-2019", _poster()),
    ),
}


def find_preset(name: str) -> Preset:
    """Return the preset called `name`. Raises SpecError that lists those there are."""
    if name not in PRESETS:
        raise SpecError(f"no preset {name!r}; known presets: {', '.join(PRESETS)}")
    return PRESETS[name]
