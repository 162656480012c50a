"""HAM10000, A1: DeepLabV3+ on the ellipse that the RECIST diameters span.

    python HAM_A1_train.py
    python HAM_A1_train.py --encoder resnet18 --encoder-weights none --canvas 128x128 --epochs 8   # on a laptop

Published test figures (FACTS.md section 5): IoU 82.65, Dice 90.01.
"""

import HAM_data  # also puts the project's root on the path
from common.cli import train_script
from common.recipe import A1, Recipe

RECIPE = Recipe(
    dataset=HAM_data.DATASET,
    method=A1,
    checkpoint="ham_a1.pt",
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
