"""The packed full HAM10000 as a prepared folder."""

import numpy as np

import full_ham
import HAM_data
from common.data.dataset import LesionDataset
from helpers import golden_masks, iou


def test_the_package_is_what_preparing_gives(shared, tmp_path, ham_prepared):
    full_ham.unpack(shared / "data" / "ham10000_full120", tmp_path, clusters=20, limit=600)
    dataset = LesionDataset.open_for(tmp_path / "prepared", HAM_data.DATASET, "released", 20)
    names = {row["lesion"]: number for number, row in enumerate(dataset.lesions)}
    pairs = [
        (names[row["lesion"]], number) for number, row in enumerate(ham_prepared.lesions) if row["lesion"] in names
    ]
    assert len(names) == 600
    assert len(pairs) > 10
    packed, made = map(list, zip(*pairs, strict=True))
    assert (dataset.array("truth")[packed] == ham_prepared.array("truth")[made]).all()
    assert iou(dataset.array("ellipse")[packed], golden_masks(shared, "ham10000", "ellipse")[made]).min() > 0.985
    # Diameters measured on the stretched truth differ from those of the image, and the truth lies 0.4 px aside.
    assert iou(dataset.array("quarters")[packed], ham_prepared.array("quarters")[made]).mean() > 0.9
    assert iou(dataset.array("grabcut")[packed], ham_prepared.array("grabcut")[made]).mean() > 0.95
    assert np.abs(dataset.array("recist")[packed][:, :4] - ham_prepared.array("recist")[made][:, :4]).max() < 0.05
    difference = dataset.array("images")[packed].astype(int) - ham_prepared.array("images")[made]
    assert np.abs(difference).mean() < 5  # both were recompressed


def test_the_published_split(shared):
    with np.load(shared / "data" / "ham10000_full120" / full_ham.IMAGES) as packed:
        rows = [{"lesion": name} for name in packed["names"]]
        assert HAM_data.split_by_image(rows) == packed["split"].tolist()


def test_ellipses_about_the_crossing_point_miss_more_than_fitted_ones(shared, tmp_path):
    package, overlaps = shared / "data" / "ham10000_full120", []
    for crossing in (False, True):
        full_ham.unpack(package, tmp_path / str(crossing), clusters=5, limit=50, crossing=crossing)
        dataset = LesionDataset.open(tmp_path / str(crossing) / "prepared")
        overlaps.append(iou(dataset.array("ellipse"), dataset.array("truth")).mean())
    assert overlaps[1] < overlaps[0] - 0.05
