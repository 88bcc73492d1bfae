"""The command `benchmark`: what it prints, writes and refuses."""

from pathlib import Path

import pytest
from tool_modules import load_tool

from fastgan_jax.benchmark import results, workload
from fastgan_jax.utils.files import write_json

ROOT = Path(__file__).resolve().parents[2]

tool = load_tool("benchmark")


def test_compare_prints_ratios(changed, tmp_path, capsys):
    paths = [str(tmp_path / name) for name in ("a.json", "b.json")]
    for path, factor in zip(paths, (1, 2.5), strict=True):
        write_json(path, changed(factor))
    assert tool.main(["--compare", *paths]) == 0
    text = capsys.readouterr().out
    assert "ms_per_iteration (median): 2.500" in text and "compile_seconds (cold): 1.000" in text
    assert "memory (allocator_peak): not known of both" in text and "not the same" not in text


@pytest.mark.parametrize(("content", "message"), [("{", "not a benchmark's JSON file"), ("{}", "not a result")])
def test_compare_refuses_other_files(tmp_path, capsys, content, message):
    path = tmp_path / "a.json"
    path.write_text(content)
    assert tool.main(["--compare", str(path), str(path)]) == 2
    assert f"error: {path}: {message}" in capsys.readouterr().err


class StubRunner:
    """In place of a compiled workload."""

    def __init__(self, result: results.Result):
        self.made, self.profiled = result, None

    def check_block(self, iterations: int) -> None:
        assert iterations == 4

    def time_block(self, iterations: int) -> float:
        return 0.25 * iterations

    def result(self, seconds: list[float], iterations: int) -> results.Result:
        return results.complete(self.made, seconds, iterations)

    def profile(self, folder: str) -> None:
        self.profiled = folder


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--on-command", "--against", "train.remat=full"], "--against has no effect with these options"),
        (["--profile", "trace", "--target", "h100"], "--profile has no effect"),
        (["--hlo", "program.txt"], "--hlo has no effect"),
        (["--target", "h100", "--json", "x", "--hlo", "./x"], "--json and --hlo both name x: choose a file for each"),
        (["--against", "bfloat16"], "--against 'bfloat16': give fields as NAME=VALUE"),
        (["--against", " "], "--against ' ': give fields as NAME=VALUE"),
        (["--against", "train.remat=full", "--against", "train.remat=full"], "is given twice"),
        (
            ["--iterations", "7", "--config.train.scan=2", "--config.train.log_every=2"],
            "--iterations 7: one call makes 2",
        ),
    ],
)
def test_the_tool_refuses_what_makes_no_sense(options, message, capsys):
    assert tool.main(["--config", str(ROOT / "configs" / "smoke.py"), *options]) == 2
    assert message in capsys.readouterr().err


def test_the_tool_prints_and_writes(result, monkeypatch, tmp_path, capsys):
    stub, path = StubRunner(result), tmp_path / "out" / "result.json"
    monkeypatch.setattr(workload, "make_workload", lambda config: stub)
    monkeypatch.setattr(workload, "Runner", lambda workload: stub)
    options = ["--iterations", "4", "--blocks", "3", "--json", str(path), "--profile", "trace"]
    assert tool.main(["--config", str(ROOT / "configs" / "smoke.py"), *options]) == 0
    written = results.read_json(str(path))
    assert written["ms_per_iteration"]["blocks"] == [250.0] * 3 and written["iterations_per_block"] == 4
    assert stub.profiled == "trace"
    assert results.markdown([results.cells(written)]) in capsys.readouterr().out


@pytest.mark.parametrize("module", [tool, load_tool("benchmark_pytorch")])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no configuration: add --config"),
        (["--config", "configs/smoke.py", "--blocks", "0"], "--blocks 0: must be a whole number, at least 1"),
        (["--config", "configs/smoke.py", "--iterations", "-1"], "--iterations -1: must be a whole number, at least 1"),
        (["--config", "configs/smoke.py", "--threads", "0"], "--threads 0: "),
        (["--config", "configs/smoke.py", "--config.train.remat=some"], "train.remat='some'"),
    ],
)
def test_bad_arguments_are_refused(module, arguments, message, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    assert module.main(arguments) == 2
    assert f"error: {message}" in capsys.readouterr().err


def test_a_side_refuses_blocks_before_it_compiles(monkeypatch, capsys):
    """As `--against` starts it: each side is told the number of iterations."""
    monkeypatch.setattr(workload, "Runner", lambda work: pytest.fail("compiled"))
    arguments = tool.parse(
        ["--config", "smoke", "--config.train.log_every=2", "--iterations", "3", "--against", "train.scan=2"]
    )
    _, variation = tool.commands_of(arguments).values()
    assert tool.main(variation[4:]) == 2
    assert "--iterations 3: one call makes 2 iteration(s); give a multiple" in capsys.readouterr().err
