"""Shapes and textures of the phantoms."""

import numpy as np
import pytest

from common.data.phantom import blob, smooth_noise, soften


@pytest.mark.parametrize("scale", [1, 8, 60])
def test_noise_is_standardised_and_as_smooth_as_its_scale(scale):
    field = smooth_noise((150, 200), scale, np.random.default_rng(0))
    assert field.shape == (150, 200)
    assert field.mean() == pytest.approx(0, abs=1e-5)
    assert field.std() == pytest.approx(1, abs=1e-4)
    assert np.abs(np.diff(field, axis=0)).mean() < 1.2 / scale


def test_a_blob_without_roughness_is_its_ellipse():
    mask = blob((100, 100), (50, 40), (30, 20), 0, 0.0, np.random.default_rng(0))
    assert mask.sum() == pytest.approx(np.pi * 30 * 20, rel=0.05)
    assert mask[40, 79] == 1
    assert mask[40, 82] == mask[62, 50] == 0


def test_softening_keeps_the_middle_and_blurs_the_border():
    mask = blob((100, 100), (50, 50), (30, 30), 0, 0.0, np.random.default_rng(0))
    soft = soften(mask, 4)
    assert soft[50, 50] == pytest.approx(1, abs=1e-3)
    assert 0.3 < soft[50, 80] < 0.7
