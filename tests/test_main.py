"""The one door of the tools: every tool answers --help from any folder, at once and without torch."""

import runpy
import subprocess
import sys

import pytest

from helpers import ROOT

FLAGS = {
    "report": "--out",
    "html": "--prepared --checkpoints --out",
    "figures": "--out",
    "experiment": "--seeds --methods --data --prepared --out --prepare --train --for --no-upper-bound --no-baselines "
    "--dry-run",
    "baselines": "--results --split --truth",
    "benchmark": "--out",
    "scaling": "--epochs --starts",
    "gpu": "--data --checks --out",
}


def run(*arguments, folder, python=()) -> subprocess.CompletedProcess:
    command = [sys.executable, *python, str(ROOT / "common"), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def test_these_are_the_tools(monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    door = runpy.run_path(str(ROOT / "common"))
    assert list(FLAGS) == list(door["TOOLS"])
    assert all(f"python common {tool} " in door["__doc__"] for tool in FLAGS)


@pytest.mark.parametrize("tool", FLAGS)
def test_help_from_another_folder(tool, tmp_path):
    done = run(tool, "--help", folder=tmp_path, python=("-X", "importtime"))
    assert done.returncode == 0, done.stderr
    assert f"usage: python common {tool} " in done.stdout
    assert all(flag in done.stdout for flag in FLAGS[tool].split())
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not imported & ({"torch"} if tool in ("benchmark", "gpu") else {"torch", "pandas", "skimage", "matplotlib"})


def test_without_a_tool_the_tools_are_listed(tmp_path):
    done = run(folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == run("--help", folder=tmp_path).stdout
    assert all(f"python common {tool} " in done.stdout for tool in FLAGS)


@pytest.mark.parametrize("arguments", ["raport", "run.experiment", "--seeds", "report --colour red"])
def test_an_unknown_tool_or_flag_is_one_sentence(arguments, tmp_path):
    done = run(*arguments.split(), folder=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "(see --help)" in done.stderr
