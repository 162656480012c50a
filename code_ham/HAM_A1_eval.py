"""HAM10000, A1: score a checkpoint on the test split (paper: IoU 82.65±0.12, Dice 90.01±0.09 %).

python HAM_A1_eval.py              # what HAM_A1_train.py made
python HAM_A1_eval.py --download   # the released checkpoint, fetched first
"""

import HAM_A1_train  # also puts the project's root on the path
from common.run.scripts import eval_script

if __name__ == "__main__":
    eval_script(HAM_A1_train.RECIPE, __doc__)
