"""LiTS, A1: score a checkpoint on the test split.

python lits_A1_eval.py
python lits_A1_eval.py --checkpoint path/to/LITS_A1.pt
"""

import lits_A1_train  # also puts the project's root on the path
from common.run.scripts import eval_script

if __name__ == "__main__":
    eval_script(lits_A1_train.RECIPE, __doc__)
