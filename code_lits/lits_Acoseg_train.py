"""LiTS, ACoseg: attention co-segmentation (Agarwal et al. 2020), for comparison; images come in pairs.

python lits_Acoseg_train.py
python lits_Acoseg_train.py --encoder resnet18 --encoder-weights none --canvas 128x128 --epochs 8   # on a laptop

Paper: IoU 71.86±0.34, Dice 82.92±0.26, VS 88.81±0.22 %; centre 1.90±0.06, perimeter 8.99±0.16, AVD 8.90±0.07 px.
Cost: up to 50 epochs of 11,522 patches; each is fed twice, as first and as second of a pair; speed not measured.
Prints loss, validation Dice and images/s of every epoch; stops after 4 without a higher validation Dice.
"""

import lits_data  # also puts the project's root on the path
from common.recipe import ACOSEG, Recipe
from common.run.scripts import train_script

RECIPE = Recipe(
    dataset=lits_data.DATASET,
    method=ACOSEG,
    checkpoint="LITS_Acoseg.pt",
    released="https://drive.google.com/file/d/1vj4-vqEsfdET031Motq45I7KZRB6b8sC/view",
    loss_weights={"mask": 1.0},
    lr=1e-5,
    batch_size=8,
    epochs=50,
    patience=4,  # the other recipes have 5
    watch="dice",
    out_of_patience="best",
    scored_multiple=8,  # FACTS.md 4.4
    published=((71.86, 0.34), (82.92, 0.26), (88.81, 0.22), (1.90, 0.06), (8.99, 0.16), (8.90, 0.07)),
)

if __name__ == "__main__":
    train_script(RECIPE, __doc__)
