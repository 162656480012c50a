"""HAM10000, ACoseg: score a checkpoint on the test split.

python HAM_Acoseg_eval.py
python HAM_Acoseg_eval.py --checkpoint path/to/ham_coseg.pt
"""

import HAM_Acoseg_train  # also puts the project's root on the path
from common.run.scripts import eval_script

if __name__ == "__main__":
    eval_script(HAM_Acoseg_train.RECIPE, __doc__)
