"""DeepLesion, A1: DeepLabV3+ on the ellipse that the RECIST diameters span.

    python deeplesion_A1_train.py
    python deeplesion_A1_train.py --encoder resnet18 --encoder-weights none --canvas 128x128 --epochs 8  # laptop

Published test figures (FACTS.md section 5): IoU 63.02, Dice 75.36.
"""

import DeepLesion_data  # also puts the project's root on the path
from common.cli import train_script
from common.recipe import A1, Recipe

RECIPE = Recipe(
    dataset=DeepLesion_data.DATASET,
    method=A1,
    checkpoint="checkpoint.pt",
    loss_weights={"mask": 100.0},
    lr=1e-3,
    batch_size=10,
    epochs=50,
    patience=5,
    watch="mask",
    out_of_patience="best",
    scored_multiple=1,
)

if __name__ == "__main__":
    train_script(RECIPE, __doc__)
