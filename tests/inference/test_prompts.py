"""Boxes, points and RECIST end points become prompts; a bad row is named."""

from pathlib import Path

import numpy as np
import pytest

from common.inference import prompts
from common.inference.prompts import BOX, ENDS, POINT, POINT_SIDE, Grid, check_mark
from common.utils.errors import UserError

SOURCE = Path("series/9.png")


def read_prompts(path, source, shape, axes=(0, 1, 2)):
    """The lesions of a single image or volume."""
    kind = "volume" if len(shape) > 2 else "slice"
    return prompts.read_prompts(path, [source], {source: Grid(shape, axes)}.__getitem__, kind)[source]


@pytest.fixture
def table(tmp_path):
    def write(*lines):
        path = tmp_path / "my lesions.csv"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return write


def test_three_ways_to_say_where_a_lesion_is(table):
    columns = ["lesion", *BOX, *POINT, *ENDS]
    first = "Läsion 1,10,20,30.5,40" + "," * 10
    second = "," * 5 + "50,60" + "," * 8
    third = "c" + "," * 7 + "9,30,21,4,12,8,15,33"
    path = table(",".join(columns), first, second, third)
    box, point, ends = read_prompts(path, SOURCE, (100, 200))
    assert box == ("Läsion 1", 0, 10, 20, 30.5, 40, None, None, 1)
    assert point == ("2", 0, 36.5, 46.5, 63.5, 73.5, (50, 60), None, 2)  # 28 px about (50, 60), named by its row
    assert point.right - point.left + 1 == POINT_SIDE == 28
    assert ends[:7] == ("c", 0, 9, 4, 21, 33, None)
    assert ends.ends.tolist() == [[9, 30], [21, 4], [12, 8], [15, 33]]


def test_a_number_that_is_another_lesions_name_is_no_default_name(table):
    path = table("lesion,slice,x,y", "2,5,50,50", ",9,80,80")
    with pytest.raises(UserError, match=r"row 2 has no name, and another row is named 2; fill the column lesion"):
        read_prompts(path, SOURCE, (100, 200, 10))


@pytest.mark.parametrize("column", ["slice", "image", "File_name"])
def test_rows_of_other_images_are_left_out_and_told(column, table, capsys):
    assert len(read_prompts(table(f"{column},x,y", "9,5,6", "9,8,8"), SOURCE, (100, 200))) == 2
    assert capsys.readouterr().err == ""
    path = table(f"{column},x,y", "10,5,6", "9,8,8", "11,5,6")
    (prompt,) = read_prompts(path, SOURCE, (100, 200))
    assert (prompt.lesion, prompt.row, prompt.point) == ("2", 2, (8, 8))
    assert capsys.readouterr().err == f"{path} names 10, 11, not given: 2 of 3 rows are left out\n"


@pytest.mark.parametrize("column", ["volume", "Image", "file_name"])
def test_rows_are_given_to_the_volume_that_they_name(column, table, capsys):
    one, two, three = (Path(f"ct/volume-{number}.nii") for number in (1, 12, 3))
    path = table(f"{column},slice,x,y", "12,5,6,7", "volume-1.nii,6,8,8", "CT/Volume-12,4,9,9", "12,6,6,7")
    grids = {one: Grid((100, 200, 10)), two: Grid((20, 30, 10))}  # the size of one without rows is not read
    found = prompts.read_prompts(path, [one, two, three], grids.__getitem__, "volume")
    assert {file: [(p.lesion, p.slice, p.row) for p in own] for file, own in found.items()} == {
        one: [("2", 6, 2)],
        two: [("1", 5, 1), ("3", 4, 3), ("4", 6, 4)],
    }
    assert capsys.readouterr().err == f"{path} has no row for ct/volume-3.nii; left out\n"
    with pytest.raises(UserError, match=r"row 2 after the header: it lies outside the image of 8 columns and 8 rows"):
        prompts.read_prompts(path, [one, two], (grids | {one: Grid((8, 8, 10))}).__getitem__, "volume")


@pytest.mark.parametrize(
    ("cells", "sentence"),
    [
        (
            ["ct"],
            r"row 1 after the header: ct may be p1/ct\.nii or p2/ct\.nii; write the volume's name, with",
        ),
        (["p1/ct", ""], r"row 2 after the header: it may be p1/ct\.nii or p2/ct\.nii; write the volume's name"),
        (["p3/ct"], r"names p3/ct, and the 2 volumes given are others; pass the volume that .*, or correct the names"),
    ],
)
def test_a_row_that_may_be_about_several_volumes_is_refused(cells, sentence, table):
    path = table("volume,slice,x,y", *(f"{cell},{number},6,7" for number, cell in enumerate(cells)))
    with pytest.raises(UserError, match=sentence):
        prompts.read_prompts(path, [Path("p1/ct.nii"), Path("p2/ct.nii")], lambda _: Grid((9, 9, 9)), "volume")


def test_a_row_without_a_name_among_rows_of_others_is_refused(table):
    path = table("volume,slice,x,y", "volume-1,1,6,7", ",2,6,7", "volume-4,1,6,7")  # as where cells are merged
    with pytest.raises(UserError, match=r"row 2 after the header: it names no volume, as other rows do; fill the"):
        read_prompts(path, Path("volume-4.nii"), (9, 9, 9))


def test_cells_of_a_row_must_agree(table):
    inputs = [Path("1_01/108.png"), Path("1_01/109.png")]
    for slice_, right in (("109", True), ("108", False)):
        path = table("file_name,slice,x,y", f"1_01_109.png,{slice_},5,6")
        if right:
            assert list(prompts.read_prompts(path, inputs, lambda _: Grid((9, 9)), "slice")) == inputs[1:]
            continue
        sentence = "row 1 after the header: file_name names 1_01_109.png, but slice names 108; correct one of them"
        with pytest.raises(UserError, match=sentence):
            prompts.read_prompts(path, inputs, lambda _: Grid((9, 9)), "slice")
    path = table("image,slice,x,y", "key,109,5,6")  # a name without a number says nothing against one
    assert len(read_prompts(path, Path("1_01/key.png"), (100, 200))) == 1


def test_rows_without_a_name_are_compared_within_their_volume(table):
    path = table("volume,lesion,slice,x,y", "1,,0,5,6", "2,1,0,5,6", "2,2,1,5,6")
    found = prompts.read_prompts(path, [Path("ct-1.nii"), Path("ct-2.nii")], lambda _: Grid((9, 9, 9)), "volume")
    assert [[prompt.lesion for prompt in own] for own in found.values()] == [["1"], ["1", "2"]]


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("series/9.png", "9"), ("series/009.png", "9.0"), ("series/9.png", "9.PNG"), ("1_01/109.png", "1_01_109.png"),
        ("1_01/109.png", "1_01_109"), ("x/1_01/109.png", "x\\1_01\\109.png"), ("volume-4.nii.gz", "4"),
        ("volume-4.nii.gz", "volume-4"), ("data/volume-4.nii", "data/volume-4.nii"), ("1.2.png", "1.2"),
        ("volume-4.nii.gz", "Volume-4.nii"), ("p1/ct.nii.gz", "p1/ct"),
        ("Images_png/1_01/109.png", "Images_png\\1_01_109"),
    ],
)  # fmt: skip
def test_rows_may_name_the_input(source, name, table):
    assert read_prompts(table("image,x,y", f"{name},5,6"), Path(source), (100, 200))


@pytest.mark.parametrize(
    ("source", "shape", "column", "name"),
    [
        ("1_01/106.png", (100, 200), "file_name", "1_01_109.png"),
        ("1_01/106.png", (100, 200), "slice", "109"),
        ("1_01/109.png", (100, 200), "image", "2_01_109.png"),
        ("volume-4.nii.gz", (100, 200, 5), "volume", "volume-1"),
        ("volume-4.nii.gz", (100, 200, 5), "volume", "1"),
        ("p1/ct.nii.gz", (100, 200, 5), "volume", "p2/ct.nii.gz"),
        ("ct.png", (100, 200), "slice", "7"),
    ],
)
def test_rows_about_another_input_are_refused(source, shape, column, name, table):
    path = table(f"{column},x,y,{'slice' if len(shape) == 3 else 'note'}", f"{name},5,6,3")
    remedy = "leave the folders out" if "/" in name else "remove the column"
    with pytest.raises(UserError, match=f"names {name}, and {source} is given; pass the .* are about, or {remedy}$"):
        read_prompts(path, Path(source), shape)


def test_a_points_box_ends_at_the_border(table):
    (box,) = read_prompts(table("x,y", "0,99"), SOURCE, (100, 200))
    assert np.argwhere(box.place((100, 200))).tolist() == [[99, 0]]  # the point itself, not the box's middle
    assert box == ("1", 0, 0, 85.5, 13.5, 99, (0, 99), None, 1)


def test_headers_may_have_capitals_spaces_and_a_byte_order_mark(table):
    path = table("\ufeffX, Y", "5,6")
    assert read_prompts(path, SOURCE, (100, 200))[0].left == 0


def test_a_volume_needs_slices_and_an_image_does_not(table):
    path = table("lesion,slice,x,y", "a,3,50,50", "a,4,50,50")
    assert [(box.lesion, box.slice) for box in read_prompts(path, SOURCE, (100, 100, 5))] == [("a", 3), ("a", 4)]
    path = table("lesion,x,y", "a,50,50", "a,50,51")
    with pytest.raises(UserError, match="row 2 after the header: the lesion a is there twice"):
        read_prompts(path, SOURCE, (100, 100))


@pytest.mark.parametrize(
    ("header", "row", "wrong"),
    [
        ("x,y", "5", "y is missing"),
        ("x,y", "five,6", "x is 'five', not a number"),
        ("x,y", "nan,6", "x is 'nan', not a number"),
        ("x,y", "1e300,6", "not a number"),
        ("x,y", "-1,6", "outside the image of 200 columns and 100 rows"),
        ("x,y", "5,100", "outside the image"),
        ("column;row", "5;6", "it must fill left,top,right,bottom or x,y or x1,y1 to x4,y4"),
        ("x,y,left,top,right,bottom", "5,6,1,2,3,4", "only one of them"),
        ("left,top,right,bottom", "9,2,3,4", "left is beyond right"),
        ("left,top,right,bottom", "1,2,3,", "bottom is missing"),
        ("left,top,right,bottom", "1,2,200,4", "outside the image"),
        ("x1,y1,x2,y2", "1,2,3,4", "x3 is missing"),
    ],
)
def test_a_bad_row_is_one_sentence_with_its_number(table, header, row, wrong):
    good = {"x,y": "5,6", "left,top,right,bottom": "1,2,3,4"}.get(header)
    path = table(header, *([good] if good else []), row)
    with pytest.raises(UserError, match=wrong) as caught:
        read_prompts(path, SOURCE, (100, 200))
    assert str(caught.value).startswith(f"{path}, row {2 if good else 1} after the header: ")


@pytest.mark.parametrize("index", ["", "1.5", "-1", "5", "x"])
def test_a_slice_must_be_one_of_the_volumes(table, index):
    with pytest.raises(UserError, match="slice"):
        read_prompts(table("slice,x,y", f"{index},5,6"), SOURCE, (100, 200, 5))


@pytest.mark.parametrize(
    ("axes", "slice_", "row", "column"),
    [((0, 1, 2), 3, 50, 60), ((1, 2, 0), 50, 60, 3), ((2, 1, 0), 50, 3, 60)],
)
def test_i_j_k_are_a_voxel_of_the_file(table, axes, slice_, row, column):
    ((prompt),) = read_prompts(table("i,j,k", "50,60,3"), SOURCE, [(100, 80, 70)[axis] for axis in (0, 1, 2)], axes)
    assert (prompt.slice, prompt.top, prompt.left) == (slice_, max(row - 13.5, 0), max(column - 13.5, 0))


@pytest.mark.parametrize(
    ("header", "row", "wrong"),
    [
        ("i,j,k,x,y", "1,2,3,4,5", "it fills both i,j,k and x,y,slice"),
        ("i,j,k,slice", "1,2,3,3", "it fills both i,j,k and x,y,slice"),
        ("i,j,k,left,top,right,bottom", "1,2,3,1,2,3,4", "only one of them"),
        ("i,j,k", "1,,3", "j is missing"),
        ("i,j,k", "1,two,3", "j is 'two', not a number"),
        ("i,j,k", "1,2,5", "slice 5 is not one of the volume's, 0 to 4"),
        ("i,j,k", "100,2,3", "outside the image of 200 columns and 100 rows"),
        ("i,j,k", "1,2,2.5", "slice 2.5 is not one of"),
    ],
)
def test_a_bad_voxel_is_one_sentence(table, header, row, wrong):
    with pytest.raises(UserError, match=wrong):
        read_prompts(table(header, row), SOURCE, (100, 200, 5))


def test_an_image_has_no_voxels(table):
    with pytest.raises(UserError, match="it must fill left,top,right,bottom or x,y or x1"):
        read_prompts(table("i,j,k", "1,2,3"), SOURCE, (100, 200))


def test_a_table_without_rows(table):
    with pytest.raises(UserError, match="names no lesion"):
        read_prompts(table("x,y"), SOURCE, (100, 200))


def test_a_prompt_draws_its_place(table):
    box, point = read_prompts(table("left,top,right,bottom,x,y", "3,1,5.5,2,,", ",,,,40,30"), SOURCE, (60, 70))
    assert np.argwhere(box.place((60, 70))).tolist() == [[y, x] for y in (1, 2) for x in (3, 4, 5)]
    assert np.argwhere(point.place((60, 70))).tolist() == [[30, 40]]


def test_diameters_that_do_not_cross_are_one_sentence():
    around = np.array([[10, 50], [60, 10], [90, 50], [50, 80]], float)  # left, top, right, bottom
    with pytest.raises(
        UserError, match="row 3 has diameters that don't cross; x1,y1 and x2,y2 must be the ends of one"
    ):
        check_mark(around, "row 3")
    check_mark(around[[0, 2, 1, 3]], "row 3")
    check_mark(np.array([[10, 50], [90, 50], [12, 54], [12, 90]], float), "row 3")  # nearly


def test_end_points_are_kept_with_the_long_diameter_first(table):
    path = table("slice," + ",".join(ENDS), "2,5,3,5,9,1,6,31,6")  # 6 px, then 30 px
    (prompt,) = read_prompts(path, SOURCE, (100, 200, 5))
    assert prompt[1:6] == (2, 1, 3, 31, 9)
    assert prompt.ends.tolist() == [[1, 6], [31, 6], [5, 3], [5, 9]]
    check_mark(prompt.ends, "row 1")


@pytest.mark.parametrize(
    ("ends", "wrong"),
    [
        (None, "row 3 gives no RECIST end points; --target quarters and checkpoints trained with --prompt recist need"),
        (
            [[5, 5], [9, 9], [2, 1], [3, 2]],
            "row 3 has diameters that are parallel or without length; .* need end points, in x1,y1 to x4,y4",
        ),
        ([[5, 5], [9, 9], [7, 7], [7, 7]], "row 3 has diameters that are parallel or without length"),
    ],
)
def test_what_is_no_mark_is_one_sentence(ends, wrong):
    with pytest.raises(UserError, match=wrong):
        check_mark(None if ends is None else np.array(ends, float), "row 3")
