"""Segment the lesion in skin images of your own, with a checkpoint trained on HAM10000.

python HAM_predict.py --checkpoint checkpoints/ham_a1class.pt photo.jpg my_images/ --out predictions

Each image shows one lesion. It is resized as a whole to 120x120 px, as in HAM10000; the mask has the image's own size
and fits it as viewers show it, with its EXIF orientation applied.
"""

from collections.abc import Sequence

import HAM_data  # also puts the project's root on the path
from common.inference.photos import predict_photos
from common.utils.errors import run_script


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; see --help."""
    predict_photos(HAM_data.DATASET, __doc__, arguments)


if __name__ == "__main__":
    run_script(main)
