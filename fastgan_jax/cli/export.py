"""Writes a trained generator for other programs: ONNX, StableHLO, or its weights as safetensors.

onnx and stablehlo map latents z [N, nz] (with --style-mix: content, style) to images [N, H, W, C], float32, nominally
in [-1, 1], not clipped. All images share one fixed noise, as Sampler.generate(z, noise_seed=...) has it; ONNX takes
other noise maps as optional inputs. An ONNX file is compared with JAX before it is put in place, if onnxruntime is
installed.
"""

import argparse
import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastgan_jax.cli import options
from fastgan_jax.errors import UserError
from fastgan_jax.utils.console import announced
from fastgan_jax.utils.files import check_outputs, replacing

if TYPE_CHECKING:
    from fastgan_jax.inference.sampler import Sampler

FORMATS = ("onnx", "stablehlo", "safetensors")
EXAMPLES = """examples:
  fastgan export --run runs/demo --out demo.onnx --format onnx
  fastgan export --run runs/demo --out mix.onnx --format onnx --style-mix --batch 1
  fastgan export --run runs/demo --out demo.stablehlo --format stablehlo
  fastgan export --run runs/demo --out demo.safetensors --format safetensors"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    add = parser.add_argument
    options.add_run(parser)
    options.add_out(parser, "file to write")
    add("--format", required=True, choices=FORMATS, help="kind of file")
    add("--batch", type=batch_size, metavar="N", help="images per call: a number, or dynamic (default)")
    add("--style-mix", action="store_true", help="the variant with two latents, content and style")
    add("--noise-seed", type=options.seed, metavar="S", help="of the fixed noise, 0 to 2^32 - 1 (default: 0)")


def batch_size(text: str) -> int | str:
    """A number of at least 1, or "dynamic"."""
    try:
        return text if text == "dynamic" else options.count(text)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"{error}, or dynamic") from None


def run(arguments: argparse.Namespace) -> None:
    """Writes the file and, for ONNX, compares it with JAX."""
    out, graph = arguments.out, graph_options(arguments)
    check_outputs([out], arguments.overwrite)
    sampler = options.load_generator(arguments)
    with announced(f"exporting {arguments.format}"):
        module = importlib.import_module(f"fastgan_jax.export.{arguments.format}")
        contents = getattr(module, f"{arguments.format}_bytes")(sampler, **graph)
    with replacing(out, cure="choose another --out") as temporary:
        temporary.write_bytes(contents)
        if arguments.format == "onnx":
            compare(temporary, sampler, graph)
    print(f"{arguments.format} of iteration {sampler.step}, {len(contents) / 1e6:.1f} MB: {out}")


def graph_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """The arguments that shape a graph; none for safetensors.

    Raises:
        UserError: if there are some for safetensors.
    """
    if arguments.format == "safetensors":
        for name in ("batch", "style_mix", "noise_seed"):
            value = getattr(arguments, name)
            if value is not None and value is not False:
                option = f"--{name.replace('_', '-')}"
                raise UserError(f"{option} has no effect on --format safetensors, which holds weights alone: omit it")
        return {}
    size = None if arguments.batch == "dynamic" else arguments.batch
    return {"batch": size, "style_mix": arguments.style_mix, "noise_seed": arguments.noise_seed or 0}


def compare(file: Path, sampler: "Sampler", graph: dict[str, Any]) -> None:
    """Compares an ONNX file with JAX, and prints the difference."""
    from fastgan_jax.export.onnx import check_onnx

    print("comparing with JAX in onnxruntime ...", flush=True)
    try:
        difference = check_onnx(file, sampler, **graph)
    except ImportError:
        print("not compared: onnxruntime is not installed; pip install 'fastgan_jax[onnx]'")
        return
    print(f"largest difference from JAX: {difference:.1e}, of values in [-1, 1]")
