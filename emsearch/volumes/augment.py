"""EM augmentation of a batch, on the device where it lies; a function of (patches, strength, seed).

Axes: B batch, C channel, Z Y X voxels.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from emsearch.records.policy import Policy
from emsearch.volumes import augment_grey as grey
from emsearch.volumes.augment_geometry import mirror_and_turn, warp_in_place
from emsearch.volumes.chance import Chance

__all__ = ["GREY", "PROBABILITY", "augment"]


PROBABILITY: dict[str, float] = {
    "affine": 0.3,
    "elastic": 0.25,
    "misalign": 0.2,
    "contrast": 0.6,
    "gamma": 0.3,
    "blur": 0.15,
    "noise": 0.25,
    "poisson": 0.1,
    "stripes": 0.1,
    "missing_section": 0.1,
    "missing_part": 0.1,
    "cutout": 0.1,
}
"""How often a patch meets each augmentation at strength 1; a lower strength meets fewer."""

GreyChange = Callable[[Tensor, float, Chance], Tensor]

GREY: dict[str, GreyChange] = {
    "blur": grey.blur,
    "contrast": grey.contrast,
    "gamma": grey.gamma,
    "poisson": grey.poisson,
    "noise": grey.noise,
    "stripes": grey.stripes,
    "cutout": grey.cutout,
    "missing_part": grey.missing_part,
    "missing_section": grey.missing_section,
}
"""Changes of grey values, in the order in which a microscope makes them; labels stay."""

_USUAL = Policy()


def augment(
    image_BCZYX: Tensor,
    labels_BZYX: Tensor,
    strength: float,
    seed: int,
    policy: Policy = _USUAL,
) -> tuple[Tensor, Tensor]:
    """Return changed patches of the same shape and type; strength 0 returns them as they are.

    Args:
        image_BCZYX: normalised grey values, float.
        labels_BZYX: class numbers, integer; voxels that come from beyond the patch become -1.
        strength: multiplies the policy's strengths.
        seed: all chance comes from it.
        policy: strength of each augmentation.
    """
    if strength == 0:
        return image_BCZYX, labels_BZYX
    chance = Chance(seed, image_BCZYX.device)
    with torch.no_grad():
        image_BCZYX, labels_BZYX = mirror_and_turn(
            image_BCZYX, labels_BZYX, strength * policy.mirror, chance
        )
        strengths = {
            name: [
                strength * getattr(policy, name) * met
                for met in chance.events(
                    PROBABILITY[name] * min(strength * getattr(policy, name), 1.0),
                    len(image_BCZYX),
                )
            ]
            for name in ("affine", "elastic", "misalign")
        }
        warp_in_place(image_BCZYX, labels_BZYX, strengths, chance)
        _change_grey(image_BCZYX, strength, policy, chance)
        return image_BCZYX, labels_BZYX


def _change_grey(image_BCZYX: Tensor, strength: float, policy: Policy, chance: Chance) -> None:
    """Change the grey values of the patches themselves."""
    for name, change in GREY.items():
        power = strength * getattr(policy, name)
        met = chance.events(PROBABILITY[name] * min(power, 1.0), len(image_BCZYX))
        chosen = [number for number, is_met in enumerate(met) if is_met]
        if chosen:
            image_BCZYX[chosen] = change(image_BCZYX[chosen], power, chance)
