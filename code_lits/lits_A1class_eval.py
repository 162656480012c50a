"""LiTS, A1+L: score a checkpoint on the test split (paper: IoU 72.76±0.14, Dice 83.62±0.09 %).

python lits_A1class_eval.py              # what lits_A1class_train.py made
python lits_A1class_eval.py --download   # the released checkpoint, fetched first
"""

import lits_A1class_train  # also puts the project's root on the path
from common.run.scripts import eval_script

if __name__ == "__main__":
    eval_script(lits_A1class_train.RECIPE, __doc__)
