"""A lesion's arrays, as they are written."""

import numpy as np

from common.data.lesion import Lesion
from common.recist import Ellipse


def test_arrays_are_named_after_their_files_and_left_out_where_unknown():
    image, mask = np.zeros((120, 120, 3), np.uint8), np.ones((120, 120), np.uint8)
    ends = np.arange(8.0).reshape(4, 2)
    lesion = Lesion("a", "patient 1", image, mask, Ellipse(1, 2, 3, 4, 5), ends, truth=mask)
    arrays = lesion.arrays()
    assert arrays.keys() == {"images", "ellipse", "truth", "recist", "ends"}
    assert (arrays["recist"].dtype, arrays["ends"].dtype) == (np.float32, np.float32)
    assert arrays["recist"].tolist() == [1, 2, 3, 4, 5]
