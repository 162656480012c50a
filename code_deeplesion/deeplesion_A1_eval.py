"""DeepLesion, A1: score a checkpoint on the test split, against the GrabCut masks.

python deeplesion_A1_eval.py
python deeplesion_A1_eval.py --checkpoint path/to/checkpoint.pt
"""

import deeplesion_A1_train  # also puts the project's root on the path
from common.run.scripts import eval_script

if __name__ == "__main__":
    eval_script(deeplesion_A1_train.RECIPE, __doc__)
