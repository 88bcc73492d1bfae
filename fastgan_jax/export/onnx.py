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
from fastgan_jax.export.forward import example_inputs, fixed_noise, image_function, noise_names
from fastgan_jax.inference.sampler import Sampler
from fastgan_jax.models import generator as g_sizes
from fastgan_jax.models.generator import LAST_EARLY_SIDE, SKIP_PAIRS, stage_sides
from fastgan_jax.models.layers import BATCH_NORM_EPSILON, LEAKY_SLOPE
from fastgan_jax.utils.devices import in_full_precision
from fastgan_jax.utils.files import user_path

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
    try:
        from onnx import TensorProto, helper, numpy_helper
    except ImportError:
        raise UserError("--format onnx needs the package onnx: pip install 'fastgan_jax[onnx]'") from None
    arguments, generator, resolution = example_inputs(sampler, style_mix, 1), sampler.generator, sampler.resolution
    names = list(arguments)
    graph = Graph(generator, jax.device_get(sampler.variables))
    noise = dict(zip(noise_names(generator), fixed_noise(generator, noise_seed), strict=True))
    own = exciting = graph.early(names[0], "", LAST_EARLY_SIDE)
    if style_mix:
        # The style's pass ends with the last map that excites; noise beyond it would be an input without effect.
        last = SKIP_PAIRS[max(sampler.style_resolutions)]
        noise |= {f"style_{name}": array for name, array in noise.items() if array.shape[1] <= last}
        exciting = graph.early(names[1], "style_", last)
    graph.op("Transpose", graph.late(own[LAST_EARLY_SIDE], exciting), perm=[0, 2, 3, 1])
    graph.nodes[-1].output[0] = "image"

    def value(name: str, *shape: int | str) -> Any:
        kind = TensorProto.INT64 if name == "labels" else TensorProto.FLOAT
        return helper.make_tensor_value_info(name, kind, shape)

    size = batch or "N"
    inputs = [value(name, size, *array.shape[1:]) for name, array in arguments.items()]
    inputs += [value(name, f"{name}_N", *array.shape[1:]) for name, array in noise.items()]
    image = value("image", size, resolution, resolution, generator.channels)
    constants = [numpy_helper.from_array(array, name) for name, array in (graph.constants | noise).items()]
    model = helper.make_model(
        helper.make_graph(graph.nodes, "fastgan", inputs, [image], constants, doc_string=__doc__),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="fastgan_jax",
        producer_version=fastgan_jax.__version__,
    )
    helper.set_model_props(model, {"step": str(sampler.step), "noise_seed": str(noise_seed)})
    return model.SerializeToString()


def check_onnx(
    path: str | Path, sampler: Sampler, *, batch: int | None = None, style_mix: bool = False, noise_seed: int = 0
) -> float:
    """Largest difference between the images of a written model in onnxruntime and those of JAX, in [-1, 1].

    The arguments are those of `onnx_bytes`; two images are compared if the model takes any number.

    Raises:
        ImportError: if onnxruntime is missing.
        UserError: if the difference is more than rounding.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # it warns that the noise can be replaced, which is meant
    session = onnxruntime.InferenceSession(user_path(path).read_bytes(), options, providers=["CPUExecutionProvider"])
    inputs = example_inputs(sampler, style_mix, batch or 2)
    wider = {name: array.astype(np.int64) if name == "labels" else array for name, array in inputs.items()}
    (found,) = session.run(["image"], wider)
    noise = fixed_noise(sampler.generator, noise_seed)

    @jax.jit
    def expected(variables: dict, values: list) -> jax.Array:  # variables as constants would take long to compile
        compute = dataclasses.replace(sampler.generator.compute, dtype=None)
        return image_function(sampler.generator.clone(compute=compute), variables, noise, style_mix)(*values)

    difference = np.abs(found - np.asarray(in_full_precision(expected)(sampler.variables, list(inputs.values())))).max()
    if not difference <= TOLERANCE:
        raise UserError(
            f"{path} gives images that differ from JAX's by {difference:.2g} in [-1, 1], more than rounding "
            f"({TOLERANCE:g}): do not use it, and report this with the run's config.json"
        )
    return float(difference)


class Graph:
    """A generator as nodes and constants of an ONNX graph; values are known by their names, maps are [N, C, H, W].

    Layers read their variables by the path that Flax gave them; spectral norm and batch norm are folded into kernels.
    """

    def __init__(self, generator: g_sizes.Generator, variables: dict):
        """An empty graph for `generator` with `variables` {"params", "batch_stats", "spectral"}."""
        self.generator = generator
        self.nodes: list[Any] = []  # onnx.NodeProto, in order
        self.constants: dict[str, np.ndarray] = {}
        self._leaves = traverse_util.flatten_dict(variables, sep="/")

    def op(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        """Adds a node and returns the name of its output, or a list of names if it has several."""
        from onnx import helper

        names = [f"{kind.lower()}_{len(self.nodes)}_{index}" for index in range(outputs)]
        self.nodes.append(helper.make_node(kind, inputs, names, **attributes))
        return names[0] if outputs == 1 else names

    def constant(self, name: str, value: np.ndarray) -> str:
        """Adds a constant, once however often it is used, and returns its name; floats become float32."""
        self.constants.setdefault(name, value.astype(np.float32) if value.dtype.kind == "f" else value)
        return name

    def shape(self, *sides: int) -> str:
        """A constant with a shape for Reshape, whose -1 stands for the batch."""
        return self.constant("shape_" + "_".join(map(str, sides)), np.asarray(sides, np.int64))

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
        variance = self.leaf("batch_stats", f"{path}/var") + BATCH_NORM_EPSILON
        factor = self.leaf("params", f"{path}/scale") / np.sqrt(variance)
        return factor, self.leaf("params", f"{path}/bias") - self.leaf("batch_stats", f"{path}/mean") * factor

    def conv(self, x: str, path: str, *, norm: str | None = None, depthwise: bool = False, padding: int = 0) -> str:
        """Convolution of the kernel at `path`, with the batch norm at `norm` folded in."""
        kernel = self.kernel(path)
        factor, offset = self.norm(norm) if norm else (1.0, None)
        inputs = [x, self.constant(f"{path}/kernel", (kernel * factor).transpose(3, 2, 0, 1))]
        if norm:
            inputs.append(self.constant(f"{path}/bias", offset))
        group = kernel.shape[-1] if depthwise else 1
        return self.op("Conv", *inputs, group=group, pads=[padding] * 4, kernel_shape=list(kernel.shape[:2]))

    def glu(self, x: str) -> str:
        """[N, 2C, H, W] = (a, b) -> a * sigmoid(b)."""
        a, b = self.op("Split", x, outputs=2, axis=1)
        return self.op("Mul", a, self.op("Sigmoid", b))

    def initial(self, z: str) -> str:
        """Latents [N, nz] -> [N, C, 4, 4] (`models.blocks.InitBlock`)."""
        factor, offset = self.norm("initial/norm")
        kernel = (self.kernel("initial/conv") * factor).transpose(2, 3, 0, 1)  # [nz, 2C, 4, 4]
        weights = self.constant("initial/conv/kernel", kernel.reshape(len(kernel), -1))
        x = self.op("Reshape", self.op("MatMul", z, weights), self.shape(-1, *kernel.shape[1:]))
        return self.glu(self.op("Add", x, self.constant("initial/bias", offset.reshape(1, -1, 1, 1))))

    def stage(self, side: int, x: str, noise_prefix: str) -> str:
        """`models.blocks.UpBlock` or `UpBlockComp`; noise [N or 1, side, side, 1] is added after a convolution."""
        path, noise = f"up_{side}", []
        if g_sizes.is_composite(side, self.generator.stages):
            shape = self.shape(-1, 1, side, side)  # one channel: the same values in the same order
            noise = [self.op("Reshape", f"{noise_prefix}noise_{side}_{index}", shape) for index in (0, 1)]
        nearest = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        x = self.op("Resize", x, "", self.constant("scales_2", np.float32([1, 1, 2, 2])), **nearest)
        if not noise:
            return self.glu(self.conv(x, f"{path}/conv", norm=f"{path}/norm", padding=1))
        for index in (0, 1):
            norm, weighted = f"{path}/norm_{index}", f"{path}/noise_{index}"
            x = self.conv(x, f"{path}/conv_{index}", norm=norm, padding=1)
            weight = self.leaf("params", f"{weighted}/noise_weight") * self.norm(norm)[0]
            weight = self.constant(f"{weighted}/weight", weight.reshape(1, -1, 1, 1))
            x = self.glu(self.op("Add", x, self.op("Mul", noise[index], weight)))
        return x

    def excite(self, low: str, high: str, side: int) -> str:
        """`models.blocks.SkipLayerExcitation` of the map `high`."""
        block = SKIP_PAIRS[side] // 4
        gate = self.op("AveragePool", low, kernel_shape=[block] * 2, strides=[block] * 2)
        gate = self.conv(gate, f"sle_{side}/conv_0")
        if self.generator.sle_activation == "swish":
            gate = self.op("Mul", gate, self.op("Sigmoid", gate))
        else:
            gate = self.op("LeakyRelu", gate, alpha=LEAKY_SLOPE)
        return self.op("Mul", high, self.op("Sigmoid", self.conv(gate, f"sle_{side}/conv_1")))

    def attended(self, x: str, side: int) -> str:
        """`models.blocks.EfficientAttention`, with positions last: query, key and value are [N, C, n]."""
        if not self.generator.attention or side not in g_sizes.ATTENTION_SIDES:
            return x
        path = f"attend_{side}"
        features = self.leaf("params", f"{path}/query/kernel").shape[-1]
        flat = self.shape(-1, features, side * side)
        query = self.op("Reshape", self.conv(x, f"{path}/query"), flat)
        key, value = (
            self.op("Reshape", self.conv(x, f"{path}/{name}", depthwise=True, padding=1), flat)
            for name in ("key", "value")
        )
        positions_first = self.op("Transpose", self.op("Softmax", key, axis=2), perm=[0, 2, 1])
        context = self.op("MatMul", value, positions_first)  # [N, value channel, key channel]
        attended = self.op("MatMul", context, self.op("Softmax", query, axis=1))
        return self.op("Add", x, self.op("Reshape", attended, self.shape(-1, features, side, side)))

    def early(self, z: str, noise_prefix: str, last: int) -> dict[int, str]:
        """As `Generator.early`, up to the side `last`; the noise maps are the inputs noise_prefix + noise_..."""
        if self.generator.normalize_latent:
            square = self.op("ReduceMean", self.op("Mul", z, z), axes=[1], keepdims=1)
            epsilon = self.constant("latent_epsilon", np.float32(g_sizes.LATENT_EPSILON))
            z = self.op("Div", z, self.op("Sqrt", self.op("Add", square, epsilon)))
        if self.generator.num_classes:
            table = self.constant("embed/embedding", self.leaf("params", "embed/embedding"))
            z = self.op("Concat", z, self.op("Gather", table, "labels"), axis=1)
        maps = {4: self.attended(self.initial(z), 4)}
        for side in stage_sides(last):
            maps[side] = self.attended(self.stage(side, maps[side // 2], noise_prefix), side)
        return maps

    def late(self, x: str, exciting: dict[int, str]) -> str:
        """As `Generator.late`, without the small image: [N, channels, R, R]."""
        resolution, tanh = self.generator.resolution, self.generator.output_tanh
        for side in stage_sides(resolution)[len(stage_sides(LAST_EARLY_SIDE)) :]:
            x = self.stage(side, x, "")
            if self.generator.skip_excitation and side in SKIP_PAIRS:
                x = self.excite(exciting[SKIP_PAIRS[side]], x, side)
        x = self.conv(x, "to_big", padding=1)
        if self.generator.output_bias:
            bias = self.leaf("params", "bias").reshape(1, -1, 1, 1)
            x = self.op("Add", x, self.constant("bias", bias))
        tanh = resolution >= g_sizes.TANH_FROM_RESOLUTION if tanh is None else tanh
        return self.op("Tanh", x) if tanh else x
