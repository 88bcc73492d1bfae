"""The commands as modules, by the names of their files in tools/, and what their tests share."""

from functools import partial
from pathlib import Path
from types import ModuleType

import jax
import numpy as np
import pytest
from PIL import Image

import fastgan_jax
from fastgan_jax.cli.app import find_command, parse, run_command
from fastgan_jax.inference import restore
from fastgan_jax.inference.sampler import Sampler
from fastgan_jax.models.generator import Generator, noise_sides
from fastgan_jax.models.init import initial_variables


def load_tool(name: str) -> ModuleType:
    """The module of the command that tools/<name>.py runs; its `parse` and `main` take the command's arguments."""
    command = "convert" if name == "convert_pytorch" else name.replace("_", "-")
    module = find_command(command)
    module.parse, module.main = partial(parse, command), partial(run_command, command)
    return module


def run(command: str, *arguments: object) -> int:
    """The exit code of a command."""
    return run_command(command, [str(argument) for argument in arguments])


def pixels(path: Path) -> np.ndarray:
    """An image file as uint8 [H, W, C]."""
    with Image.open(path) as image:
        return np.asarray(image)


def video_frames(folder: Path, count: int) -> np.ndarray:
    """The frames of a folder that must hold `count`."""
    paths = sorted(folder.iterdir())
    assert [path.name for path in paths] == [f"frame_{index:06d}.png" for index in range(count)]
    return np.stack([pixels(path) for path in paths])


def use_model(monkeypatch: pytest.MonkeyPatch, noise_weight: float = 0, **parts: object) -> Sampler:
    """Lets the commands find a model of other parts, untrained, whatever run folder is named."""
    generator = Generator(64, ngf=4, **parts)
    spec = partial(jax.ShapeDtypeStruct, dtype=np.float32)
    noise = tuple(spec((2, side, side, 1)) for side in noise_sides(64))
    labels = jax.ShapeDtypeStruct((2,), np.int32)
    variables = initial_variables(jax.random.key(0), generator, spec((2, 8)), noise, labels, train=False)
    params = jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf + noise_weight if path[-1].key == "noise_weight" else leaf, variables["params"]
    )
    sampler = Sampler(generator, variables | {"params": params}, z_dim=8, step=4)
    for module in (fastgan_jax, restore):
        monkeypatch.setattr(module, "load", lambda path, step="latest": sampler)
    return sampler
