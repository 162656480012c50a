"""LiTS, ACoseg: score a checkpoint on the test split (paper: IoU 71.86±0.34, Dice 82.92±0.26 %).

python lits_Acoseg_eval.py              # what lits_Acoseg_train.py made
python lits_Acoseg_eval.py --download   # the released checkpoint, fetched first
"""

import lits_Acoseg_train  # also puts the project's root on the path
from common.run.scripts import eval_script

if __name__ == "__main__":
    eval_script(lits_Acoseg_train.RECIPE, __doc__)
