"""Writes a trained generator for other programs: ONNX, StableHLO, or its weights as safetensors.

onnx and stablehlo map latents z [N, nz] (with --style-mix: content, style) to images [N, H, W, C], float32, nominally
in [-1, 1], not clipped. All images share one fixed noise, as Sampler.generate(z, noise_seed=...) has it; ONNX takes
other noise maps as optional inputs. An ONNX file is compared with JAX before it is put in place, if onnxruntime is
installed.
"""

import argparse
import importlib
from typing import Any

from fastgan_jax.cli import options
from fastgan_jax.errors import UserError
from fastgan_jax.utils.console import announced
from fastgan_jax.utils.files import check_outputs, replacing

FORMATS = ("onnx", "stablehlo", "safetensors")
EXAMPLES = """examples:
  fastgan export --run runs/demo --out demo.onnx --format onnx
  fastgan export --run runs/demo --out mix.onnx --format onnx --style-mix --batch 1
  fastgan export --run runs/demo --out demo.stablehlo --format stablehlo
  fastgan export --run runs/demo --out demo.safetensors --format safetensors"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    options.add_shared(parser, "--run", "--step")
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
    """Writes the file; ONNX is compared with JAX before it is put in place."""
    out, graph = arguments.out, graph_options(arguments)
    options.check_suffix(out, f"end in .{arguments.format}", f".{arguments.format}")
    check_outputs([out], arguments.overwrite)
    sampler = options.load_generator(arguments)
    with announced(f"exporting {arguments.format}"):
        module = importlib.import_module(f"fastgan_jax.export.{arguments.format}")
        contents = getattr(module, f"{arguments.format}_bytes")(sampler, **graph)
    with replacing(out, cure="choose another --out") as temporary:
        temporary.write_bytes(contents)
        if arguments.format == "onnx":
            print("comparing with JAX in onnxruntime ...", flush=True)
            try:
                difference = module.check_onnx(temporary, sampler, **graph)
                print(f"largest difference from JAX: {difference:.1e}, of values in [-1, 1]")
            except ImportError:
                print("not compared: onnxruntime is not installed; pip install 'fastgan_jax[onnx]'")
    print(f"{arguments.format} of iteration {sampler.step}, {len(contents) / 1e6:.1f} MB: {out}")


def graph_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """The arguments that shape a graph; for safetensors none, and UserError if there are some."""
    if arguments.format != "safetensors":
        size = None if arguments.batch == "dynamic" else arguments.batch
        return {"batch": size, "style_mix": arguments.style_mix, "noise_seed": arguments.noise_seed or 0}
    given = {"batch": arguments.batch, "style-mix": arguments.style_mix or None, "noise-seed": arguments.noise_seed}
    for name, value in given.items():
        if value is not None:
            raise UserError(f"--{name} has no effect on --format safetensors, which holds weights alone: omit it")
    return {}
