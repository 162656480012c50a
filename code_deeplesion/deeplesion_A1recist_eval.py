"""DeepLesion, A1+R (not in the paper): score a checkpoint on the test split's GrabCut masks; it sees lesions' marks.

python deeplesion_A1recist_eval.py   # what deeplesion_A1recist_train.py made
"""

import deeplesion_A1recist_train  # also puts the project's root on the path
from common.run.scripts import eval_script

if __name__ == "__main__":
    eval_script(deeplesion_A1recist_train.RECIPE, __doc__)
