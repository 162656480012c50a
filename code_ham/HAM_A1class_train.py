"""HAM10000, A1+L: the paper's method, A1 with a second head that predicts the shape cluster (K=45).

python HAM_A1class_train.py
python HAM_A1class_train.py --encoder resnet18 --encoder-weights none --canvas 128x128 --epochs 8   # on a laptop

Paper: IoU 83.51±0.26, Dice 90.54±0.22, VS 92.82±0.34 %; centre 2.52±0.09, perimeter 8.87±0.40, AVD 9.73±0.14 px.
Cost: up to 50 epochs of 7,008 images; 1.55 images/s on 2 CPU cores (bf16; fp32 0.95), an H200 1,190 at 128x128.
Prints loss, validation loss and Dice, and images/s of every epoch; stops after 5 without a lower validation loss.
"""

import HAM_data  # also puts the project's root on the path
from common.recipe import A1CLASS, Recipe
from common.run.scripts import train_script

RECIPE = Recipe(
    dataset=HAM_data.DATASET,
    method=A1CLASS,
    checkpoint="ham_a1class.pt",
    released="https://drive.google.com/file/d/1yFIfjXay9TRw_Wn_QLbfAdhMpFhcAqdC/view",
    loss_weights={"mask": 50.0, "cluster": 1.0},
    lr=1e-3,
    batch_size=10,
    epochs=50,
    patience=5,
    watch="mask",
    out_of_patience="last",  # FACTS.md 4.5
    scored_multiple=1,
    published=((83.51, 0.26), (90.54, 0.22), (92.82, 0.34), (2.52, 0.09), (8.87, 0.40), (9.73, 0.14)),
)

if __name__ == "__main__":
    train_script(RECIPE, __doc__)
