"""DeepLesion, ACoseg: score a checkpoint on the test split, against the GrabCut masks.

    python deeplesion_A1coseg_eval.py
    python deeplesion_A1coseg_eval.py --checkpoint path/to/checkpoint_coseg_190.pt

Published test figures (FACTS.md section 5): IoU 62.75, Dice 74.38.
"""

import deeplesion_A1coseg_train  # also puts the project's root on the path
from common.cli import eval_script

if __name__ == "__main__":
    eval_script(deeplesion_A1coseg_train.RECIPE, __doc__)
