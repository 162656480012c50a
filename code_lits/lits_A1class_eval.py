"""LiTS, A1+L: score a checkpoint on the test split.

    python lits_A1class_eval.py
    python lits_A1class_eval.py --checkpoint path/to/LiTS_A1class_40.pt

Published test figures (FACTS.md section 5): IoU 72.76, Dice 83.62.
"""

import lits_A1class_train  # also puts the project's root on the path
from common.cli import eval_script

if __name__ == "__main__":
    eval_script(lits_A1class_train.RECIPE, __doc__)
