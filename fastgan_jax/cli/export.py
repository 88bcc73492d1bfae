"""Writes a trained generator for other programs: ONNX, StableHLO, or its weights as safetensors.

onnx and stablehlo map latents z [N, nz] (with --style-mix: content, style) to images [N, H, W, C], float32, nominally
in [-1, 1], not clipped. All images share one fixed noise, as Sampler.generate(z, noise_seed=...) has it; ONNX takes
other noise maps as optional inputs. An ONNX file is compared with JAX before it is put in place, if onnxruntime is
installed.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastgan_jax.cli.arguments import add_out, add_run, count, load_generator, seed
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
    add_run(parser)
    add_out(parser, "file to write")
    parser.add_argument("--format", required=True, choices=FORMATS, help="kind of file")
    parser.add_argument("--batch", type=batch_size, metavar="N", help="images per call: a number, or dynamic (default)")
    parser.add_argument("--style-mix", action="store_true", help="the variant with two latents, content and style")
    parser.add_argument("--noise-seed", type=seed, metavar="S", help="of the fixed noise, 0 to 2^32 - 1 (default: 0)")


def batch_size(text: str) -> int | str:
    """A number of at least 1, or "dynamic"."""
    try:
        return text if text == "dynamic" else count(text)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"{error}, or dynamic") from None


def run(arguments: argparse.Namespace) -> None:
    """Writes the file and, for ONNX, compares it with JAX."""
    out, options = arguments.out, graph_options(arguments)
    check_outputs([out], arguments.overwrite)
    sampler = load_generator(arguments)
    with announced(f"exporting {arguments.format}"):
        contents = exporter(arguments.format)(sampler, **options)
    with replacing(out, cure="choose another --out") as temporary:
        temporary.write_bytes(contents)
        if arguments.format == "onnx":
            compare(temporary, sampler, options)
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


def exporter(kind: str) -> Callable[..., bytes]:
    """The function that makes a file's contents."""
    if kind == "onnx":
        from fastgan_jax.export.onnx import onnx_bytes

        return onnx_bytes
    if kind == "stablehlo":
        from fastgan_jax.export.stablehlo import stablehlo_bytes

        return stablehlo_bytes
    from fastgan_jax.export.safetensors import safetensors_bytes

    return safetensors_bytes


def compare(file: Path, sampler: "Sampler", options: dict[str, Any]) -> None:
    """Compares an ONNX file with JAX, and prints the difference."""
    from fastgan_jax.export.onnx import check_onnx

    print("comparing with JAX in onnxruntime ...", flush=True)
    try:
        difference = check_onnx(file, sampler, **options)
    except ImportError:
        print("not compared: onnxruntime is not installed; pip install 'fastgan_jax[onnx]'")
        return
    print(f"largest difference from JAX: {difference:.1e}, of values in [-1, 1]")
