"""The page about a run: whole, self-contained, and made of what can be read."""

import html.parser
import importlib.util
import json
import os
import re
import shutil

import numpy as np
import pytest
from tool_modules import load_tool

from fastgan_jax.errors import UserError
from fastgan_jax.pretrained import store
from fastgan_jax.report.page import refresh_report, write_report
from fastgan_jax.utils.grids import save_png

VOID = {"meta", "img"}


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

    def classes(self, name):
        return [attributes for _, attributes in self.elements if attributes.get("class") == name]

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


def set_setting(run, group, name, value):
    record = json.loads((run / "config.json").read_text())
    record["config"][group][name] = value
    (run / "config.json").write_text(json.dumps(record))


def evaluated(run, step, **numbers):
    """Adds an evaluation."""
    line = {"step": step} | {f"eval/{name}": value for name, value in numbers.items()}
    with open(run / "metrics.jsonl", "a") as file:
        file.write(json.dumps(line) + "\n")


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
    assert sources and all(source.startswith(("data:", "#")) for source in sources)


def test_everything_of_the_run_is_there(run):
    save_png(run / "nearest.png", np.zeros((8, 8, 3), np.uint8))
    found = page(write_report(run))
    captions = [attributes["alt"] for attributes in found.all("img")]
    assert captions[:3] == [f"Samples at iteration {step}" for step in (4, 2, 0)] and len(captions) == 5
    charts = [attributes["aria-label"] for attributes in found.all("svg")]
    assert charts == ["fid", "Losses", "Reconstruction of real images", "Mean logits", "Gradient norms"]
    assert "4 of 4, batch 4" in found.text and "the demo images, 64 pixels" in found.text
    assert "Over-training: fid was best at iteration 1 (3) and has risen to 6.5" in found.text
    assert "learning_rate" in found.text and "not finished" not in found.text
    assert "samples. inception, legacy resize. Large numbers" in found.text  # fid needs no perceptual distance
    assert "Lower is better; best at iteration 1: 3. Fréchet Inception distance" in found.text
    assert "what the discriminator's decoders make of it: big. Iteration 4." in found.text


def test_an_unfinished_run_is_called_that(run):
    set_setting(run, "train", "iterations", 5)
    text = page(write_report(run)).text
    assert "4 of 5, batch 4" in text and "not finished" in text


def test_the_same_folder_gives_the_same_page(run):
    assert write_report(run).read_bytes() == write_report(run).read_bytes()


def test_without_evaluations_the_page_says_so(smoke_run, tmp_path):
    found = page(write_report(smoke_run, tmp_path / "x.html"))
    assert "No evaluation was made, so nothing is known of over-training, memorization or collapse." in found.text
    assert "There are no evaluations" in found.text and "No sign" not in found.text


def test_only_what_was_measured_is_called_sound(run):
    found = page(write_report(run))
    assert "Not known: memorization (needs nearest), collapse (needs diversity)." in found.text
    assert "No sign" not in found.text
    (run / "metrics.jsonl").unlink()
    for step in (1, 2):
        evaluated(run, step, fid=1.0, diversity=0.5, nearest=0.5, nearest_flipped=0.2, nearest_cropped=0.2)
    found = page(write_report(run))
    assert "No sign of memorization or collapse." in found.text and not found.classes("warning")
    assert "Not known: over-training (needs fid of more than 3 evaluations)." in found.text


def test_each_sign_is_asked_of_the_newest_evaluation_that_can_tell(run):
    rows = [{"step": 6, "diversity": 0.1, "diversity_real": 0.5}]
    facts = {"num_samples": 12, "num_real": 20, "real": "training set", "networks": "", "checkpoints": rows}
    (run / "evaluation.json").write_text(json.dumps(facts))
    found = page(write_report(run)).text
    assert "Over-training: fid was best at iteration 1" in found and "Collapse: the mean distance" in found
    for other in (json.dumps(facts | {"real": "/others"}), "damaged"):
        (run / "evaluation.json").write_text(other)
        found = page(write_report(run)).text
        assert "Over-training: fid" in found and "collapse (needs diversity)" in found and "Collapse:" not in found


def test_a_page_is_refreshed_where_its_curves_can_be_drawn(run, monkeypatch, caplog):
    written = [run / "evaluation.json"]
    assert refresh_report(run / "checkpoints", written) == run / "report.html"
    assert refresh_report(run, [run / "other.json"]) is None and not caplog.records
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert (
        refresh_report(run, written) is None
        and "not refreshed: charts need the package matplotlib: pip install matplotlib, and fastgan report"
        in caplog.text
    )


def test_every_warning_stands_before_the_images(run):
    evaluated(run, 5, fid=7.0, diversity=0.5)
    evaluated(run, 6, fid=7.0, diversity=0.1, nearest=0.1, nearest_flipped=0.2, nearest_cropped=0.2)
    path = write_report(run)
    text = path.read_text()
    for warning in ("Over-training: ", "Memorization: ", "Collapse: "):
        assert 0 < text.index(f'<p class="warning">{warning}') < text.index("<img")
    assert len(page(path).classes("warning")) == 3 and "No sign" not in text and "Not known" not in text


def test_what_a_number_is_to_be_compared_with_stands_beside_it(run):
    numbers = {"diversity": 0.5, "diversity_real": 0.6, "nearest": 0.4, "nearest_real": 0.3, "nearest_flipped": 0.2}
    evaluated(run, 5, kid=2.0, kid_spread=0.25, precision=0.0, **numbers)
    found = page(write_report(run))
    charts = [attributes["aria-label"] for attributes in found.all("svg")]
    assert charts[:5] == ["fid", "nearest", "kid", "precision", "diversity"]
    for series in ("diversity 0.5", "diversity_real 0.6", "nearest 0.4", "nearest_real 0.3", "nearest_flipped 0.2"):
        assert f" {series} " in found.text
    assert "Standard deviation of kid over subsets: 0.25." in found.text and "Higher is better; best" in found.text
    set_setting(run, "loss", "perceptual_net", "squeeze_caffe")
    assert "cosine distance (squeeze_caffe), not LPIPS" in page(write_report(run)).text


def test_every_evaluation_is_in_the_table(run):
    evaluated(run, 5, fid=1.25)
    text = write_report(run).read_text()
    table = text[text.index("All evaluations") :].split("</details>")[0]
    rows = [re.findall(r"<t[hd][^>]*>([^<]*)<", row) for row in table.split("<tr>")[1:]]
    assert rows[0] == ["iteration", "fid", "nearest"] and len(rows) == 7
    assert rows[1] == ["0", "9", "-"] and rows[-1] == ["5", "1.25", "-"]


def test_numbers_of_earlier_evaluations_are_shown(run):
    evaluated(run, 5, precision=0.5)
    charts = [attributes["aria-label"] for attributes in page(write_report(run)).all("svg")]
    assert charts[:2] == ["fid", "precision"]


def remove_samples(run):
    shutil.rmtree(run / "samples")


def remove_reconstructions(run):
    shutil.rmtree(run / "reconstructions")


def remove_metrics(run):
    (run / "metrics.jsonl").unlink()


def cut_metrics(run):
    (run / "metrics.jsonl").write_text('{"step": 1, "loss/d"')


def damage_metrics(run):
    (run / "metrics.jsonl").write_bytes(b"\xff\xfe\x00")


def folder_for_metrics(run):
    remove_metrics(run)
    (run / "metrics.jsonl").mkdir()


def damage_config(run):
    (run / "config.json").write_text("{")


def ungrouped_config(run):
    (run / "config.json").write_text('{"config": [1]}')


def damage_image(run):
    (run / "samples" / "000000002.png").write_bytes(b"no image")


def cut_reconstruction(run):
    newest = max((run / "reconstructions").glob("*.png"))
    newest.write_bytes(newest.read_bytes()[:200])


def damage_nearest(run):
    (run / "nearest.png").write_bytes(b"")


def remove_checkpoints(run):
    shutil.rmtree(run / "checkpoints")


def empty_checkpoints(run):
    remove_checkpoints(run)
    (run / "checkpoints").mkdir()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (remove_samples, "There are no sample grids in the run folder."),
        (remove_reconstructions, "There are no reconstructions in the run folder."),
        (remove_metrics, "There are no numbers of training in metrics.jsonl."),
        (cut_metrics, "There are no numbers of training in metrics.jsonl."),
        (damage_metrics, "There are no numbers of training in metrics.jsonl."),
        (folder_for_metrics, "This part could not be read and is left out."),
        (damage_config, "This part could not be read and is left out."),
        (ungrouped_config, "This part could not be read and is left out."),
        (damage_image, "samples/000000002.png could not be read and is left out."),
        (cut_reconstruction, ".png could not be read and is left out."),
        (damage_nearest, "nearest.png could not be read and is left out."),
        (remove_checkpoints, "no checkpoint"),
        (empty_checkpoints, "no checkpoint"),
    ],
)
def test_what_is_missing_or_damaged_is_said_and_takes_nothing_else_along(run, damage, said):
    whole = page(write_report(run))
    assert said not in whole.text
    damage(run)
    found = page(write_report(run))
    assert said in found.text
    about_metrics = damage in (remove_metrics, cut_metrics, damage_metrics, folder_for_metrics)
    assert bool(found.classes("warning")) != about_metrics
    assert bool(found.all("svg")) != about_metrics
    assert ("learning_rate" in found.text) == (damage not in (damage_config, ungrouped_config))
    lost = {remove_samples: 3, remove_reconstructions: 1, damage_image: 1, cut_reconstruction: 1}.get(damage, 0)
    assert len(found.all("img")) == len(whole.all("img")) - lost


def test_other_files_among_the_samples_are_not_taken_for_grids(run):
    shutil.copy(run / "samples" / "000000002.png", run / "samples" / "notes.png")
    assert "left out" not in page(write_report(run)).text


def test_names_cannot_break_the_page(run):
    attack = "<script>alert(1)</script>"
    for group, name in (("data", "path"), ("eval", "num_samples"), ("eval", "features"), ("train", "batch_size")):
        set_setting(run, group, name, attack)
    set_setting(run, "model", attack, '"><img src=x>')
    record = json.loads((run / "config.json").read_text())
    record |= {"device": attack, "git_commit": attack, "versions": {attack: attack}}
    record["config"][attack] = {attack: attack}
    (run / "config.json").write_text(json.dumps(record))
    evaluated(run, 7, **{attack: 1.0})
    evaluated(run, attack, fid=1.0)
    hostile = run.rename(run.parent / "<b>&")
    path = write_report(hostile)
    found = page(path)
    assert not {"script", "b"} & {tag for tag, _ in found.elements}
    assert all(attributes["src"].startswith("data:") for attributes in found.all("img"))
    assert found.text.count(attack) >= 10 and "<b>&" in found.text and "left out" not in found.text


def test_names_that_are_no_unicode_do_not_fail_a_run(run):
    set_setting(run, "data", "path", "/images/\udcff")
    odd = run.rename(run.parent / os.fsdecode(b"a\xffb"))
    assert "a?b" in page(write_report(odd)).text


def test_a_run_is_found_from_its_checkpoints(run):
    assert write_report(run / "checkpoints") == run / "report.html"


def test_what_is_no_run_is_named(tmp_path, capsys):
    with pytest.raises(UserError, match="is not a run folder: there is no config.json in it"):
        write_report(tmp_path)
    assert load_tool("report").main(["--run", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_a_full_disk_does_not_fail_the_run(run, capsys):
    assert load_tool("report").main(["--run", str(run), "--out", str(run / ("x" * 300))]) == 2
    assert re.match("error: .*(File name too long|cannot be written)", capsys.readouterr().err)


@pytest.mark.parametrize("name", ["page.pdf", "page.PNG"])
def test_a_page_has_no_other_formats_suffix(run, tmp_path, capsys, name):
    assert load_tool("report").main(["--run", str(run), "--out", str(tmp_path / name)]) == 2
    assert capsys.readouterr().err == f"error: --out {tmp_path / name}: must end in .html\n"
    assert not (tmp_path / name).exists()


def test_the_tool_replaces_only_its_own_page_unasked(run, tmp_path, capsys):
    tool, out = load_tool("report"), tmp_path / "new" / "x.html"
    for _ in range(2):
        assert tool.main(["--run", str(run)]) == 0
    assert tool.main(["--run", str(run), "--out", str(out)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(out) and page(out).text
    assert tool.main(["--run", str(run), "--out", str(out)]) == 2
    assert "exists already: choose another --out, or add --overwrite" in capsys.readouterr().err
    assert tool.main(["--run", str(run), "--out", str(out), "--overwrite"]) == 0


def test_what_tools_leave_in_the_run_folder_goes_in(run, caplog):
    text = page(write_report(run)).text
    for command in (
        f"fastgan nearest --run '{run}' --out '{run}/nearest.png'",
        f"fastgan evaluate --run '{run}' --step all --json '{run}/evaluation.json'",
    ):
        assert command in text
    (run / "metrics.jsonl").write_text("")
    rows = [{"step": step, "kid": kid, "diversity": 0.1} for step, kid in ((0, 1.5), (2, 1.25), (4, None))]
    facts = {"num_samples": 12, "num_real": 20, "real": "training set", "networks": "a network <b>", "mirrored": True}
    judged = facts | {"protocol": {"kid": "as stated"}, "checkpoints": rows, "warnings": []}
    for row in rows:
        row["diversity_real"] = 0.5
    (run / "evaluation.json").write_text(json.dumps(judged))
    found = page(write_report(run))
    assert "12 samples against 20 real images. a network <b>. kid: as stated. Large numbers are those" in found.text
    assert "Lower is better; best at iteration 2: 1.25." in found.text
    assert "Collapse: the mean distance between samples is 0.1" in found.text
    assert "none was made while training (eval.every)" in found.text and "evaluation.json" not in found.text
    (run / "evaluation.json").write_text(json.dumps(judged | {"checkpoints": []}))
    assert "This part could not be read and is left out." in page(write_report(run)).text
    assert f"a part of the report is left out ({run / 'evaluation.json'}:" in caplog.text


def test_the_network_that_the_page_names_is_the_one_that_evaluate_takes(run, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("efficientnet_lite0", "squeezenet_caffe"):
        store.cached_path(name).write_bytes(b"")
    for discriminator, network in (("fastgan", "efficientnet_lite0"), ("projected", "squeeze_caffe")):
        set_setting(run, "model", "discriminator", discriminator)
        assert f"Its network: {network} is used; better, but not here: inception" in page(write_report(run)).text


def test_a_run_without_decoders_and_spaces_between_their_names(run):
    set_setting(run, "model", "decoders", "big, part")
    assert "make of it: big, part (of the top-left quarter). Iteration 4." in page(write_report(run)).text
    set_setting(run, "model", "part", "eighth")
    assert "part (of the top-left 64th)" in page(write_report(run)).text
