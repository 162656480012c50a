"""DeepLesion, ACoseg: attention co-segmentation (Agarwal et al. 2020), for comparison; images come in pairs.

python deeplesion_A1coseg_train.py
python deeplesion_A1coseg_train.py --encoder resnet18 --encoder-weights none --canvas 128x128 --epochs 8   # on a laptop

Paper: IoU 62.75±0.42, Dice 74.38±0.77, VS 80.58±0.49 %; centre 5.56±1.19, perimeter 8.43±0.30, AVD 11.84±2.24 px.
These are scores against GrabCut masks, not outlines: see README.md.
Cost: up to 50 epochs of the training split (of 32,727 lesions in all), each fed twice, as first and second of a pair;
speed not measured.
Prints loss, validation loss and Dice, and images/s of every epoch; stops after 5 without a lower validation loss.
"""

import DeepLesion_data  # also puts the project's root on the path
from common.recipe import ACOSEG, Recipe
from common.run.scripts import train_script

RECIPE = Recipe(
    dataset=DeepLesion_data.DATASET,
    method=ACOSEG,
    checkpoint="checkpoint_coseg_190.pt",
    released="https://drive.google.com/file/d/1ygR4FZCwRkR0a87vzKeGqYEjl_n4A0tQ/view",
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
