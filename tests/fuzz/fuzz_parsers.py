"""Fuzz a parser of text from outside, guided by coverage; `tests/parsers.py` says what must hold.

    pip install atheris==3.0.0          # not among the requirements: it has no wheels for every machine
    python tests/fuzz/fuzz_parsers.py tests/fuzz/corpus/dl_info -max_total_time=60

The folder has the name of the parser; inputs that reach new code are added to it. Flags are libFuzzer's. An input that
crashes is written to the current folder: mend the fault, and put the file into the corpus, which
`tests/fuzz/test_fuzz_corpus.py` replays.
"""

import sys
from pathlib import Path

sys.path.extend(
    str(Path(__file__).resolve().parents[2] / name)
    for name in ("", "tests", "code_ham", "code_lits", "code_deeplesion")
)

import atheris

OURS = ("common", "lits_data", "lits_split", "DeepLesion_info", "csv", "argparse")

with atheris.instrument_imports(include=OURS):
    import parsers

if __name__ == "__main__":
    folder = next(word for word in sys.argv[1:] if not word.startswith("-"))
    atheris.Setup(sys.argv, parsers.PARSERS[Path(folder).name])
    atheris.Fuzz()
