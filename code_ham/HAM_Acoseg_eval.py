"""HAM10000, ACoseg: score a checkpoint on the test split (paper: IoU 83.19±0.86, Dice 90.42±0.51 %).

python HAM_Acoseg_eval.py              # what HAM_Acoseg_train.py made
python HAM_Acoseg_eval.py --download   # the released checkpoint, fetched first
"""

import HAM_Acoseg_train  # also puts the project's root on the path
from common.run.scripts import eval_script

if __name__ == "__main__":
    eval_script(HAM_Acoseg_train.RECIPE, __doc__)
