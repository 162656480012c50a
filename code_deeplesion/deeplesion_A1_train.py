"""DeepLesion, A1: DeepLabV3+ trained on the filled ellipse that the RECIST diameters span.

python deeplesion_A1_train.py
python deeplesion_A1_train.py --encoder resnet18 --encoder-weights none --canvas 128x128 --epochs 8   # on a laptop

Paper: IoU 63.02±1.47, Dice 75.36±1.25, VS 80.65±1.60 %; centre 3.19±0.06, perimeter 9.21±0.64, AVD 7.37±0.24 px.
These are scores against GrabCut masks, not outlines: see README.md.
Cost: up to 50 epochs of the training split's lesions (of 32,727 in all); as A1+L 1.55 images/s on 2 CPU cores (bf16;
fp32 about 0.95), an H200 1,190 at 128x128.
Prints loss, validation loss and Dice, and images/s of every epoch; stops after 5 without a lower validation loss.
"""

import DeepLesion_data  # also puts the project's root on the path
from common.recipe import A1, Recipe
from common.run.scripts import train_script

RECIPE = Recipe(
    dataset=DeepLesion_data.DATASET,
    method=A1,
    checkpoint="checkpoint.pt",
    released="https://drive.google.com/file/d/1NlwB0dr_hCgpIdro6T4wrjAr1pO4ulFS/view",
    loss_weights={"mask": 100.0},
    lr=1e-3,
    batch_size=10,
    epochs=50,
    patience=5,
    watch="mask",
    out_of_patience="best",
    scored_multiple=1,
    published=((63.02, 1.47), (75.36, 1.25), (80.65, 1.60), (3.19, 0.06), (9.21, 0.64), (7.37, 0.24)),
)

if __name__ == "__main__":
    train_script(RECIPE, __doc__)
