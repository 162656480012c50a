"""DeepLesion, A1: score a checkpoint on the test split's GrabCut masks (paper: IoU 63.02±1.47, Dice 75.36±1.25 %).

python deeplesion_A1_eval.py              # what deeplesion_A1_train.py made
python deeplesion_A1_eval.py --download   # the released checkpoint, fetched first
"""

import deeplesion_A1_train  # also puts the project's root on the path
from common.run.scripts import eval_script

if __name__ == "__main__":
    eval_script(deeplesion_A1_train.RECIPE, __doc__)
