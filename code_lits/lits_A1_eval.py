"""LiTS, A1: score a checkpoint on the test split (paper: IoU 71.44±0.68, Dice 82.68±0.51 %).

python lits_A1_eval.py              # what lits_A1_train.py made
python lits_A1_eval.py --download   # the released checkpoint, fetched first
"""

import lits_A1_train  # also puts the project's root on the path
from common.run.scripts import eval_script

if __name__ == "__main__":
    eval_script(lits_A1_train.RECIPE, __doc__)
