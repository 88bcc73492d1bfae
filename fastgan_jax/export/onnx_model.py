"""The generator as an ONNX model, and the check of a written one against JAX.

Inputs: `z` float32 [N, nz], or `z_content` and `z_style`; `labels` int64 [N] for a conditional generator; and, to be
left out as a rule, the noise maps `noise_<side>_<0 or 1>` float32 [N or 1, side, side, 1], whose default is fixed noise
(of the style's exciting maps: `style_noise_...`). Output: `image` float32 [N, H, W, C], nominally in [-1, 1], not
clipped.
"""

from pathlib import Path

import jax
import numpy as np

import fastgan_jax
from fastgan_jax.errors import UserError
from fastgan_jax.export.forward import (
    check_style_mix,
    example_inputs,
    fixed_noise,
    image_function,
    input_names,
    noise_names,
)
from fastgan_jax.export.onnx_graph import Graph, Layers
from fastgan_jax.inference.sampler import Sampler
from fastgan_jax.models.generator import (
    ATTENTION_SIDES,
    EXCITED_BY,
    LAST_EARLY_SIDE,
    TANH_FROM_RESOLUTION,
    Generator,
    is_composite,
    stage_sides,
)

OPSET = 17  # the oldest that has all that is needed with today's meaning, for the sake of older runtimes
IR_VERSION = 8
TOLERANCE = 1e-4  # of float32 values in [-1, 1] through some forty layers; a wrong graph is off by 0.1 and more


def onnx_bytes(sampler: Sampler, *, batch: int | None = None, style_mix: bool = False, noise_seed: int = 0) -> bytes:
    """The generator as a serialized ONNX model, computing in float32 whatever precision it was trained in.

    Args:
        sampler: generator and variables.
        batch: number of images per call; None: any number.
        style_mix: the form with two latents.
        noise_seed: of the fixed noise; as in `Sampler.generate`.

    Returns:
        The contents of an .onnx file; see the module for inputs and output.

    Raises:
        UserError: if the package onnx is missing, or style mixing is asked of a generator without excitation.
    """
    helper, numpy_helper, float32, int64 = _onnx()
    if style_mix:
        check_style_mix(sampler)
    graph, generator = Graph(), sampler.generator
    network = _Network(generator, Layers(graph, jax.device_get(sampler.variables)))
    names = input_names(sampler, style_mix)
    noise = dict(zip(noise_names(generator.resolution), fixed_noise(generator.resolution, noise_seed), strict=True))
    if style_mix:
        # The style's pass ends with the last map that excites; noise beyond it would be an input without effect.
        last = EXCITED_BY[max(sampler.style_resolutions)]
        noise |= {f"style_{name}": array for name, array in noise.items() if array.shape[1] <= last}
        own = network.early(names[0], "", LAST_EARLY_SIDE)
        exciting = network.early(names[1], "style_", last)
    else:
        own = exciting = network.early(names[0], "", LAST_EARLY_SIDE)
    graph.op("Transpose", network.late(own[LAST_EARLY_SIDE], exciting), perm=[0, 2, 3, 1])
    graph.nodes[-1].output[0] = "image"

    size, resolution = batch or "N", generator.resolution
    inputs = [
        helper.make_tensor_value_info(name, int64, [size])
        if name == "labels"
        else helper.make_tensor_value_info(name, float32, [size, sampler.z_dim])
        for name in names
    ]
    inputs += [
        helper.make_tensor_value_info(name, float32, [f"{name}_N", *array.shape[1:]]) for name, array in noise.items()
    ]
    image = helper.make_tensor_value_info("image", float32, [size, resolution, resolution, generator.channels])
    constants = [numpy_helper.from_array(value, name) for name, value in (graph.constants | noise).items()]
    model = helper.make_model(
        helper.make_graph(graph.nodes, "fastgan", inputs, [image], constants, doc_string=__doc__),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="fastgan_jax",
        producer_version=fastgan_jax.__version__,
    )
    helper.set_model_props(model, {"step": str(sampler.step), "noise_seed": str(noise_seed)})
    return model.SerializeToString()


def check_onnx(path: str | Path, sampler: Sampler, *, batch: int | None, style_mix: bool, noise_seed: int) -> float:
    """Largest difference between the images of a written model in onnxruntime and those of JAX, in [-1, 1].

    Args:
        path: an .onnx file.
        sampler: what it was made of, with the same `batch`, `style_mix` and `noise_seed` as for `onnx_bytes`.
        batch: see `onnx_bytes`; None compares two images.
        style_mix: see `onnx_bytes`.
        noise_seed: see `onnx_bytes`.

    Raises:
        ImportError: if onnxruntime is missing.
        UserError: if the difference is more than rounding.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # it warns that the noise can be replaced, which is meant
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    values = example_inputs(sampler, style_mix, batch or 2)
    named = dict(zip(input_names(sampler, style_mix), values, strict=True))
    if "labels" in named:
        named["labels"] = named["labels"].astype(np.int64)
    (found,) = session.run(["image"], named)
    noise = fixed_noise(sampler.resolution, noise_seed)

    @jax.jit
    def expected(variables: dict, values: list) -> jax.Array:  # variables as constants would take long to compile
        return image_function(sampler.generator.clone(dtype=None), variables, noise, style_mix)(*values)

    with jax.default_matmul_precision("highest"):  # a GPU would round its factors to ten bits
        difference = np.abs(found - np.asarray(expected(sampler.variables, values))).max()
    if not difference <= TOLERANCE:
        raise UserError(
            f"{path} gives images that differ from JAX's by {difference:.2g} in [-1, 1], more than rounding "
            f"({TOLERANCE:g}): do not use it, and report this with the run's config.json"
        )
    return float(difference)


class _Network:
    """The generator's topology (`models.generator.Generator`) in a graph."""

    def __init__(self, generator: Generator, layers: Layers):
        self.generator, self.layers, self.graph = generator, layers, layers.graph

    def early(self, z: str, noise_prefix: str, last: int) -> dict[int, str]:
        """As `Generator.early`, up to the side `last`; the noise maps are the inputs noise_prefix + noise_..."""
        if self.generator.num_classes:
            table = self.graph.constant("embed/embedding", self.layers.leaf("params", "embed/embedding"))
            z = self.graph.op("Concat", z, self.graph.op("Gather", table, "labels"), axis=1)
        maps = {4: self._attended(self.layers.initial(z, "initial"), 4)}
        for side in stage_sides(last):
            maps[side] = self._attended(self._stage(side, maps[side // 2], noise_prefix), side)
        return maps

    def late(self, x: str, exciting: dict[int, str]) -> str:
        """As `Generator.late`, without the small image: [N, channels, R, R]."""
        generator = self.generator
        for side in stage_sides(generator.resolution):
            if side <= LAST_EARLY_SIDE:
                continue
            x = self._stage(side, x, "")
            if generator.skip_excitation and side in EXCITED_BY:
                low = EXCITED_BY[side]
                x = self.layers.excite(exciting[low], low, x, f"sle_{side}", generator.sle_activation)
        x = self.layers.conv(x, "to_big", padding=1)
        tanh = generator.output_tanh
        if tanh is None:
            tanh = generator.resolution >= TANH_FROM_RESOLUTION
        return self.graph.op("Tanh", x) if tanh else x

    def _stage(self, side: int, x: str, noise_prefix: str) -> str:
        if not is_composite(side):
            return self.layers.up(x, f"up_{side}")
        shape = self.graph.shape(-1, 1, side, side)  # one channel: the same values in the same order
        names = [f"{noise_prefix}noise_{side}_{index}" for index in (0, 1)]
        return self.layers.up_composite(x, f"up_{side}", [self.graph.op("Reshape", name, shape) for name in names])

    def _attended(self, x: str, side: int) -> str:
        use = self.generator.attention and side in ATTENTION_SIDES
        return self.layers.attend(x, side, f"attend_{side}") if use else x


def _onnx() -> tuple:
    try:
        from onnx import TensorProto, helper, numpy_helper
    except ImportError:
        raise UserError("--format onnx needs the package onnx: pip install 'fastgan_jax[onnx]'") from None
    return helper, numpy_helper, TensorProto.FLOAT, TensorProto.INT64
