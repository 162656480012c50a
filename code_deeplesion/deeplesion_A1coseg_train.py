"""DeepLesion, ACoseg: attention co-segmentation, two images at a time.

python deeplesion_A1coseg_train.py
python deeplesion_A1coseg_train.py --encoder resnet18 --encoder-weights none --canvas 128x128 --epochs 8  # laptop
"""

import DeepLesion_data  # also puts the project's root on the path
from common.recipe import ACOSEG, Recipe
from common.run.scripts import train_script

RECIPE = Recipe(
    dataset=DeepLesion_data.DATASET,
    method=ACOSEG,
    checkpoint="checkpoint_coseg_190.pt",
    loss_weights={"mask": 1.0},
    lr=1e-5,
    batch_size=8,
    epochs=50,
    patience=5,
    watch="mask",
    out_of_patience="best",
    scored_multiple=8,  # FACTS.md 4.4
    published=((62.75, 0.42), (74.38, 0.77), (80.58, 0.49), (5.56, 1.19), (8.43, 0.30), (11.84, 2.24)),
)

if __name__ == "__main__":
    train_script(RECIPE, __doc__)
