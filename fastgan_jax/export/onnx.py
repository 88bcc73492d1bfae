"""The generator as an ONNX model, and the check of a written one against JAX.

Inputs: `z` float32 [N, nz], or `z_content` and `z_style`; `labels` int64 [N] for a conditional generator; and, to be
left out as a rule, the noise maps `noise_<side>_<0 or 1>` float32 [N or 1, side, side, 1], whose default is fixed noise
(of the style's exciting maps: `style_noise_...`). Output: `image` float32 [N, H, W, C], nominally in [-1, 1], not
clipped.
"""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import traverse_util

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
from fastgan_jax.models.layers import BATCH_NORM_EPSILON, LEAKY_SLOPE
from fastgan_jax.utils.devices import in_full_precision

OPSET = 17  # the oldest that has all that is needed with today's meaning, for the sake of older runtimes
IR_VERSION = 8
TOLERANCE = 1e-4  # of float32 values in [-1, 1] through some forty layers; a wrong graph is off by 0.1 and more


def onnx_bytes(sampler: Sampler, *, batch: int | None = None, style_mix: bool = False, noise_seed: int = 0) -> bytes:
    """The generator as a serialized ONNX model, computing in float32 whatever precision it was trained in.

    Args:
        sampler: generator and variables.
        batch: number of images per call; None: any number.
        style_mix: the variant with two latents.
        noise_seed: of the fixed noise; as in `Sampler.generate`.

    Returns:
        The contents of an .onnx file; see the module for inputs and output.

    Raises:
        UserError: if the package onnx is missing, or style mixing is requested of a generator without excitation.
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
        compute = dataclasses.replace(sampler.generator.compute, dtype=None)
        return image_function(sampler.generator.clone(compute=compute), variables, noise, style_mix)(*values)

    difference = np.abs(found - np.asarray(in_full_precision(expected)(sampler.variables, values))).max()
    if not difference <= TOLERANCE:
        raise UserError(
            f"{path} gives images that differ from JAX's by {difference:.2g} in [-1, 1], more than rounding "
            f"({TOLERANCE:g}): do not use it, and report this with the run's config.json"
        )
    return float(difference)


class Graph:
    """Nodes and constants of an ONNX graph; values are known by their names, feature maps are [N, C, H, W].

    Attributes:
        nodes: of type onnx.NodeProto, in order.
        constants: arrays by name.
    """

    def __init__(self) -> None:
        """An empty graph."""
        self.nodes: list[Any] = []
        self.constants: dict[str, np.ndarray] = {}

    def op(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        """Adds a node and returns the name of its output, or a list of names if it has several."""
        from onnx import helper

        names = [f"{kind.lower()}_{len(self.nodes)}_{index}" for index in range(outputs)]
        self.nodes.append(helper.make_node(kind, inputs, names, **attributes))
        return names[0] if outputs == 1 else names

    def constant(self, name: str, value: Any) -> str:
        """Adds a constant, once however often it is used, and returns its name; floats become float32."""
        array = np.asarray(value)
        if array.dtype.kind == "f":
            array = array.astype(np.float32)
        self.constants.setdefault(name, array)
        return name

    def shape(self, *sides: int) -> str:
        """A constant with a shape for Reshape, whose -1 stands for the batch."""
        return self.constant("shape_" + "_".join(str(side) for side in sides), np.asarray(sides, np.int64))


class Layers:
    """The generator's layers, added to a graph; spectral norm and batch norm are folded into the kernels.

    They read their variables by the path that Flax gave them.
    """

    def __init__(self, graph: Graph, variables: dict):
        """Layers in `graph` that read `variables` {"params", "batch_stats", "spectral"}."""
        self.graph = graph
        self._leaves = traverse_util.flatten_dict(variables, sep="/")

    def leaf(self, collection: str, path: str) -> np.ndarray:
        """One variable in double precision, such as ("params", "up_8/conv_0/kernel")."""
        return np.asarray(self._leaves[f"{collection}/{path}"], np.float64)

    def kernel(self, path: str) -> np.ndarray:
        """Kernel [..., in, out] divided by its spectral norm (see `models/spectral_norm.py`)."""
        kernel = self.leaf("params", f"{path}/kernel")
        matrix = kernel.reshape(-1, kernel.shape[-1])
        return kernel / (self.leaf("spectral", f"{path}/v") @ matrix @ self.leaf("spectral", f"{path}/u"))

    def norm(self, path: str) -> tuple[np.ndarray, np.ndarray]:
        """Batch norm of evaluation mode as factor and offset, [C] each: x * factor + offset."""
        factor = self.leaf("params", f"{path}/scale") / np.sqrt(
            self.leaf("batch_stats", f"{path}/var") + BATCH_NORM_EPSILON
        )
        return factor, self.leaf("params", f"{path}/bias") - self.leaf("batch_stats", f"{path}/mean") * factor

    def conv(self, x: str, path: str, *, norm: str | None = None, depthwise: bool = False, padding: int = 0) -> str:
        """Convolution of the kernel at `path`, with the batch norm at `norm` folded in."""
        kernel = self.kernel(path)
        factor, offset = self.norm(norm) if norm else (1.0, None)
        inputs = [x, self.graph.constant(f"{path}/kernel", (kernel * factor).transpose(3, 2, 0, 1))]
        if norm:
            inputs.append(self.graph.constant(f"{path}/bias", offset))
        group = kernel.shape[-1] if depthwise else 1
        return self.graph.op("Conv", *inputs, group=group, pads=[padding] * 4, kernel_shape=list(kernel.shape[:2]))

    def noise(self, x: str, noise: str, path: str, norm: str) -> str:
        """Noise [N or 1, 1, H, W] times its weight, added after a convolution that has the batch norm folded in."""
        weight = self.leaf("params", f"{path}/noise_weight") * self.norm(norm)[0]
        scaled = self.graph.op("Mul", noise, self.graph.constant(f"{path}/weight", weight.reshape(1, -1, 1, 1)))
        return self.graph.op("Add", x, scaled)

    def upsample(self, x: str) -> str:
        """Doubles height and width by repeating pixels."""
        return self.graph.op(
            "Resize",
            x,
            "",
            self.graph.constant("scales_2", np.float32([1, 1, 2, 2])),
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )

    def glu(self, x: str) -> str:
        """[N, 2C, H, W] = (a, b) -> a * sigmoid(b)."""
        a, b = self.graph.op("Split", x, outputs=2, axis=1)
        return self.graph.op("Mul", a, self.graph.op("Sigmoid", b))

    def initial(self, z: str, path: str) -> str:
        """Latents [N, nz] -> [N, C, 4, 4] (`models.blocks.InitBlock`)."""
        factor, offset = self.norm(f"{path}/norm")
        kernel = (self.kernel(f"{path}/conv") * factor).transpose(2, 3, 0, 1)  # [nz, 2C, 4, 4]
        size, features, side, _ = kernel.shape
        weights = self.graph.constant(f"{path}/conv/kernel", kernel.reshape(size, -1))
        x = self.graph.op("Reshape", self.graph.op("MatMul", z, weights), self.graph.shape(-1, features, side, side))
        return self.glu(self.graph.op("Add", x, self.graph.constant(f"{path}/bias", offset.reshape(1, -1, 1, 1))))

    def up(self, x: str, path: str) -> str:
        """`models.blocks.UpBlock`."""
        return self.glu(self.conv(self.upsample(x), f"{path}/conv", norm=f"{path}/norm", padding=1))

    def up_composite(self, x: str, path: str, noise: list[str]) -> str:
        """`models.blocks.UpBlockComp`."""
        x = self.upsample(x)
        for index in (0, 1):
            norm = f"{path}/norm_{index}"
            x = self.conv(x, f"{path}/conv_{index}", norm=norm, padding=1)
            x = self.glu(self.noise(x, noise[index], f"{path}/noise_{index}", norm))
        return x

    def excite(self, low: str, low_side: int, high: str, path: str, activation: str) -> str:
        """`models.blocks.SkipLayerExcitation`."""
        block = low_side // 4
        gate = self.graph.op("AveragePool", low, kernel_shape=[block] * 2, strides=[block] * 2)
        gate = self.conv(gate, f"{path}/conv_0")
        if activation == "swish":
            gate = self.graph.op("Mul", gate, self.graph.op("Sigmoid", gate))
        else:
            gate = self.graph.op("LeakyRelu", gate, alpha=LEAKY_SLOPE)
        gate = self.conv(gate, f"{path}/conv_1")
        return self.graph.op("Mul", high, self.graph.op("Sigmoid", gate))

    def attend(self, x: str, side: int, path: str) -> str:
        """`models.blocks.EfficientAttention`, with positions last: query, key and value are [N, C, n]."""
        features = self.leaf("params", f"{path}/query/kernel").shape[-1]
        flat = self.graph.shape(-1, features, side * side)
        query = self.graph.op("Reshape", self.conv(x, f"{path}/query"), flat)
        key, value = (
            self.graph.op("Reshape", self.conv(x, f"{path}/{name}", depthwise=True, padding=1), flat)
            for name in ("key", "value")
        )
        positions_first = self.graph.op("Transpose", self.graph.op("Softmax", key, axis=2), perm=[0, 2, 1])
        context = self.graph.op("MatMul", value, positions_first)  # [N, value channel, key channel]
        attended = self.graph.op("MatMul", context, self.graph.op("Softmax", query, axis=1))
        return self.graph.op("Add", x, self.graph.op("Reshape", attended, self.graph.shape(-1, features, side, side)))


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
