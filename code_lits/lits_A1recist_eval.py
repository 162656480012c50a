"""LiTS, A1+R (not in the paper): score a checkpoint on the test split; it sees the lesions' marks.

python lits_A1recist_eval.py   # what lits_A1recist_train.py made
"""

import lits_A1recist_train  # also puts the project's root on the path
from common.run.scripts import eval_script

if __name__ == "__main__":
    eval_script(lits_A1recist_train.RECIPE, __doc__)
