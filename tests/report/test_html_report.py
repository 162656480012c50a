"""The HTML report, as a browser sees it: whole, quiet, and harmless whatever names the files bring."""

import contextlib
import json
import shutil
import subprocess
import warnings
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from common.data.dataset import LesionDataset
from common.evaluation.results import UNDEFINED_NOTE
from common.inference.predictor import Predictor
from common.model import build_network
from common.recipe import A1
from common.report import html_report
from common.report.runs import group_runs
from common.training.checkpoint import save_checkpoint
from common.utils.errors import UserError
from common.utils.files import read_csv, write_csv, write_json
from common.utils.provenance import sha256
from example_results import baseline, result, scored

EVIL = '<script>alert("x")</script><img src=http://example.com/a.png onerror=alert(1)>&amp;'
VOID = {"meta", "img", "br", "hr", "link", "input"}


class Strict(HTMLParser):
    """Counts elements and refuses what is not well formed, or reaches outside the file."""

    def __init__(self) -> None:
        super().__init__()
        self.count: Counter[str] = Counter()
        self.words: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.count[tag] += 1
        self.open += [] if tag in VOID else [tag]
        for name, value in attrs:
            assert not name.startswith("on"), name
            assert name not in ("src", "href") or value.startswith("data:image/png;base64,"), value
        if tag == "img":
            assert dict(attrs)["alt"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def parsed(text: str) -> Strict:
    page = Strict()
    page.feed(text)
    page.close()
    assert not page.open
    assert not page.count.keys() & {"script", "link", "iframe", "object"}
    return page


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A function that runs a headless Chromium; None where there is none that works."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    program = next(filter(None, map(shutil.which, names)), None)
    folder = tmp_path_factory.mktemp("browser")

    def run(page: Path, *flags: str) -> subprocess.CompletedProcess:
        quiet = "--headless --no-sandbox --disable-gpu --disable-background-networking --disable-component-update"
        quiet += " --no-first-run --hide-scrollbars --enable-logging=stderr --v=0"
        command = [program, *quiet.split(), f"--user-data-dir={folder / 'profile'}", *flags, page.as_uri()]
        return subprocess.run(command, capture_output=True, text=True, timeout=120)

    probe = folder / "probe.html"
    probe.write_text("<p>it works</p>")
    with contextlib.suppress(subprocess.TimeoutExpired):
        # Some packages of Chromium may not read such folders, or need what a container lacks.
        if program and "<p>it works</p>" in run(probe, "--dump-dom").stdout:
            return run
    warnings.warn("no Chromium that works here: the HTML report was only parsed", stacklevel=1)
    return None


@pytest.fixture(scope="module")
def report(phantom_ham, tmp_path_factory) -> Path:
    """A report of A1, A1+L and a baseline, where a lesion, the dataset and a label have dangerous names."""
    folder = tmp_path_factory.mktemp("report")
    shutil.copytree(phantom_ham / "prepared", folder / "prepared")
    lesions = read_csv(folder / "prepared" / "lesions.csv")
    tests = [lesion for lesion in lesions if lesion["split"] == "test"]
    tests[0]["lesion"] = EVIL
    write_csv(folder / "prepared" / "lesions.csv", lesions, list(lesions[0]))
    content = json.loads((folder / "prepared" / "prepared.json").read_text())
    (folder / "prepared" / "prepared.json").write_text(json.dumps(content | {"dataset": EVIL}))

    torch.manual_seed(0)
    save_checkpoint(folder / "a.pt", build_network(A1, "resnet18", 4), {"encoder": "resnet18", "canvas": [128, 128]})
    identity = LesionDataset.open(folder / "prepared").identity
    about = {"dataset": EVIL, "lesions": len(tests), "prepared": identity}
    checkpoint = {"checkpoint": {"file": "a.pt", "sha256": sha256(folder / "a.pt")}}
    history = [{"epoch": e, "train_total": 1 / e, "val_mask": 1 / e, "val_dice": 0.5, "best": 1} for e in (1, 2)]
    write_csv(folder / "a.history.csv", history, list(history[0]))
    runs = {"a1": result(**about, **checkpoint), "a1l": result("A1+L", **about), "baseline": baseline(EVIL, **about)}
    (folder / "results").mkdir()
    for place, (name, run) in enumerate(runs.items()):
        dice = [0.9 - number / 10 - place / 50 for number in range(len(tests))]
        (folder / "results" / f"{name}.json").write_text(json.dumps(run | {"dice": float(np.mean(dice))}))
        rows = [{"lesion": test["lesion"], "dice": value, "iou": 0.5} for test, value in zip(tests, dice, strict=True)]
        write_csv(folder / "results" / f"{name}.csv", rows, ["lesion", "dice", "iou"])
    out = folder / "report.html"
    html_report.main([str(folder / "results"), "--out", str(out)])
    return out


def test_the_page_is_whole_and_what_comes_from_files_is_only_text(report):
    page = parsed(report.read_text())
    # The heads of three tables; A1, A1+L and the baseline; A1+L minus two in two metrics; three runs.
    assert page.count["tr"] == 3 + 3 + 4 + 3
    assert page.count["h2"] == 6
    # Dice against size, learning curves, two worst and two best lesions of A1.
    assert page.count["img"] == 1 + 1 + 4
    assert any(EVIL in words for words in page.words)


def visit(browser, page: Path, folder: Path) -> tuple[subprocess.CompletedProcess, list[str]]:
    """Open a page: what the browser prints (the DOM and the log), and the requests that the page made."""
    log = folder / "net.json"
    done = browser(page, "--dump-dom", f"--log-net-log={log}")
    assert done.returncode == 0, done.stderr
    parameters = [event.get("params", {}) for event in json.loads(log.read_text())["events"]]
    # What the browser requests on its own account has no page for an origin.
    by_page = [event for event in parameters if event.get("initiator", "not an origin") != "not an origin"]
    return done, [event["url"] for event in by_page if "url" in event]


def test_in_a_browser(report, browser, tmp_path):
    if browser is None:
        pytest.skip("no Chromium works here; test_the_page parses the same")
    done, requests = visit(browser, report, tmp_path)
    assert requests == []
    assert "CONSOLE" not in done.stderr  # nothing was blocked, nothing ran
    assert parsed(done.stdout).count == parsed(report.read_text()).count

    picture = tmp_path / "shot.png"
    browser(report, f"--screenshot={picture}", "--window-size=1200,2000")
    shot = cv2.imread(str(picture), cv2.IMREAD_GRAYSCALE)
    assert shot.shape == (2000, 1200)
    assert shot[:, :8].min() > 250  # white to the edge: nothing is wider than the page
    assert shot[:, -8:].min() > 250
    assert shot.min() < 60  # dark text


@pytest.mark.parametrize("guarded", [True, False])
def test_the_page_forbids_itself_scripts_and_requests(guarded, browser, tmp_path):
    text = html_report.render_page(group_runs([result() | {"path": tmp_path / "a.json"}]), {}, [])
    head, _, tail = text.partition("<section>")
    head = head if guarded else head.replace("Content-Security-Policy", "nothing")
    page = tmp_path / "attack.html"
    page.write_text(f"{head}<script>document.title = 'ran'</script><img src='http://localhost:9/a.png'>{tail}")
    assert ("default-src 'none'" in head) and ("Content-Security-Policy" in head) == guarded
    if browser is None:
        pytest.skip("no Chromium works here")
    done, requests = visit(browser, page, tmp_path)
    assert ("<title>ran" in done.stdout) == (not guarded)
    assert bool(requests) == (not guarded)
    assert ("Content Security Policy" in done.stderr) == guarded


def test_from_results_alone_then_with_what_is_named(report, tmp_path):
    arguments = [str(shutil.copytree(report.parent / "results", tmp_path / "alone" / "results"))]
    arguments += ["--out", str(tmp_path / "a.html")]
    html_report.main(arguments)
    page = parsed((tmp_path / "a.html").read_text())
    assert page.count["img"] == 0
    words = " ".join(page.words)
    for missing in (
        "pass --prepared DIR to see it",
        "pass --checkpoints DIR to see it",
        "the prepared folder that was scored is needed",
    ):
        assert missing in words
    shutil.copytree(report.parent / "prepared", tmp_path / "prepared")  # not beside the results
    shutil.copy(report.parent / "a.pt", tmp_path)
    html_report.main([*arguments, "--prepared", str(tmp_path / "prepared"), "--checkpoints", str(tmp_path)])
    assert parsed((tmp_path / "a.html").read_text()).count["img"] == 1 + 4


def test_a_checkpoint_that_cannot_be_drawn_stops_nothing(report, tmp_path):
    folder = shutil.copytree(report.parent, tmp_path / "copy")
    (folder / "a.state").touch()  # it is being trained on
    arguments = [str(folder / "results"), "--out", str(tmp_path / "a.html")]
    html_report.main([*arguments, "--prepared", str(folder / "prepared"), "--checkpoints", str(folder)])
    page = parsed((tmp_path / "a.html").read_text())
    assert "They can't be drawn: " in " ".join(page.words) and "a.pt" in " ".join(page.words)


def test_outlines_are_drawn_as_they_were_scored(report, tmp_path, monkeypatch):
    """Of a checkpoint that says nothing of itself, with the encoder and canvas of its evaluation."""
    folder = shutil.copytree(report.parent, tmp_path / "copy")
    save_checkpoint(folder / "a.pt", build_network(A1, "resnet18", 4), {})
    for path in (folder / "results").rglob("*.json"):
        run = json.loads(path.read_text())
        if "checkpoint" in run:
            run["checkpoint"]["sha256"] = sha256(folder / "a.pt")
            run["settings"] |= {"canvas": [144, 160], "protocol": "corrected"}
            write_json(path, run)
    load, canvases = Predictor.load, []
    monkeypatch.setattr(Predictor, "load", lambda *a, **k: canvases.append(k["canvas"]) or load(*a, **k))
    arguments = [str(folder / "results"), "--out", str(tmp_path / "a.html")]
    html_report.main([*arguments, "--prepared", str(folder / "prepared"), "--checkpoints", str(folder)])
    assert canvases == [(144, 160)]
    assert parsed((tmp_path / "a.html").read_text()).count["img"] == 4 + 1 + 2


def test_what_was_scored_is_found_by_its_identity(phantom_ham, tmp_path):
    identity = LesionDataset.open(phantom_ham / "prepared").identity
    assert html_report.find_datasets([tmp_path], {identity}) == {}
    for place, folder in (("direct", "prepared"), ("data", "Data_ham/prepared"), ("deep", "a/b/prepared")):
        shutil.copytree(phantom_ham / "prepared", tmp_path / place / folder)
    for place, folder in (("direct", "prepared"), ("data", "Data_ham/prepared")):
        (found,) = html_report.find_datasets([tmp_path / place], {identity, None}).values()
        assert found.folder == tmp_path / place / folder
    assert html_report.find_datasets([tmp_path / "deep"], {identity}) == {}
    assert html_report.find_datasets([tmp_path / "direct"], {"of other lesions", None}) == {}
    (tmp_path / "direct" / "prepared" / "lesions.csv").write_text("lesion\n")
    assert html_report.find_datasets([tmp_path / "direct"], {identity}) == {}


def test_one_result_has_nothing_to_be_compared_with(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(result()))
    html_report.main([str(tmp_path), "--out", str(tmp_path / "a.html")])
    page = parsed((tmp_path / "a.html").read_text())
    assert page.count["table"] == 2
    assert "Neither A1+L nor A1+R was scored beside another method" in " ".join(page.words)


def test_bad_input(tmp_path, phantom_ham):
    with pytest.raises(UserError, match="no evaluation results"):
        html_report.main([str(tmp_path), "--out", str(tmp_path / "a.html")])
    results = tmp_path / "results"
    write_json(results / "0.json", result())
    with pytest.raises(UserError, match="missing or unfinished"):
        html_report.main([str(results), "--prepared", str(tmp_path), "--out", str(tmp_path / "a.html")])
    with pytest.raises(UserError, match=f"0.json is not a folder of results; name its folder, {results}$"):
        html_report.main([str(results / "0.json"), "--out", str(tmp_path / "a.html")])
    assert list(tmp_path.iterdir()) == [results]


def test_the_published_row_is_set_apart(tmp_path):
    published = dict.fromkeys(("iou", "dice", "vs", "centre_error", "perimeter_error", "avd"), (1.0, 0.1))
    groups = group_runs([result(published=published) | {"path": tmp_path / "a.json"}])
    text = html_report.render_page(groups, {}, [])
    assert text.count('<tr class="paper"><td>HAM10000</td><td>A1 (paper)</td>') == 1


def test_lesions_of_another_identity_are_not_shown(phantom_ham, tmp_path):
    dataset = LesionDataset.open(phantom_ham / "prepared")
    groups = group_runs([result(prepared="of another window") | {"path": tmp_path / "a.json"}])
    assert "HAM10000: pass --prepared DIR" in html_report.render_page(groups, {dataset.identity: dataset}, [])


def test_identical_methods_and_undefined_metrics_are_explained(tmp_path):
    for label in ("A1", "A1+L"):
        run = scored(tmp_path, label, (0.5, 0.6, 0.7), result(label, avd=None))
        write_json(run.pop("path"), run)
    html_report.main([str(tmp_path), "--out", str(tmp_path / "a.html")])
    words = parsed((tmp_path / "a.html").read_text()).words
    assert words.count("identical") == 2 and UNDEFINED_NOTE in words
