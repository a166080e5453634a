"""Each augmentation does what it says: to the image, and to the labels where it moves voxels."""

from dataclasses import fields

import numpy as np
import pytest
import torch
from torch import Tensor

from emsearch.errors import SpecError
from emsearch.records.policy import Policy
from emsearch.volumes.augment import GREY, PROBABILITY, augment
from emsearch.volumes.augment_geometry import mirror_and_turn, warp
from emsearch.volumes.chance import Chance
from emsearch.volumes.sheet import augmented_alone

NAMES = [field.name for field in fields(Policy)]
MOVES = ("affine", "elastic", "misalign")


@pytest.fixture
def patches() -> tuple[Tensor, Tensor]:
    """Smooth stacks whose labels follow from the grey values: 1 where bright."""
    z, y, x = torch.meshgrid(*(torch.arange(n) for n in (5, 64, 64)), indexing="ij")
    image = torch.sin(x / 7.0) + torch.cos(y / 9.0 + z / 3.0) + 0.01 * x
    image = torch.stack([image, -image])[:, None].float()
    return image, (image[:, 0] > 0.3).long()


def chance(seed: int = 0) -> Chance:
    return Chance(seed, torch.device("cpu"))


def test_strength_0_changes_nothing(patches: tuple[Tensor, Tensor]) -> None:
    image, labels = augment(*patches, strength=0, seed=1)
    assert image.equal(patches[0])
    assert labels.equal(patches[1])


def test_a_batch_is_a_function_of_the_seed(patches: tuple[Tensor, Tensor]) -> None:
    state = torch.random.get_rng_state()
    one, other = (augment(*patches, strength=1, seed=5) for _ in range(2))
    assert one[0].equal(other[0])
    assert one[1].equal(other[1])
    assert not one[0].equal(augment(*patches, strength=1, seed=6)[0])
    assert torch.random.get_rng_state().equal(state)


@pytest.mark.parametrize("shape", [(3, 1, 1, 40, 40), (2, 1, 6, 32, 48), (1, 2, 3, 16, 16)])
@pytest.mark.parametrize("strength", [0.3, 1.0, 3.0])
def test_shape_type_and_finiteness_stay(shape: tuple[int, ...], strength: float) -> None:
    image = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    labels = torch.ones((shape[0], *shape[2:]), dtype=torch.int64)
    for seed in range(30):
        changed, moved = augment(image, labels, strength, seed)
        assert changed.shape == shape
        assert changed.dtype == image.dtype
        assert changed.isfinite().all()
        assert moved.shape == labels.shape
        assert moved.dtype == labels.dtype
        assert set(moved.flatten().tolist()) <= {-1, 1}


def test_the_patches_given_stay_as_they_are(patches: tuple[Tensor, Tensor]) -> None:
    image, labels = patches[0].clone(), patches[1].clone()
    for seed in range(20):
        augment(image, labels, 2.0, seed)
    for name in NAMES:
        augmented_alone(image, labels, name, 1.0, seed=3)
    assert image.equal(patches[0])
    assert labels.equal(patches[1])


@pytest.mark.parametrize("name", NAMES)
def test_each_augmentation_changes_the_image(name: str, patches: tuple[Tensor, Tensor]) -> None:
    changed = [augmented_alone(*patches, name, 1.0, seed)[0] for seed in range(10)]
    assert sum(not image.equal(patches[0]) for image in changed) >= 8


@pytest.mark.parametrize("name", NAMES)
def test_a_policy_of_0_leaves_an_augmentation_out(
    name: str, patches: tuple[Tensor, Tensor]
) -> None:
    nothing = dict.fromkeys(NAMES, 0.0)
    for seed in range(20):
        image, _ = augment(*patches, 1.0, seed, Policy(**nothing))
        assert image.equal(patches[0])
    strong = Policy(**{**nothing, name: 1.0})
    images = [augment(*patches, 1.0, seed, strong)[0] for seed in range(60)]
    assert any(not image.equal(patches[0]) for image in images)


def test_a_strength_below_0_is_refused() -> None:
    with pytest.raises(SpecError, match="augmentation blur is below 0"):
        Policy(blur=-1)


def test_every_augmentation_has_its_probability() -> None:
    assert {*PROBABILITY} == {*NAMES} - {"mirror"}
    assert {*PROBABILITY} == {*GREY, *MOVES}


def test_reflections_and_turns_reach_all_sixteen_views_with_their_labels() -> None:
    image = torch.arange(2 * 3 * 3.0).reshape(1, 1, 2, 3, 3)
    views = set()
    for seed in range(300):
        turned, labels = mirror_and_turn(image, image[:, 0].long(), 1.0, chance(seed))
        assert turned[:, 0].long().equal(labels)
        views.add(tuple(turned.flatten().tolist()))
    assert len(views) == 16


def test_patches_that_are_not_square_are_only_reflected() -> None:
    image = torch.arange(2 * 3 * 4.0).reshape(1, 1, 2, 3, 4)
    views = {
        tuple(mirror_and_turn(image, image[:, 0], 1.0, chance(seed))[0].flatten().tolist())
        for seed in range(200)
    }
    assert len(views) == 8


@pytest.mark.parametrize("name", MOVES)
def test_labels_move_with_the_image(name: str, patches: tuple[Tensor, Tensor]) -> None:
    for seed in range(8):
        image, labels = augmented_alone(*patches, name, 1.0, seed)
        known = labels >= 0
        assert known.float().mean() > 0.5
        agree = (image[:, 0] > 0.3).long()[known] == labels[known]
        assert agree.float().mean() > 0.97  # all but voxels at a border
        before = (patches[0][:, 0] > 0.3).long()[known] == labels[known]
        assert agree.float().mean() > before.float().mean()


def test_moves_are_made_in_one_resampling(patches: tuple[Tensor, Tensor]) -> None:
    strengths = {name: [1.0, 0.0] for name in MOVES}
    image, labels = warp(*patches, strengths, chance())
    assert not image[0].equal(patches[0][0])
    assert image[1].equal(patches[0][1])
    assert labels[1].equal(patches[1][1])


def test_a_warp_of_nothing_gives_back_the_same_grey_values(patches: tuple[Tensor, Tensor]) -> None:
    tiny = {"affine": [1e-9] * 2, "elastic": [0.0] * 2, "misalign": [1e-9] * 2}
    image, labels = warp(*patches, tiny, chance())
    assert torch.allclose(image, patches[0], atol=1e-4)
    assert (labels == patches[1]).float().mean() > 0.99


def test_elastic_moves_are_the_same_in_all_sections() -> None:
    section = torch.randn(1, 1, 1, 48, 48, generator=torch.Generator().manual_seed(0))
    image = section.expand(1, 1, 4, 48, 48).clone()
    bent, _ = augmented_alone(image, image[:, 0].long(), "elastic", 1.0, 0)
    assert (bent == bent[:, :, :1]).all()


def test_misalignment_shifts_some_sections_against_the_rest() -> None:
    section = torch.randn(1, 1, 1, 48, 48, generator=torch.Generator().manual_seed(0))
    image = section.expand(1, 1, 6, 48, 48).clone()
    moved_sections = set()
    for seed in range(20):
        moved, _ = augmented_alone(image, image[:, 0].long(), "misalign", 1.0, seed)
        is_moved = [not torch.allclose(moved[0, 0, z], image[0, 0, z], atol=1e-4) for z in range(6)]
        assert not is_moved[0]
        moved_sections.add(tuple(is_moved))
    assert {sum(sections) for sections in moved_sections} >= {1, 3}


def test_brightness_and_contrast_differ_by_section(patches: tuple[Tensor, Tensor]) -> None:
    changed = GREY["contrast"](patches[0], 1.0, chance())
    for number in range(2):
        lines = [
            np.polyfit(patches[0][number, 0, z].flatten(), changed[number, 0, z].flatten(), 1)
            for z in range(5)
        ]
        slopes = [float(line[0]) for line in lines]
        assert all(0.4 < slope < 2.5 for slope in slopes)
        assert len({round(slope, 4) for slope in slopes}) == 5


def test_gamma_keeps_order_and_range(patches: tuple[Tensor, Tensor]) -> None:
    changed = GREY["gamma"](patches[0], 1.0, chance())
    before, after = patches[0][0, 0, 2].flatten(), changed[0, 0, 2].flatten()
    assert (after[before.argsort()].diff() >= -1e-5).all()
    assert after.min() == pytest.approx(float(before.min()), abs=1e-5)
    assert after.max() == pytest.approx(float(before.max()), abs=1e-5)


def test_blur_keeps_the_mean_and_smooths() -> None:
    image = torch.randn(1, 1, 2, 64, 64, generator=torch.Generator().manual_seed(0))
    blurred = GREY["blur"](image, 1.0, chance())
    assert float(blurred.mean()) == pytest.approx(float(image.mean()), abs=0.02)
    assert blurred.std() < 0.8 * image.std()
    dot = torch.zeros(1, 1, 3, 9, 9)
    dot[0, 0, 1, 4, 4] = 1
    assert (GREY["blur"](dot, 1.0, chance())[0, 0, 0] == 0).all()  # in the plane only


def test_gaussian_noise_grows_with_strength() -> None:
    image = torch.zeros(1, 1, 1, 128, 128)
    weak, strong = (GREY["noise"](image, strength, chance()) for strength in (0.5, 1.5))
    assert float(strong.std()) == pytest.approx(3 * float(weak.std()), rel=1e-3)
    assert abs(float(weak.mean())) < 0.01


def test_shot_noise_is_larger_where_it_is_brighter_and_keeps_the_mean() -> None:
    image = torch.ones(1, 1, 1, 100, 300)
    image[..., :100], image[..., 200:] = 0, 4
    noisy = GREY["poisson"](image, 1.0, chance())
    spread = [float(noisy[..., part].std()) for part in (slice(0, 100), slice(100, 200))]
    assert spread[0] == 0
    assert 0 < spread[1] < float(noisy[..., 200:].std())
    assert float(noisy[..., 200:].mean()) == pytest.approx(4, abs=0.05)


def test_stripes_run_along_one_direction_and_differ_by_section() -> None:
    image = torch.zeros(1, 1, 3, 40, 50)
    for seed in range(10):
        streaks = GREY["stripes"](image, 1.0, chance(seed))[0, 0]
        along_y = bool((streaks == streaks[:, :1]).all())
        along_x = bool((streaks == streaks[:, :, :1]).all())
        assert along_y != along_x
        assert not streaks[0].equal(streaks[1])


def test_cutout_blanks_a_small_part(patches: tuple[Tensor, Tensor]) -> None:
    for seed in range(10):
        cut = GREY["cutout"](patches[0], 1.0, chance(seed))
        part = float((cut != patches[0]).float().mean())
        assert 0 < part < 0.2


def test_a_missing_section_is_an_inner_one_and_blank(patches: tuple[Tensor, Tensor]) -> None:
    for seed in range(20):
        lost = GREY["missing_section"](patches[0], 1.0, chance(seed))
        blank = [bool((lost[0, 0, z] == lost[0, 0, z, 0, 0]).all()) for z in range(5)]
        assert sum(blank) == 1
        assert not blank[0]
        assert not blank[4]


def test_a_missing_part_is_less_than_half_of_one_section(patches: tuple[Tensor, Tensor]) -> None:
    for seed in range(20):
        lost = GREY["missing_part"](patches[0], 1.0, chance(seed))
        changed = (lost != patches[0])[0, 0].float().mean((1, 2))
        assert (changed > 0).sum() == 1
        assert 0 < changed.max() < 0.5


@pytest.mark.parametrize("name", ["missing_section", "missing_part"])
def test_a_single_section_is_never_lost(name: str) -> None:
    image = torch.randn(2, 1, 1, 16, 16)
    assert GREY[name](image, 3.0, chance()).equal(image)


def test_an_augmentation_meets_about_as_many_patches_as_it_says() -> None:
    image = torch.zeros(16, 1, 1, 8, 8)
    only = Policy(**{**dict.fromkeys(NAMES, 0.0), "noise": 1.0})
    met = [
        float((augment(image, image[:, 0].long(), 1.0, seed, only)[0] != 0).any((1, 2, 3, 4)).sum())
        for seed in range(60)
    ]
    assert sum(met) / (60 * 16) == pytest.approx(PROBABILITY["noise"], abs=0.05)
