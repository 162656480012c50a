"""HAM10000, A1+R: A1 that also sees the RECIST mark of the lesion it segments. Not in the paper.

python HAM_A1recist_train.py
python HAM_A1recist_train.py --outlines 150   # with the true outlines of 150 training lesions
python HAM_A1recist_train.py --encoder resnet18 --encoder-weights none --canvas 128x128 --epochs 9   # from scratch

The mark is a fourth input channel and the prior of the logits. The training masks are the marks' quarter-ellipses; with
--outlines, a last epoch is on the true outlines alone, each 25 times. Lesions are mirrored and transposed, marks moved
by 10 % of the long diameter (in that last epoch by 3 %) and weights averaged; the learning rate falls to 0, with
--outlines once more in that epoch. Results: code_ham/README.md.
Cost: 2 epochs of 7,008 images, each image as in A1; more epochs on small training sets, to reach 800 steps.
--outlines N costs 25 times N images more, but at most as much again.
Prints loss, images/s, validation loss and Dice of every epoch; the last epoch is kept. Validation is against the marks'
quarter-ellipses, from which true outlines lead away.
"""

import HAM_data  # also puts the project's root on the path
from common.recipe import A1RECIST, Recipe
from common.run.scripts import train_script

RECIPE = Recipe(
    dataset=HAM_data.DATASET,
    method=A1RECIST,
    checkpoint="ham_a1recist.pt",
    released=None,
    loss_weights={"mask": 1.0, "overlap": 1.0},
    lr=3e-4,
    batch_size=10,
    epochs=2,
    patience=2,  # of no effect, as `out_of_patience`: with a falling rate the last epoch is kept
    watch="mask",
    out_of_patience="best",
    scored_multiple=1,
    published=(),
)

if __name__ == "__main__":
    train_script(RECIPE, __doc__)
