"""A small builder of ONNX graphs, and the generator's layers in it. Feature maps are [N, C, H, W], as ONNX has them.

Layers read their variables by the path that Flax gave them. Spectral norm and batch norm are folded into the kernels.
"""

from typing import Any

import numpy as np
from flax import traverse_util

from fastgan_jax.models.layers import BATCH_NORM_EPSILON, LEAKY_SLOPE


class Graph:
    """Nodes and constants of an ONNX graph; values are known by their names.

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
    """The generator's layers, added to a graph."""

    def __init__(self, graph: Graph, variables: dict):
        """Layers in `graph` that read `variables` {"params", "batch_stats", "spectral"}."""
        self.graph = graph
        self._leaves = traverse_util.flatten_dict(variables, sep="/")

    def leaf(self, collection: str, path: str) -> np.ndarray:
        """One variable in double precision, such as ("params", "up_8/conv_0/kernel")."""
        return np.asarray(self._leaves[f"{collection}/{path}"], np.float64)

    def kernel(self, path: str) -> np.ndarray:
        """Kernel [..., in, out] divided by its spectral norm (see `models/spectral.py`)."""
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
