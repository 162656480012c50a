"""Types of arguments."""

import argparse

import pytest

from common.utils.arguments import Parser, device_name, number_list, numbers, positive, seed_number, split_flags
from common.utils.errors import UserError


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [(positive, "1", 1), (positive, "2147483647", 2**31 - 1), (seed_number, "0", 0),
     (seed_number, "4294967295", 2**32 - 1), (numbers("a number above 0", lambda rate: rate > 0), "1e-3", 0.001),
     *((device_name, name, name) for name in ("auto", "cpu", "mps", "cuda", "cuda:0", "cuda:12"))],
)  # fmt: skip
def test_a_value_within_its_range_is_accepted(parse, text, value):
    assert parse(text) == value


@pytest.mark.parametrize(
    ("parse", "texts"),
    [(positive, ["0", "-1", "1.5", "", "\u0663", "2147483648"]), (seed_number, ["-1", "4294967296", "x", "\u00b2"]),
     (numbers("a number above 0", lambda rate: rate > 0), ["0", "-1", "nan", "inf", "x", ""])],
)  # fmt: skip
def test_anything_else_is_refused_with_the_text(parse, texts):
    for text in texts:
        with pytest.raises(argparse.ArgumentTypeError, match=f"^{text!r} is not a "):
            parse(text)


@pytest.mark.parametrize(
    "text", ["", "tpu", "CPU", "cpu:0", "cuda:", "cuda:-1", "cuda:\u0663", "cuda:1000", "meta", "cuda:0\n"]
)
def test_anything_else_is_no_device(text):
    with pytest.raises(argparse.ArgumentTypeError, match="is none of auto, cpu, mps, cuda and cuda:N"):
        device_name(text)


def test_a_backslash_is_part_of_a_path_on_windows_only(monkeypatch):
    text = r"--prepared 'C:\my data\p' --lr 1e-4"
    assert split_flags(r"a\ b") == ["a b"]
    monkeypatch.setattr("common.utils.arguments.os.name", "nt")
    assert split_flags(text.replace("\\\\", "\\")) == ["--prepared", "C:/my data/p", "--lr", "1e-4"]


def test_a_bad_command_line_is_one_sentence():
    parser = Parser()
    parser.add_argument("--epochs", type=positive)
    with pytest.raises(UserError, match=r"^argument --epochs: '0' is not a whole number above 0 \(see --help\)$"):
        parser.parse_args(["--epochs", "0"])


def test_numbers_between_commas():
    assert number_list("-175, 275", 2) == (-175, 275)
    assert number_list("1e3", 1) == (1000,)


@pytest.mark.parametrize("text", ["", "1", "1,2,3", "1,", "a,b", "nan,1", "1,inf", "1e6,0", "1_0,2"])
def test_anything_else_is_no_list(text):
    assert number_list(text, 2) is None
