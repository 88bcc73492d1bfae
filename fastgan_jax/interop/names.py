"""Where each tensor of the reference program's networks is in ours, and which of our models that program can build.

The reference names modules by their place in nested containers (`down_8.main.3.weight_orig`); the tables here follow
the same structure: {module in the reference: path of ours}. Order is that of the reference's `state_dict()`, and
therefore of its `parameters()`.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from fastgan_jax.errors import UserError
from fastgan_jax.models import discriminator as d_sizes
from fastgan_jax.models import generator as g_sizes

RESOLUTIONS = (256, 512, 1024)  # that the reference can build
REFERENCE_DECODERS = ("big", "part", "small")
COMMON_SIDE = 256  # the reference builds the stages up to here for every resolution, and appends the later ones
DOWN_ORIGIN = 512  # the reference numbers D's stages by the factor from here: down_4 ends at 128, down_64 at 8
COUNTER = "num_batches_tracked"  # PyTorch's batch norm counts its training passes; nothing here reads the number

UP = {"1": "conv", "2": "norm"}  # [upsample, conv, norm, GLU]
UP_COMPOSITE = {"1": "conv_0", "2": "noise_0", "3": "norm_0", "5": "conv_1", "6": "noise_1", "7": "norm_1"}
EXCITATION = {"main.1": "conv_0", "main.3": "conv_1"}  # [pool, conv, Swish, conv, sigmoid]
DOWN = {"main.0": "conv", "main.1": "norm"}
DOWN_COMPOSITE = {  # main = [conv, norm, LReLU, conv, norm, LReLU], direct = [pool, conv, norm, LReLU]
    "main.0": "main_0/conv",
    "main.1": "main_0/norm",
    "main.3": "main_1_conv",
    "main.4": "main_1_norm",
    "direct.1": "direct_conv",
    "direct.2": "direct_norm",
}
# in the name of our module: (name of the tensor in the reference, our collection, our leaf), in state_dict order
LEAVES = {
    "norm": [
        ("weight", "params", "scale"),
        ("bias", "params", "bias"),
        ("running_mean", "batch_stats", "mean"),
        ("running_var", "batch_stats", "var"),
        (COUNTER, None, None),
    ],
    "noise": [("weight", "params", "noise_weight")],
    "": [("weight_orig", "params", "kernel"), ("weight_u", "spectral", "u"), ("weight_v", "spectral", "v")],
}


class Tensor(NamedTuple):
    """One tensor: its key in the reference's state_dict and its place in our variables (None: we do not keep it)."""

    key: str  # such as "feat_8.1.weight_orig"
    path: tuple[str, ...] | None  # such as ("params", "up_8", "conv_0", "kernel")


def tensors(net: str, resolution: int) -> list[Tensor]:
    """All tensors of a network ("generator" or "discriminator"), in the order of the reference's state_dict."""
    found = []
    for key, ours in (_generator if net == "generator" else _discriminator)(resolution).items():
        for name, collection, leaf in next(leaves for kind, leaves in LEAVES.items() if kind in ours.split("/")[-1]):
            found.append(Tensor(f"{key}.{name}", (collection, *ours.split("/"), leaf) if collection else None))
    return found


def parameter_keys(net: str, resolution: int) -> list[str]:
    """Keys of the trainable tensors, in the order of the reference's `parameters()`."""
    return [key for key, path in tensors(net, resolution) if path and path[0] == "params"]


def resolution_of(net: str, state_dict: Mapping[str, np.ndarray]) -> int:
    """The resolution of the reference's network with this state_dict; 256 if no key says otherwise.

    The generator's is that of its last stage. The discriminator's follows from where its trunk starts and from the
    number of convolutions of stride 2 (4x4; the one of stride 1 is 3x3) before it.
    """
    modules = {key.split(".")[0] for key in state_dict}
    if net == "generator":
        return max(_numbers(modules, "feat_"), default=COMMON_SIDE)
    before = [key for key in state_dict if key.startswith("down_from_big.") and key.endswith(".weight_orig")]
    halvings = sum(np.shape(state_dict[key])[-1] == 4 for key in before)
    return 2 * DOWN_ORIGIN // min(_numbers(modules, "down_"), default=2 * DOWN_ORIGIN // COMMON_SIDE) * 2**halvings


def resolution_of_params(net: str, params: Mapping[str, Any]) -> int:
    """The resolution of a network with these parameters of ours."""
    if net == "generator":
        return max(_numbers(params, "up_"))
    halvings = len(_numbers(params, "from_big_")) if np.shape(params["from_big_0"]["kernel"])[0] == 4 else 0
    return 2 * max(_numbers(params, "down_")) * 2**halvings


def _numbers(names: Iterable[str], prefix: str) -> list[int]:
    endings = [name.removeprefix(prefix) for name in names if name.startswith(prefix)]
    return [int(ending) for ending in endings if ending.isdecimal()]


def _block(key: str, path: str, layers: dict[str, str]) -> dict[str, str]:
    return {f"{key}.{theirs}": f"{path}/{ours}" for theirs, ours in layers.items()}


def _generator(resolution: int) -> dict[str, str]:
    stages, excitations = {}, {}
    for side in g_sizes.stage_sides(resolution):
        stages[side] = _block(f"feat_{side}", f"up_{side}", UP_COMPOSITE if g_sizes.is_composite(side) else UP)
        excitations[side] = _block(f"se_{side}", f"sle_{side}", EXCITATION) if side in g_sizes.SKIP_PAIRS else {}
    layers = {"init.init.0": "initial/conv", "init.init.1": "initial/norm"}
    for blocks in (stages, excitations):
        for side in stages:
            layers |= blocks[side] if side <= COMMON_SIDE else {}
    layers |= {"to_128": "to_small", "to_big": "to_big"}
    for side in stages:
        layers |= stages[side] | excitations[side]  # those up to COMMON_SIDE have their places already
    return layers


def _discriminator(resolution: int) -> dict[str, str]:
    layers = {"down_from_big.0": "from_big_0"}
    for index in range(1, len(d_sizes.halvings(resolution, d_sizes.TRUNK_SIDE))):
        layers[f"down_from_big.{3 * index - 1}"] = f"from_big_{index}/conv"
        layers[f"down_from_big.{3 * index}"] = f"from_big_{index}/norm"
    first = min(resolution, d_sizes.TRUNK_SIDE)
    sides = d_sizes.halvings(first, d_sizes.LAST_SIDE)
    for side in sides:
        layers |= _block(f"down_{DOWN_ORIGIN // side}", f"down_{side}", DOWN_COMPOSITE)
    layers |= {"rf_big.0": "head_big_0", "rf_big.1": "head_big_norm", "rf_big.3": "head_big_1"}
    for side, exciting in d_sizes.TRUNK_SKIP_PAIRS.items():
        if side in sides and exciting <= first:
            layers |= _block(f"se_{DOWN_ORIGIN // exciting}_{DOWN_ORIGIN // side}", f"sle_{side}", EXCITATION)
    layers["down_from_small.0"] = "from_small"
    small_sides = d_sizes.halvings(g_sizes.small_side(resolution), d_sizes.LAST_SIDE)[1:]
    for index, side in enumerate(small_sides, start=2):
        layers |= _block(f"down_from_small.{index}", f"small_down_{side}", DOWN)
    layers["rf_small"] = "head_small"
    stages = sum(side <= d_sizes.decoder_side(resolution) for side in d_sizes.DECODER_WIDTHS)
    for decoder in (f"{d_sizes.DECODER_PREFIX}{name}" for name in REFERENCE_DECODERS):
        for index in range(stages):  # main = [pool, stages, conv, tanh]
            layers |= _block(f"{decoder}.main.{index + 1}", f"{decoder}/up_{index}", UP)
        layers[f"{decoder}.main.{stages + 1}"] = f"{decoder}/to_picture"
    return layers


def check_structure(model: Any) -> None:
    """Checks that a model's tensors are those of the reference, at whatever resolution and width.

    Raises:
        UserError: naming the first field of `model`, a configuration's group, that has no counterpart in the reference.
    """
    decoders = {name.strip() for name in model.decoders.split(",") if name.strip()}
    _check(
        model,
        discriminator=(model.discriminator == "fastgan", "fastgan"),
        stages=(model.stages == "alternating", "alternating"),
        output_bias=(not model.output_bias, "False"),
        normalize_latent=(not model.normalize_latent, "False"),
        num_classes=(not model.num_classes, "0"),
        skip_excitation=(model.skip_excitation, "True"),
        attention=(not model.attention, "False"),
        discriminator_skip_excitation=(model.discriminator_skip_excitation, "True"),
        discriminator_attention=(not model.discriminator_attention, "False"),
        self_supervision=(not model.self_supervision, "nothing"),
        decoders=(decoders == set(REFERENCE_DECODERS), ",".join(REFERENCE_DECODERS)),
        logits_map=(model.logits_map == 5, "5"),
    )


def check_expressible(model: Any) -> None:
    """Checks that the reference can build the model and computes the same with it; otherwise as `check_structure`."""
    check_structure(model)
    resolution, tanh = model.resolution, model.resolution >= g_sizes.TANH_FROM_RESOLUTION
    # Maps of narrower networks would have less than one channel there; here they get one.
    least_ngf, least_ndf = resolution // 128, max(256, resolution // 2) // 64
    _check(
        model,
        resolution=(resolution in RESOLUTIONS, "256, 512 and 1024"),
        channels=(model.channels == 3, "3"),
        part=(model.part == "quadrant", "quadrant"),
        sle_activation=(model.sle_activation == "swish", "swish"),
        output_tanh=(model.output_tanh in (None, tanh), f"{tanh} at {resolution}"),
        ngf=(model.ngf >= least_ngf, f"{least_ngf} and more at {resolution}"),
        ndf=(model.ndf >= least_ndf, f"{least_ndf} and more at {resolution}"),
    )


def _check(model: Any, **rules: tuple[bool, str]) -> None:
    for field, (fits, allowed) in rules.items():
        if not fits:
            raise UserError(f"model.{field}={model[field]}: the reference program has {allowed} only")
