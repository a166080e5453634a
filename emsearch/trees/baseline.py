"""The fixed network that every search must beat: a residual U-Net fitted to data and device.

It follows nnU-Net (Isensee 2021): halve until the lowest resolution is small, leave z alone while
voxels are longer in z, 32 kernels at full resolution, doubled at each step up to a cap. Unlike
there, normalisation is fixed at inference: a voxel's prediction must not depend on its tile.
"""

from emsearch.errors import SpecError
from emsearch.trees.arithmetic import Limits, Target
from emsearch.trees.fit import Misfit, find_misfit, levels_within, thin_for
from emsearch.trees.grow import Sketch, grown
from emsearch.trees.node import Tree

__all__ = ["baseline"]

FAMILY = "baseline"
WIDTHS = (32, 24, 16, 12, 8, 6, 4)
"""Kernels at full resolution: the most that fit are taken."""
MOST_LEVELS = 5
FEWEST_LEVELS = 3
"""Halvings below which width is given up first."""


def baseline(target: Target, limits: Limits) -> Tree:
    """Return the residual U-Net that fits target and limits best.

    Shallower networks are tried before narrower ones, down to a depth that still sees a cell: where
    parameters are scarce, those of the lowest resolutions are worth least. Raises SpecError where
    none fits.
    """
    most = min(levels_within(target.patch_zyx), MOST_LEVELS)
    misfit: Misfit | None = None
    least = max(min(FEWEST_LEVELS, most), 1)
    extents = [(w, levels) for w in WIDTHS for levels in range(most, least - 1, -1)]
    extents += [(WIDTHS[-1], levels) for levels in range(least - 1, 0, -1)]
    for width, levels in extents:
        tree = _residual_unet(target, levels, width)
        misfit = find_misfit(tree.plan(), target, limits)
        if misfit is None:
            return tree
    raise SpecError(
        f"no baseline fits a patch of {target.patch_zyx}:"
        f" {misfit.message if misfit else 'it cannot be halved in y and x'}"
    )


def _residual_unet(target: Target, levels: int, width: int) -> Tree:
    is_flat = target.patch_zyx[0] == 1
    sketch = Sketch(
        kind="network",
        values={
            "dimensions": 2 if is_flat else 3,
            "levels": levels,
            "width": width,
            "widest": 512 if is_flat else 320,
            "form": "residual",
            "pool": "strided",
            "thin": 0 if is_flat else thin_for(target, levels),
            "activation": "leaky_relu",
            "normalisation": "batch",
        },
    )
    return Tree(FAMILY, grown(sketch))
