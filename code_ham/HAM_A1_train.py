"""HAM10000, A1: DeepLabV3+ trained on the filled ellipse that the RECIST diameters span.

python HAM_A1_train.py
python HAM_A1_train.py --encoder resnet18 --encoder-weights none --canvas 128x128 --epochs 8   # on a laptop

Paper: IoU 82.65±0.12, Dice 90.01±0.09, VS 91.84±0.03 %; centre 2.57±0.09, perimeter 9.20±0.26, AVD 10.23±0.17 px.
Cost: up to 50 epochs of 7,008 images; as A1+L 1.55 images/s on 2 CPU cores (bf16; fp32 0.95), an H200 1,190 at 128x128.
Prints loss, validation loss and Dice, and images/s of every epoch; stops after 5 without a lower validation loss.
"""

import HAM_data  # also puts the project's root on the path
from common.recipe import A1, Recipe
from common.run.scripts import train_script

RECIPE = Recipe(
    dataset=HAM_data.DATASET,
    method=A1,
    checkpoint="ham_a1.pt",
    released="https://drive.google.com/file/d/12gK0K_SZNleFAFVwPjzspHIS3rsWGXEb/view",
    loss_weights={"mask": 100.0},
    lr=1e-3,
    batch_size=10,
    epochs=50,
    patience=5,
    watch="mask",
    out_of_patience="best",
    scored_multiple=1,
    published=((82.65, 0.12), (90.01, 0.09), (91.84, 0.03), (2.57, 0.09), (9.20, 0.26), (10.23, 0.17)),
)

if __name__ == "__main__":
    train_script(RECIPE, __doc__)
