"""DeepLesion, A1+L: score a checkpoint on the test split's GrabCut masks (paper: IoU 65.53±0.71, Dice 77.43±0.57 %).

python deeplesion_A1class_eval.py              # what deeplesion_A1class_train.py made
python deeplesion_A1class_eval.py --download   # the released checkpoint, fetched first
"""

import deeplesion_A1class_train  # also puts the project's root on the path
from common.run.scripts import eval_script

if __name__ == "__main__":
    eval_script(deeplesion_A1class_train.RECIPE, __doc__)
