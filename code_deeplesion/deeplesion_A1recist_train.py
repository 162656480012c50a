"""DeepLesion, A1+R: A1 that also sees the RECIST mark of the lesion it segments. Not in the paper.

python deeplesion_A1recist_train.py
python deeplesion_A1recist_train.py --encoder resnet18 --encoder-weights none --canvas 128x128 --epochs 9 # from scratch

The mark is a fourth input channel and the prior of the logits; the training masks are the marks' quarter-ellipses.
Lesions are mirrored and transposed, marks moved by 10 % of the long diameter, weights averaged, and the learning rate
falls to 0.
DeepLesion has no outlines, so that --outlines is refused.
Cost: 2 epochs of the training split (of 32,727 lesions in all), each lesion as in A1.
Prints loss, validation loss and Dice, and images/s of every epoch; the last epoch is kept.
"""

import DeepLesion_data  # also puts the project's root on the path
from common.recipe import A1RECIST, Recipe
from common.run.scripts import train_script

RECIPE = Recipe(
    dataset=DeepLesion_data.DATASET,
    method=A1RECIST,
    checkpoint="deeplesion_a1recist.pt",
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
