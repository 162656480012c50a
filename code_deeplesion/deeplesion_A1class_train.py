"""DeepLesion, A1+L: the paper's method, A1 with a second head that predicts the shape cluster (K=190).

python deeplesion_A1class_train.py
python deeplesion_A1class_train.py --encoder resnet18 --encoder-weights none --canvas 128x128 --epochs 8   # on a laptop

Paper: IoU 65.53±0.71, Dice 77.43±0.57, VS 83.31±0.70 %; centre 3.09±0.02, perimeter 7.79±0.38, AVD 6.92±0.19 px.
These are scores against GrabCut masks, not outlines: see README.md.
Cost: up to 50 epochs of the training split's lesions (of 32,727 in all); 1.55 images/s on 2 CPU cores (bf16; fp32 about
0.95), an H200 1,190 at 128x128.
Prints loss, validation loss and Dice, and images/s of every epoch; stops after 5 without a lower validation loss.
"""

import DeepLesion_data  # also puts the project's root on the path
from common.recipe import A1CLASS, Recipe
from common.run.scripts import train_script

RECIPE = Recipe(
    dataset=DeepLesion_data.DATASET,
    method=A1CLASS,
    checkpoint="checkpoint_190.pt",
    released="https://drive.google.com/file/d/1V-NisPmQwvXy3TjawhFeEABIXtNxZfKQ/view",
    loss_weights={"mask": 50.0, "cluster": 1.0},
    lr=1e-3,
    batch_size=10,
    epochs=50,
    patience=5,
    watch="mask",
    out_of_patience="best",
    scored_multiple=1,
    published=((65.53, 0.71), (77.43, 0.57), (83.31, 0.70), (3.09, 0.02), (7.79, 0.38), (6.92, 0.19)),
)

if __name__ == "__main__":
    train_script(RECIPE, __doc__)
