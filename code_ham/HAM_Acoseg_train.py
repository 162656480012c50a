"""HAM10000, ACoseg: attention co-segmentation (Agarwal et al. 2020), for comparison; images come in pairs.

python HAM_Acoseg_train.py
python HAM_Acoseg_train.py --encoder resnet18 --encoder-weights none --canvas 128x128 --epochs 8   # on a laptop

Paper: IoU 83.19±0.86, Dice 90.42±0.51, VS 92.10±0.77 %; centre 2.42±0.03, perimeter 9.77±0.59, AVD 9.61±0.31 px.
Cost: up to 50 epochs of 7,008 images; each is fed twice, as first and as second of a pair.
Speed on an H200 at 128x128: 290 images/s each of two at once.
Prints loss, validation loss and Dice, and images/s of every epoch; stops after 5 without a lower validation loss.
"""

import HAM_data  # also puts the project's root on the path
from common.recipe import ACOSEG, Recipe
from common.run.scripts import train_script

RECIPE = Recipe(
    dataset=HAM_data.DATASET,
    method=ACOSEG,
    checkpoint="ham_coseg.pt",
    released="https://drive.google.com/file/d/1B-3bG26yqpnupkH-q-qNHp1_IrU4EQf4/view",
    loss_weights={"mask": 1.0},
    lr=1e-5,
    batch_size=8,
    epochs=50,
    patience=5,
    watch="mask",
    out_of_patience="best",
    scored_multiple=8,  # FACTS.md 4.4
    published=((83.19, 0.86), (90.42, 0.51), (92.10, 0.77), (2.42, 0.03), (9.77, 0.59), (9.61, 0.31)),
)

if __name__ == "__main__":
    train_script(RECIPE, __doc__)
