"""The fuzzer's corpus (see `fuzz_parsers.py`), parsed without the fuzzer: `parsers.py` says what must hold."""

from pathlib import Path

import pytest

import parsers

CORPUS = Path(__file__).parent / "corpus"


@pytest.mark.parametrize("name", parsers.PARSERS)
def test_the_corpus(name):
    contents = [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]
    assert {parsers.PARSERS[name](content) for content in contents} == {True, False}
