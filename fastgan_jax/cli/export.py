"""Writes a trained generator for other programs: ONNX, StableHLO, or its weights as safetensors."""

import argparse
import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from fastgan_jax.cli.arguments import add_run_arguments, run_tool, tool_parser
from fastgan_jax.cli.inputs import load_generator
from fastgan_jax.errors import UserError
from fastgan_jax.utils.checks import LARGEST_SEED
from fastgan_jax.utils.console import announced
from fastgan_jax.utils.files import check_outputs

if TYPE_CHECKING:
    from fastgan_jax.inference.sampler import Sampler

FORMATS = ("onnx", "stablehlo", "safetensors")
EXAMPLE = """examples:
  python tools/export.py --run runs/demo --out demo.onnx --format onnx
  python tools/export.py --run runs/demo --out mix.onnx --format onnx --style-mix --batch 1
  python tools/export.py --run runs/demo --out demo.stablehlo --format stablehlo
  python tools/export.py --run runs/demo --out demo.safetensors --format safetensors

onnx and stablehlo map latents z [N, nz] (with --style-mix: content, style) to images [N, H, W, C], float32, nominally
in [-1, 1], not clipped. All images share one fixed noise, as Sampler.generate(z, noise_seed=...) has it; ONNX takes
other noise maps as optional inputs. An ONNX file is compared with JAX before it is put in place, if
onnxruntime is installed."""


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Parses the arguments."""
    parser = tool_parser(__doc__, EXAMPLE)
    add_run_arguments(parser, out="file to write")
    parser.add_argument("--format", required=True, choices=FORMATS, help="kind of file")
    parser.add_argument("--batch", metavar="N", help="images per call: a number, or dynamic (default)")
    parser.add_argument("--style-mix", action="store_true", help="the form with two latents, content and style")
    parser.add_argument("--noise-seed", type=int, metavar="S", help="of the fixed noise, 0 to 2^32 - 1 (default: 0)")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Runs the tool and returns its exit code."""
    return run_tool(parse, run, argv)


def run(arguments: argparse.Namespace) -> None:
    """Writes the file and, for ONNX, compares it with JAX."""
    out = Path(arguments.out)
    options = _options(arguments)
    if out.is_dir():
        raise UserError(f"--out {out} is a folder: give the name of a file")
    check_outputs([out], arguments.overwrite)
    sampler = load_generator(arguments)
    with announced(f"making {arguments.format}"):
        contents = _contents(sampler, arguments.format, options)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = out.with_name(out.name + ".tmp")
        try:
            temporary.write_bytes(contents)
            if arguments.format == "onnx":
                _check(temporary, sampler, options)
            temporary.replace(out)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{out} cannot be written ({error.strerror}): choose another --out") from None
    print(f"{arguments.format} of iteration {sampler.step}, {len(contents) / 1e6:.1f} MB: {out}")


def _contents(sampler: "Sampler", kind: str, options: dict) -> bytes:
    if kind == "onnx":
        from fastgan_jax.export.onnx import onnx_bytes

        return onnx_bytes(sampler, **options)
    if kind == "stablehlo":
        from fastgan_jax.export.stablehlo import stablehlo_bytes

        return stablehlo_bytes(sampler, **options)
    from fastgan_jax.export.safetensors import safetensors_bytes

    return safetensors_bytes(sampler)


def _check(out: Path, sampler: "Sampler", options: dict) -> None:
    from fastgan_jax.export.onnx import check_onnx

    print("comparing it with JAX in onnxruntime ...", flush=True)
    try:
        difference = check_onnx(out, sampler, **options)
    except ImportError:
        print("not compared: onnxruntime is not installed; pip install 'fastgan_jax[onnx]'")
        return
    print(f"largest difference from JAX: {difference:.1e}, of values in [-1, 1]")


def _options(arguments: argparse.Namespace) -> dict:
    """The arguments that shape a graph, checked."""
    given = {"--batch": arguments.batch, "--style-mix": arguments.style_mix, "--noise-seed": arguments.noise_seed}
    for name, value in given.items():
        if arguments.format == "safetensors" and value is not None and value is not False:
            raise UserError(f"{name} has no meaning for --format safetensors, which holds weights alone: leave it out")
    batch = arguments.batch or "dynamic"
    if batch != "dynamic" and not (batch.isdecimal() and int(batch) > 0):
        raise UserError(f"--batch {batch}: give a number from 1 up, or dynamic")
    seed = arguments.noise_seed or 0
    if not 0 <= seed <= LARGEST_SEED:
        raise UserError(f"--noise-seed {seed}: a seed is from 0 to {LARGEST_SEED}")
    return {
        "batch": None if batch == "dynamic" else int(batch),
        "style_mix": arguments.style_mix,
        "noise_seed": seed,
    }


if __name__ == "__main__":
    sys.exit(main())
