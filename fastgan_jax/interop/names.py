"""Where each tensor of the reference program's networks is in ours, and which of our models that program can build.

The reference names modules by their place in nested containers (`down_8.main.3.weight_orig`); the rules here follow the
same structure. Order is that of the reference's `state_dict()`, and therefore of its `parameters()`.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fastgan_jax.errors import UserError
from fastgan_jax.models import discriminator as d_sizes
from fastgan_jax.models import generator as g_sizes

NETS = ("generator", "discriminator")
RESOLUTIONS = (256, 512, 1024)  # that the reference can build
REFERENCE_DECODERS = ("big", "part", "small")
COMMON_SIDE = 256  # the reference builds the stages up to here for every resolution, and appends the later ones
DOWN_ORIGIN = 512  # the reference numbers D's stages by the factor from here: down_4 ends at 128, down_64 at 8

# kind of layer: ((name of the tensor in the reference, our collection, our leaf), ...), in state_dict order
LEAVES = {
    "conv": (("weight_orig", "params", "kernel"), ("weight_u", "spectral", "u"), ("weight_v", "spectral", "v")),
    "norm": (
        ("weight", "params", "scale"),
        ("bias", "params", "bias"),
        ("running_mean", "batch_stats", "mean"),
        ("running_var", "batch_stats", "var"),
    ),
    "noise": (("weight", "params", "noise_weight"),),
}
LEAVES["transposed"] = LEAVES["conv"]
COUNTER = "num_batches_tracked"  # PyTorch's batch norm counts its training passes; nothing here reads the number


@dataclass(frozen=True)
class Layer:
    """One layer with weights: its module name in the reference, its path in our variables, and what it is."""

    key: str  # such as "feat_8.1"
    path: tuple[str, ...]  # such as ("up_8", "conv_0")
    kind: str  # "conv" | "transposed" | "norm" | "noise"


@dataclass(frozen=True)
class Tensor:
    """One tensor: its key in the reference's state_dict and its place in our variables (None: we do not keep it)."""

    key: str  # such as "feat_8.1.weight_orig"
    path: tuple[str, ...] | None  # such as ("params", "up_8", "conv_0", "kernel")
    layer: Layer


def layers(net: str, resolution: int) -> list[Layer]:
    """All layers of a network ("generator" or "discriminator") at a resolution, in the reference's order.

    Raises:
        UserError: for another network.
    """
    if net not in NETS:
        raise UserError(f"network {net!r} must be one of {', '.join(NETS)}")
    return list(_generator(resolution) if net == "generator" else _discriminator(resolution))


def tensors(net: str, resolution: int) -> list[Tensor]:
    """All tensors of a network at a resolution, in the order of the reference's state_dict."""
    found = []
    for layer in layers(net, resolution):
        for name, collection, leaf in LEAVES[layer.kind]:
            found.append(Tensor(f"{layer.key}.{name}", (collection, *layer.path, leaf), layer))
        if layer.kind == "norm":
            found.append(Tensor(f"{layer.key}.{COUNTER}", None, layer))
    return found


def parameter_keys(net: str, resolution: int) -> list[str]:
    """Keys of the trainable tensors, in the order of the reference's `parameters()`."""
    return [tensor.key for tensor in tensors(net, resolution) if tensor.path and tensor.path[0] == "params"]


def resolution_of(net: str, shapes: Mapping[str, tuple[int, ...]]) -> int:
    """The resolution of the network whose state_dict has tensors of these shapes (in PyTorch's layout).

    The generator's is that of its last stage. The discriminator's follows from where its trunk starts and from the
    number of convolutions of stride 2 (4x4; the one of stride 1 is 3x3) before it. It is 256 if no key says otherwise.
    """
    modules = {key.split(".")[0] for key in shapes}
    if net == "generator":
        return max(_numbers(modules, "feat_"), default=COMMON_SIDE)
    before = [
        shape for key, shape in shapes.items() if key.startswith("down_from_big.") and key.endswith(".weight_orig")
    ]
    trunk = 2 * DOWN_ORIGIN // min(_numbers(modules, "down_"), default=2 * DOWN_ORIGIN // COMMON_SIDE)
    return trunk * 2 ** sum(1 for shape in before if shape[-1] == 4)


def _numbers(names: Iterable[str], prefix: str) -> list[int]:
    endings = [name.removeprefix(prefix) for name in names if name.startswith(prefix)]
    return [int(ending) for ending in endings if ending.isdecimal()]


def _generator(resolution: int) -> Iterator[Layer]:
    yield Layer("init.init.0", ("initial", "conv"), "transposed")
    yield Layer("init.init.1", ("initial", "norm"), "norm")
    sides = g_sizes.stage_sides(resolution)
    excited = [side for side in g_sizes.EXCITED_BY if side <= resolution]
    for side in [side for side in sides if side <= COMMON_SIDE]:
        yield from _stage(side)
    for side in [side for side in excited if side <= COMMON_SIDE]:
        yield from _excitation(f"se_{side}", side)
    yield Layer("to_128", ("to_small",), "conv")
    yield Layer("to_big", ("to_big",), "conv")
    for side in [side for side in sides if side > COMMON_SIDE]:
        yield from _stage(side)
        if side in excited:
            yield from _excitation(f"se_{side}", side)


def _stage(side: int) -> Iterator[Layer]:
    """One upsampling stage: [upsample, conv, norm, GLU], or composite, with noise between and all of it twice."""
    key, path = f"feat_{side}", f"up_{side}"
    if not g_sizes.is_composite(side):
        yield Layer(f"{key}.1", (path, "conv"), "conv")
        yield Layer(f"{key}.2", (path, "norm"), "norm")
        return
    for index, first in enumerate((1, 5)):
        yield Layer(f"{key}.{first}", (path, f"conv_{index}"), "conv")
        yield Layer(f"{key}.{first + 1}", (path, f"noise_{index}"), "noise")
        yield Layer(f"{key}.{first + 2}", (path, f"norm_{index}"), "norm")


def _excitation(key: str, side: int) -> Iterator[Layer]:
    """[pool, conv, Swish, conv, sigmoid]"""
    yield Layer(f"{key}.main.1", (f"sle_{side}", "conv_0"), "conv")
    yield Layer(f"{key}.main.3", (f"sle_{side}", "conv_1"), "conv")


def _discriminator(resolution: int) -> Iterator[Layer]:
    yield Layer("down_from_big.0", ("from_big_0",), "conv")
    for index in range(1, len(d_sizes.halvings(resolution, d_sizes.TRUNK_SIDE))):
        yield Layer(f"down_from_big.{3 * index - 1}", (f"from_big_{index}", "conv"), "conv")
        yield Layer(f"down_from_big.{3 * index}", (f"from_big_{index}", "norm"), "norm")
    first = min(resolution, d_sizes.TRUNK_SIDE)
    sides = d_sizes.halvings(first, d_sizes.LAST_SIDE)
    for side in sides:
        yield from _composite_down(f"down_{DOWN_ORIGIN // side}", f"down_{side}")
    yield Layer("rf_big.0", ("head_big_0",), "conv")
    yield Layer("rf_big.1", ("head_big_norm",), "norm")
    yield Layer("rf_big.3", ("head_big_1",), "conv")
    for side, exciting in d_sizes.EXCITED_BY.items():
        if side in sides and exciting <= first:
            yield from _excitation(f"se_{DOWN_ORIGIN // exciting}_{DOWN_ORIGIN // side}", side)
    yield Layer("down_from_small.0", ("from_small",), "conv")
    small_sides = d_sizes.halvings(g_sizes.small_side(resolution), d_sizes.LAST_SIDE)[1:]
    for index, side in enumerate(small_sides, start=2):
        yield Layer(f"down_from_small.{index}.main.0", (f"small_down_{side}", "conv"), "conv")
        yield Layer(f"down_from_small.{index}.main.1", (f"small_down_{side}", "norm"), "norm")
    yield Layer("rf_small", ("head_small",), "conv")
    for decoder in REFERENCE_DECODERS:
        yield from _decoder(f"decoder_{decoder}", resolution)


def _composite_down(key: str, path: str) -> Iterator[Layer]:
    """main = [conv, norm, LReLU, conv, norm, LReLU], direct = [pool, conv, norm, LReLU]"""
    yield Layer(f"{key}.main.0", (path, "main_0", "conv"), "conv")
    yield Layer(f"{key}.main.1", (path, "main_0", "norm"), "norm")
    yield Layer(f"{key}.main.3", (path, "main_1_conv"), "conv")
    yield Layer(f"{key}.main.4", (path, "main_1_norm"), "norm")
    yield Layer(f"{key}.direct.1", (path, "direct_conv"), "conv")
    yield Layer(f"{key}.direct.2", (path, "direct_norm"), "norm")


def _decoder(name: str, resolution: int) -> Iterator[Layer]:
    """main = [pool, then stages of [upsample, conv, norm, GLU], conv, tanh]; the decoder has our name too."""
    stages = sum(1 for side in d_sizes.DECODER_WIDTHS if side <= d_sizes.decoder_side(resolution))
    for index in range(stages):
        yield Layer(f"{name}.main.{index + 1}.1", (name, f"up_{index}", "conv"), "conv")
        yield Layer(f"{name}.main.{index + 1}.2", (name, f"up_{index}", "norm"), "norm")
    yield Layer(f"{name}.main.{stages + 1}", (name, "to_picture"), "conv")


def check_structure(model: Any) -> None:
    """Checks that a model's tensors are those of the reference, at whatever resolution and width.

    Args:
        model: the group `model` of a configuration.

    Raises:
        UserError: naming the first field that the reference has no counterpart for.
    """
    decoders = {name.strip() for name in model.decoders.split(",") if name.strip()}
    _check(
        model,
        {
            "num_classes": (not model.num_classes, "0"),
            "skip_excitation": (model.skip_excitation, "True"),
            "attention": (not model.attention, "False"),
            "decoders": (decoders == set(REFERENCE_DECODERS), ",".join(REFERENCE_DECODERS)),
            "logits_map": (model.logits_map == 5, "5"),
        },
    )


def check_expressible(model: Any) -> None:
    """Checks that the reference can build the model and computes the same with it; otherwise as `check_structure`."""
    check_structure(model)
    resolution, tanh = model.resolution, model.resolution >= g_sizes.TANH_FROM_RESOLUTION
    # Maps of narrower networks would have less than one channel there; here they get one.
    least_ngf, least_ndf = resolution // 128, max(256, resolution // 2) // 64
    _check(
        model,
        {
            "resolution": (resolution in RESOLUTIONS, "256, 512 and 1024"),
            "channels": (model.channels == 3, "3"),
            "sle_activation": (model.sle_activation == "swish", "swish"),
            "output_tanh": (model.output_tanh in (None, tanh), f"{tanh} at {resolution}"),
            "ngf": (model.ngf >= least_ngf, f"{least_ngf} and more at {resolution}"),
            "ndf": (model.ndf >= least_ndf, f"{least_ndf} and more at {resolution}"),
        },
    )


def _check(model: Any, rules: dict[str, tuple[bool, str]]) -> None:
    for field, (fits, allowed) in rules.items():
        if not fits:
            raise UserError(f"model.{field}={model[field]}: the reference program has {allowed} only")
