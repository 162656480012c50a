"""HAM10000, A1+L: score a checkpoint on the test split (paper: IoU 83.51±0.26, Dice 90.54±0.22 %).

python HAM_A1class_eval.py              # what HAM_A1class_train.py made
python HAM_A1class_eval.py --download   # the released checkpoint, fetched first
"""

import HAM_A1class_train  # also puts the project's root on the path
from common.run.scripts import eval_script

if __name__ == "__main__":
    eval_script(HAM_A1class_train.RECIPE, __doc__)
