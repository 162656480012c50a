"""Progress without a terminal is plain lines, and not many of them."""

from common.utils import progress as module
from common.utils.progress import progress


def test_plurals(monkeypatch, capsys):
    clock = iter(range(0, 1000, 20))
    monkeypatch.setattr(module.time, "monotonic", lambda: float(next(clock)))
    list(progress("abc", "epoch 1", 3, "batch"))
    assert "2/3 batches" in capsys.readouterr().err


def test_items_pass_through_and_lines_tell_rate_and_time_left(monkeypatch, capsys):
    clock = iter(range(0, 1000, 20))
    monkeypatch.setattr(module.time, "monotonic", lambda: float(next(clock)))
    assert list(progress("abcdef", "counting", 6)) == list("abcdef")
    lines = capsys.readouterr().err.splitlines()
    # 20 s an item: a line after every second one, none after the last.
    assert lines == ["counting: 2/6 lesions, 0.05/s, 80 s left", "counting: 4/6 lesions, 0.05/s, 40 s left"]
