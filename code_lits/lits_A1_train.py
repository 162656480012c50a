"""LiTS, A1: DeepLabV3+ trained on the filled ellipse that the RECIST diameters span.

python lits_A1_train.py
python lits_A1_train.py --encoder resnet18 --encoder-weights none --canvas 128x128 --epochs 8   # on a laptop

Paper: IoU 71.44±0.68, Dice 82.68±0.51, VS 89.07±0.64 %; centre 2.00±0.03, perimeter 9.58±0.24, AVD 9.25±0.17 px.
Cost: up to 50 epochs of 11,522 patches; as A1+L 1.55 images/s on 2 CPU cores (bf16; fp32 0.95), an H200 1,190 at
128x128.
Prints loss, validation Dice and images/s of every epoch; stops after 5 without a higher validation Dice.
"""

import lits_data  # also puts the project's root on the path
from common.recipe import A1, Recipe
from common.run.scripts import train_script

RECIPE = Recipe(
    dataset=lits_data.DATASET,
    method=A1,
    checkpoint="LITS_A1.pt",
    released="https://drive.google.com/file/d/1EpQGDLOC8q95oqSvm0bZO6JdFSznCRKw/view",
    loss_weights={"mask": 1.0},  # without the factor 100 of the other datasets
    lr=1e-3,
    batch_size=10,
    epochs=50,
    patience=5,
    watch="dice",
    out_of_patience="best",
    scored_multiple=8,  # FACTS.md 4.4
    published=((71.44, 0.68), (82.68, 0.51), (89.07, 0.64), (2.00, 0.03), (9.58, 0.24), (9.25, 0.17)),
)

if __name__ == "__main__":
    train_script(RECIPE, __doc__)
