"""The command-line tools: python common TOOL ..., from any folder.

    python common report [RESULTS_DIR ...]      the paper's table from evaluation results
    python common html [RESULTS_DIR ...]        the same and more as one HTML file
    python common figures PICTURE ...           pictures of the method, data, predictions and trainings
    python common experiment DATASET            every method over several seeds, then the table
    python common baselines PREPARED            the weak masks themselves, scored
    python common benchmark DATASET             speed and memory beside the published way
    python common scaling DATASET               how training grows with the number of lesions
    python common gpu DATASET                   checks and measurements that need a GPU, in ten minutes

Each has a --help of its own.
"""

import sys
from importlib import import_module
from pathlib import Path

sys.path.pop(0)  # this folder, which Python puts there
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.utils.errors import UserError, run_script

TOOLS = {
    "report": "report.tables",
    "html": "report.html_report",
    "figures": "report.figures.cli",
    "experiment": "run.experiment",
    "baselines": "evaluation.baselines",
    "benchmark": "benchmark.speed",
    "scaling": "benchmark.scaling",
    "gpu": "benchmark.gpu",
}  # modules whose ``main`` takes a tool's arguments


def main() -> None:
    """Run the tool that the command line names."""
    tool, *arguments = sys.argv[1:] or ["--help"]
    if tool in ("-h", "--help"):
        print(__doc__)
    elif tool in TOOLS:
        sys.argv[0] = f"python common {tool}"  # as usage lines and messages name it
        import_module(f"common.{TOOLS[tool]}").main(arguments)
    else:
        raise UserError(f"there is no tool {tool}; there are {', '.join(TOOLS)} (see --help)")


if __name__ == "__main__":
    run_script(main)
