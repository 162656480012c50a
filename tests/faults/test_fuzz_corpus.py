"""What the fuzzer has found (`fuzz/fuzz_parsers.py`) is parsed as `parsers.py` says, without the fuzzer."""

from pathlib import Path

import parsers
import pytest

CORPUS = Path(__file__).parent / "fuzz" / "corpus"


@pytest.mark.parametrize("name", parsers.PARSERS)
def test_the_corpus(name):
    contents = [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]
    taken = [parsers.PARSERS[name](content) for content in contents]
    assert True in taken
    assert False in taken
