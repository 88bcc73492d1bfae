"""The page about a run: whole, self-contained, and made of whatever can be read."""

import html.parser
import json
import re
import shutil

import numpy as np
import pytest
from tool_modules import load_tool

from fastgan_jax.charts import line_chart
from fastgan_jax.errors import UserError
from fastgan_jax.report import write_report
from fastgan_jax.writers import save_png

VOID = {"meta", "img", "line", "polyline", "circle"}


class Page(html.parser.HTMLParser):
    """Checks that elements close in order, and collects them and the text."""

    def __init__(self, text: str):
        super().__init__()
        self.open, self.elements, self.text = [], [], ""
        self.feed(text)
        self.close()
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data + " "

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def run(smoke_run, tmp_path):
    """A copy of a run without its checkpoints, with evaluations."""
    folder = tmp_path / "a run"
    shutil.copytree(smoke_run, folder, ignore=shutil.ignore_patterns("state", "sampler", "data", "tensorboard"))
    with open(folder / "metrics.jsonl", "a") as file:
        for step, fid in enumerate([9.0, 3.0, 4.0, 5.0, 6.5]):
            file.write(json.dumps({"step": step, "wall_time": 0, "eval/fid": fid, "eval/nearest": None}) + "\n")
    return folder


def page(path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


def test_training_leaves_a_report(smoke_run):
    assert "Iteration" in page(smoke_run / "report.html").text


def test_the_page_is_whole_and_needs_no_network(run):
    path = write_report(run)
    assert path == run / "report.html"
    found = page(path)
    assert found.all("html")[0]["lang"] == "en" and found.all("meta")[1]["name"] == "viewport"
    assert len(found.all("h1")) == 1 and found.all("h2")
    for attributes in found.all("img"):
        assert attributes["src"].startswith("data:image/webp;base64,") and attributes["alt"]
    assert all(attributes.get("aria-label") for attributes in found.all("svg"))
    assert not found.all("script") and not found.all("link")
    assert not re.search(r"https?:|url\(|@import", path.read_text())
    sources = [
        value for _, attributes in found.elements for name, value in attributes.items() if name in ("src", "href")
    ]
    assert sources and all(source.startswith("data:") for source in sources)


def test_everything_of_the_run_is_there(run):
    save_png(run / "nearest.png", np.zeros((8, 8, 3), np.uint8))
    found = page(write_report(run))
    captions = [attributes["alt"] for attributes in found.all("img")]
    assert captions[:3] == ["Iteration 4", "Iteration 2", "Iteration 0"] and len(captions) == 5
    charts = [attributes["aria-label"] for attributes in found.all("svg")]
    assert charts == ["fid", "Losses", "Reconstruction of real pictures", "Mean logits", "Gradient norms"]
    assert "4 of 4, batch 4" in found.text and "20 demo pictures, 64 pixels" in found.text
    assert "Over-training: fid was best at iteration 1 (3) and has risen to 6.5" in found.text
    assert "learning_rate" in found.text and "legacy resize" in found.text


def test_the_same_folder_gives_the_same_page(run):
    assert write_report(run).read_bytes() == write_report(run).read_bytes()


def test_without_evaluations_the_page_says_so(smoke_run, tmp_path):
    found = page(write_report(smoke_run, tmp_path / "x.html"))
    assert "No evaluation was made" in found.text and "Evaluation" not in found.text


def test_missing_and_damaged_parts_are_left_out(run):
    shutil.rmtree(run / "reconstructions")
    (run / "samples" / "000000002.png").write_bytes(b"no picture")
    (run / "metrics.jsonl").write_text('{"step": 1, "loss/d"')
    found = page(write_report(run))
    assert "This part could not be read and is left out." in found.text and "learning_rate" in found.text
    shutil.rmtree(run / "samples")
    shutil.rmtree(run / "checkpoints")
    (run / "config.json").write_text("{")
    assert page(write_report(run)).all("h1")


def test_names_cannot_break_the_page(run):
    record = json.loads((run / "config.json").read_text())
    record["config"]["data"]["path"] = "<script>alert(1)</script>"
    (run / "config.json").write_text(json.dumps(record))
    hostile = run.rename(run.parent / "<b>&")
    path = write_report(hostile)
    assert "<script" not in path.read_text() and "<b>" not in path.read_text()
    assert "<script>alert(1)</script>" in page(path).text


def test_what_is_no_run_is_named(tmp_path, capsys):
    with pytest.raises(UserError, match="is no run folder: there is no config.json in it"):
        write_report(tmp_path)
    assert load_tool("report").main(["--run", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_a_full_disk_does_not_fail_the_run(run, capsys):
    assert load_tool("report").main(["--run", str(run), "--out", str(run / "nowhere" / "x.html")]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_charts_leave_out_what_is_no_number_and_mark_a_point():
    chart = line_chart("x", {"a": [(0, 1.0), (1, None), (2, float("nan")), (3, 2.0)]}, mark=(3, 2.0))
    (points,) = re.findall(r'points="([^"]+)"', chart)
    assert len(points.split()) == 2 and chart.count("<circle") == 1
    mark = re.search(r'class="mark" r="6" cx="([\d.]+)" cy="([\d.]+)"', chart)
    assert points.split()[-1] == f"{mark[1]},{mark[2]}"
    assert line_chart("x", {"a": [(0, None)]}) == ""
    assert "NaN" not in line_chart("x", {"a": [(5, 0.0)]}) and line_chart("x", {"a": [(5, 0.0)]}).count("<circle") == 1


def test_long_charts_are_thinned_and_keep_their_end():
    chart = line_chart("x", {"a": [(i, float(i % 7)) for i in range(10_000)], "b": [(0, 1.0), (9_999, 2.0)]})
    first, second = (points.split() for points in re.findall(r'points="([^"]+)"', chart))
    assert len(first) <= 402 and first[-1].split(",")[0] == second[-1].split(",")[0]
    assert chart.count("<span") == 2
