"""The synthetic HAM10000: the original layout, the same pixels for the same seed."""

import cv2
import numpy as np

import HAM_data
import HAM_phantom


def test_the_layout_is_the_datasets(phantom_ham):
    pairs, dropped, metadata = HAM_data.find_pairs(phantom_ham)
    assert len(pairs) == 40
    assert not dropped
    assert metadata == [phantom_ham / "HAM10000_metadata.csv"]
    assert len({pair.lesion_id for pair in pairs}) == 36
    assert {pair.image.parent.name for pair in pairs} == set(HAM_phantom.IMAGE_FOLDERS)
    assert cv2.imread(str(pairs[0].image)).shape == (450, 600, 3)
    assert set(np.unique(cv2.imread(str(pairs[0].mask), 0))) == {0, 255}


def test_the_seed_decides():
    first, again, other = (HAM_phantom.draw_lesion(np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert (first[0] == again[0]).all()
    assert (first[0] != other[0]).any()


def test_lesions_are_darker_than_the_skin_around_them():
    for seed in range(5):
        image, mask = HAM_phantom.draw_lesion(np.random.default_rng(seed))
        assert image[mask > 0].mean() < image[mask == 0].mean() - 30
