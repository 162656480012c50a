"""LiTS, ACoseg: score a checkpoint on the test split.

python lits_Acoseg_eval.py
python lits_Acoseg_eval.py --checkpoint path/to/LITS_Acoseg.pt
"""

import lits_Acoseg_train  # also puts the project's root on the path
from common.run.scripts import eval_script

if __name__ == "__main__":
    eval_script(lits_Acoseg_train.RECIPE, __doc__)
