"""Arrays written row by row: what NumPy reads back, and rows that do not fit."""

import numpy as np
import pytest

from common.data.arrays import ArrayWriter
from common.utils.errors import UserError


def test_rows_come_back_in_their_order(tmp_path):
    rows = [{"a": np.full((2, 3), number, np.uint16), "b": np.float32([number / 2])} for number in range(300)]
    with ArrayWriter(tmp_path) as writer:
        for row in rows:
            writer.append(row)
    for name in ("a", "b"):
        array = np.load(tmp_path / f"{name}.npy", mmap_mode="r")
        assert array.dtype == rows[0][name].dtype
        np.testing.assert_array_equal(array, np.stack([row[name] for row in rows]))


def test_the_digest_is_of_the_rows(tmp_path):
    def digest(*numbers: int) -> str:
        with ArrayWriter(tmp_path) as writer:
            for number in numbers:
                writer.append({"a": np.array([number])})
        return writer.digest.hexdigest()

    assert digest(1, 2) == digest(1, 2)
    assert len({digest(1, 2), digest(2, 1), digest(1)}) == 3


@pytest.mark.parametrize(("first", "second"), [("a", "ab"), ("ab", "a")])
def test_all_lesions_have_the_same_arrays(first, second, tmp_path):
    with ArrayWriter(tmp_path) as writer:
        writer.append(dict.fromkeys(first, np.zeros(2)))
        with pytest.raises(
            UserError, match="some lesions have b and others have not; give all the same arrays, an empty"
        ):
            writer.append(dict.fromkeys(second, np.zeros(2)))


@pytest.mark.parametrize("row", [np.zeros(3), np.zeros(2, np.float32)])
def test_a_row_of_another_shape_or_type_is_refused(tmp_path, row):
    with ArrayWriter(tmp_path) as writer:
        writer.append({"a": np.zeros(2)})
        with pytest.raises(UserError, match="some lesions have a of"):
            writer.append({"a": row})
