"""The types of options, and what commands share."""

import argparse
from types import SimpleNamespace

import pytest
from tool_modules import run

from fastgan_jax.cli import options
from fastgan_jax.cli.app import command_names, find_command, parse
from fastgan_jax.cli.options import label_of, split_overrides
from fastgan_jax.errors import UserError


@pytest.mark.parametrize(
    ("read", "good", "value", "wrong"),
    [
        (options.count, "3", 3, ("0", "-1", "1.5", "")),
        (options.index, "0", 0, ("-1", "a")),
        (options.seed, "4294967295", 2**32 - 1, ("-1", "4294967296")),
        (options.truncation, "0.5", 0.5, ("-0.5", "0", "1.1", "nan", "inf")),
        (options.step, "12", 12, ("-1", "newest", "")),
        (options.seeds, "0,3, 7-9", [0, 3, 7, 8, 9], ("", "a", "1,,2", "3-1", "4294967296", "1.5", "0-4294967295")),
        (options.numbers, "64,128", [64, 128], ("", "a", "1,")),
        (options.grid, "2x3", (2, 3), ("2", "0x3", "ax2", "2x3x4")),
    ],
)
def test_types_of_options(read, good, value, wrong):
    assert read(good) == value
    for text in wrong:
        with pytest.raises(argparse.ArgumentTypeError, match=f"^{text}: "):
            read(text)


def test_paths_are_the_users(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    arguments = parse("sample", ["--run", "~/runs/a", "--out", "~/x.png"])
    assert (str(arguments.run), str(arguments.out)) == ("/home/me/runs/a", "/home/me/x.png")


def test_labels_fit_the_model():
    def chosen(label: int | None, classes: int, saved: int | None = None) -> int | None:
        sampler = SimpleNamespace(generator=SimpleNamespace(num_classes=classes))
        return label_of(argparse.Namespace(label=label), sampler, SimpleNamespace(label=saved, path="z.npz"))

    assert chosen(2, 3) == 2 == chosen(None, 3, saved=2) and chosen(0, 3, saved=2) == 0 and chosen(None, 0) is None
    for label, classes, message in (
        (None, 3, "this model is conditional; give --label from 0 to 2"),
        (3, 3, "--label 3: there is no such class; give --label from 0 to 2"),
        (0, 0, "--label 0: this model is unconditional; leave --label out"),
    ):
        with pytest.raises(UserError, match=message):
            chosen(label, classes)
    for saved, classes, message in (
        (7, 3, "^z.npz: labels=7: there is no such class; give --label from 0 to 2"),
        (2, 0, "^z.npz: labels=2: this model is unconditional; give latents of this run"),
    ):
        with pytest.raises(UserError, match=message):
            chosen(None, classes, saved)


def test_overrides_are_split_from_the_rest():
    words = ["--config", "a.py", "--config.data.path=x=y", "--config.train.seed", "3", "--workdir", "w"]
    overrides, rest = split_overrides(words)
    assert overrides == [("data.path", "x=y"), ("train.seed", "3")]
    assert rest == ["--config", "a.py", "--workdir", "w"]
    with pytest.raises(UserError, match="--config.data.path has no value"):
        split_overrides(["--config.data.path"])


def test_only_some_commands_take_overrides(capsys):
    assert parse("benchmark", ["--config.model.nz=4"]).overrides == [("model.nz", "4")]
    assert run("report", "--run", "any", "--config.model.nz=4") == 2
    assert capsys.readouterr().err == "error: unrecognized arguments: --config.model.nz; see fastgan report --help\n"


@pytest.mark.parametrize("spelling", ["--neighbors", "--neighbours"])
def test_neighbors_in_both_spellings(spelling):
    assert parse("nearest", ["--run", "r", "--out", "o.png", spelling, "5"]).neighbors == 5


def path_options(command):
    """{option: its type} of the options of a command that take a path, with those of its sub-commands."""
    parser = options.Parser()
    find_command(command).add_arguments(parser)
    found, parsers = {}, [parser]
    while parsers:
        for action in parsers.pop()._actions:
            if isinstance(action, argparse._SubParsersAction):
                parsers += action.choices.values()
            elif action.metavar and {"FILE", "DIR", "PATH", "RUN", "IMAGES"} & {*str(action.metavar).split("|")}:
                found["/".join(action.option_strings) or action.dest] = action.type
    return found


@pytest.mark.parametrize("command", command_names())
def test_no_path_may_be_an_address(command):
    named_otherwise = {"--config", "--target"}  # also take names; they are read by `user_path`
    for option, read in path_options(command).items():
        if option not in named_otherwise:
            for address in ("s3://b/x.png", "gs://b/x.png", "https://h/x.png", "hf://me/x.png"):
                if not (option == "--run" and address.startswith("hf://")):
                    with pytest.raises(argparse.ArgumentTypeError, match="is an address: give a local path"):
                        read(address)


@pytest.mark.parametrize(
    "words",
    [
        ["train", "--config", "s3://b/c.py"],
        ["train", "--preset", "demo", "--config.data.path=s3://b/x", "--config.data.demo_images=None"],
        ["train", "--preset", "demo", "--config.data.cache_dir=gs://b/x"],
        ["benchmark", "--config", "smoke", "--target", "s3://b/x"],
        ["weights", "--import", "s3://b/x.pth", "vgg16"],
        ["convert", "import", "--checkpoint", "https://h/x.pth", "--out", "x"],
    ],
)
def test_an_address_is_one_line(words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(*words) == 2
    error = capsys.readouterr().err
    assert "an address" in error and error.count("\n") == 1
    assert not any(tmp_path.iterdir())
