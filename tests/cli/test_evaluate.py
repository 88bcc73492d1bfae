"""fastgan evaluate: table, JSON and plot of checkpoints, and what it refuses."""

import dataclasses
import json
import re

import pytest
from random_networks import cache_random_squeezenet
from tool_modules import load_tool

from fastgan_jax import main
from fastgan_jax.pretrained import store
from fastgan_jax.pretrained.registry import FEATURE_NETWORKS, FILES


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """A cache folder with a random SqueezeNet as the only weights."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        small = dataclasses.replace(FEATURE_NETWORKS["squeeze_caffe"], side=48)  # to save time
        patch.setitem(FEATURE_NETWORKS, "squeeze_caffe", small)
        cache_random_squeezenet()
        yield


def test_metrics_alone_start_no_download(smoke_run, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setitem(FILES, "efficientnet_lite0", dataclasses.replace(FILES["efficientnet_lite0"], package=""))
    monkeypatch.setattr(store, "_download", lambda *_: pytest.fail("a download that nobody asked for"))
    assert load_tool("evaluate").main(["--run", str(smoke_run), "--metrics", "kid,layout"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(
        "error: eval.metrics=kid,layout: kid needs a feature network, and none is on this machine; "
    )
    assert error.endswith("eval.metrics=layout,swd needs none; here: --metrics, --features\n")


@pytest.mark.parametrize(
    ("option", "metrics"), [("--net", "layout,kid"), ("--weights", "layout"), ("--features", "layout,nearest")]
)
def test_options_of_networks_that_no_metric_needs_are_refused(smoke_run, capsys, option, metrics):
    command = ["--run", str(smoke_run), "--metrics", metrics, option, "squeeze"]
    assert load_tool("evaluate").main(command) == 2
    told = f"error: {option} has no effect with metrics that need no such network ({', '.join(metrics.split(','))})"
    assert capsys.readouterr().err.startswith(told)


def test_two_results_do_not_share_a_file(smoke_run, tmp_path, capsys):
    (tmp_path / "link.png").symlink_to("same.png")
    outputs = ["--plot", str(tmp_path / "same.png"), "--coverage", str(tmp_path / "link.png")]
    assert load_tool("evaluate").main(["--run", str(smoke_run), *outputs]) == 2
    assert f"error: --plot and --coverage both name {tmp_path / 'link.png'}: choose" in capsys.readouterr().err


@pytest.mark.slow
def test_the_mode_eval_and_the_command_evaluate_every_kept_checkpoint(smoke_run, tmp_path, capsys, caplog, monkeypatch):
    run = tmp_path / "run"
    run.mkdir()
    for name in ("checkpoints", "data", "config.json"):
        (run / name).symlink_to(smoke_run / name)
    settings = ["features=squeeze_caffe", "metrics=frechet,density_coverage", "num_samples=12"]
    arguments = ["--config", "configs/smoke.py", "--mode=eval", "--workdir", str(run)]
    assert main.main(arguments + [f"--config.eval.{setting}" for setting in settings]) == 0
    table = capsys.readouterr().out.splitlines()
    pages = ["evaluation.json", "evaluation.png", "coverage.png", "report.html"]
    assert table[-4:] == [str(run / name) for name in pages] and all(
        (run / name).stat().st_size > 500 for name in pages
    )
    assert "evaluation.json; this command makes it" not in (run / "report.html").read_text()
    assert re.match(r"run: 12 samples against 20 real images \(squeeze_caffe, unit length, legacy resize\)", table[0])
    assert [line.split()[0] for line in table[3:6]] == ["0", "2", "4"] and sum("*" in line for line in table) >= 1
    written = json.loads((run / "evaluation.json").read_text())
    assert [row["step"] for row in written["checkpoints"]] == [0, 2, 4]
    assert (run / "evaluation.png").stat().st_size > 1000

    tool = load_tool("evaluate")
    options = ["--metrics", "frechet,density_coverage", "--features", "squeeze_caffe", "--num", "12", "--step", "2,4"]
    assert tool.main(["--run", str(run), *options, "--json", str(tmp_path / "x.json")]) == 0
    assert json.loads((tmp_path / "x.json").read_text())["checkpoints"] == written["checkpoints"][1:]
    (run / "report.html").unlink()
    assert tool.main(["--run", str(run), *options, "--json", str(tmp_path / "x.json"), "--overwrite"]) == 0
    assert not (run / "report.html").exists()  # nothing that it shows has changed
    options[1] = "frechet"  # to which the figure of coverage adds what it needs
    pictures = ["--coverage", str(run / "coverage.png"), "--overwrite"]
    assert tool.main(["--run", str(run), *options, *pictures]) == 0 and (run / "report.html").exists()
    covered = json.loads((tmp_path / "x.json").read_text())["coverage"]
    assert covered["covered"] + len(covered["uncovered"]) == 20 and covered["step"] == 4
    monkeypatch.setitem(FILES, "efficientnet_lite0", dataclasses.replace(FILES["efficientnet_lite0"], package=""))
    monkeypatch.setattr(store, "_download", lambda *_: pytest.fail("a download that nobody asked for"))
    unnamed = ["--run", str(run), "--num", "12", "--step", "2", "--json", str(tmp_path / "y.json")]
    assert tool.main(unnamed) == 0
    assert "squeeze_caffe is used; better, but not here: inception (91 MB" in caplog.text
    chosen = json.loads((tmp_path / "y.json").read_text())
    assert {"frechet", "kid"} <= chosen["checkpoints"][0].keys() and "fid" not in chosen["checkpoints"][0]
    assert (
        chosen["remarks"] == [line for line in chosen["remarks"] if "fastgan weights --fetch inception" in line] != []
    )
    capsys.readouterr()
    for wrong, message in (
        (["--step", "3"], "has no checkpoint 3"),
        (["--step", "newest"], "--step newest: .* latest"),
        (["--metrics", "fid"], "eval.metrics=fid with eval.features=squeeze_caffe: "),
        (["--metrics", "is"], "eval.metrics='is': .* fid, frechet"),
        (["--features", "squeeze", "--feature-weights", "no.npz"], ": --metrics, --features, --feature-w"),
        (["--label", "0"], "label=0: the run has no classes"),
        (["--num", "1"], "(eval.num_samples=1: .* 2.*: --num|--num 1: .*2.*)\n"),
        (["--json", str(tmp_path / "x.json")], "x.json exists already: choose another --json, or add --overwrite"),
        (["--plot", str(run / "evaluation.png")], "exists already: choose another --plot, or add --overwrite"),
        (["--metrics", ""], "eval.metrics is empty: give names of fid, frechet"),
        (["--coverage", "x.jpg"], "--coverage x.jpg|--coverage: x.jpg: must be a .png file"),
        (["--plot", "curve.txt"], "--plot curve.txt: must end in .png"),
        (["--json", str(tmp_path / "x.json" / "y.json")], "x.json is not a folder: choose another --json"),
        (["--data", str(tmp_path / "nothing")], "nothing"),
    ):
        assert tool.main(["--run", str(run), *options, *wrong]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1 and re.search(message, error)
