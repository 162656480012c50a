"""DeepLesion, ACoseg: score a checkpoint on the test split's GrabCut masks (paper: IoU 62.75±0.42, Dice 74.38±0.77 %).

python deeplesion_A1coseg_eval.py              # what deeplesion_A1coseg_train.py made
python deeplesion_A1coseg_eval.py --download   # the released checkpoint, fetched first
"""

import deeplesion_A1coseg_train  # also puts the project's root on the path
from common.run.scripts import eval_script

if __name__ == "__main__":
    eval_script(deeplesion_A1coseg_train.RECIPE, __doc__)
