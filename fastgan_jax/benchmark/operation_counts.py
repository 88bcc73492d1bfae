"""Multiplications and additions of a training iteration, counted from the networks: what a benchmark divides by time.

A multiply-add is two operations. Counted are convolutions (positions in the zero padding included) and matrix products
of the networks in their reference variants, over the passes of the reference program, so that the count does not depend
on the implementation. Not counted, since they are small: spectral normalization, batch norm, activations, augmentation,
optimizer. `count` gives what a program executes in its fast variants; XLA's own figure for a compiled program counts
the body of a loop once.
"""

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from fastgan_jax.gan.spec import Spec
from fastgan_jax.models import discriminator as d_shapes
from fastgan_jax.models import generator as g_shapes
from fastgan_jax.models.variants import REFERENCE

Shapes = Any  # a tree of jax.ShapeDtypeStruct


def count(function: Callable, *shapes: Shapes) -> int:
    """Operations of the convolutions and matrix products in a function of arguments of these shapes."""
    return _count_equations(jax.make_jaxpr(function)(*shapes).jaxpr)


def count_iteration(spec: Spec, pretrained: Shapes) -> dict[str, int]:
    """Operations per image of each part of an iteration; their sum times the batch size is an iteration's.

    Args:
        spec: networks and options; their variants and rematerialization do not matter.
        pretrained: shapes of the parameters of `spec.distance`, or these parameters; None if it has none.

    Returns:
        {part: operations}. "perceptual" parts are 0 for distances without a network. The parts are those of the
        reference program, which computes D's parameter gradients in the G step too, though nothing uses them, and the
        features of one target for each decoder.
    """
    generator, discriminator = (net.clone(compute=REFERENCE) for net in (spec.generator, spec.discriminator))
    latents = g_shapes.input_shapes(generator, spec.latent_size, batch=1)
    full, small, quadrant, labels = d_shapes.input_shapes(discriminator, batch=1)
    g_params, g_state = variable_shapes(generator, *latents)
    d_params, d_state = variable_shapes(discriminator, full, small, quadrant, labels)

    def generate(params: Any, state: Any, *args: Any) -> Any:
        return generator.apply({"params": params, **state}, *args, train=True, mutable=["batch_stats"])[0]

    def discriminate(params: Any, full: Any, small: Any, quadrant: Any, labels: Any, state: Any) -> Any:
        variables = {"params": params, **state}
        output, _ = discriminator.apply(variables, full, small, quadrant, labels, train=True, mutable=["batch_stats"])
        return output.logits, output.reconstructions

    on_real = (discriminate, d_params, full, small, quadrant, labels, d_state)
    on_fake = (discriminate, d_params, full, small, None, labels, d_state)
    counts = {}
    counts["G forward"], g_backward = _both_ways(1, generate, g_params, g_state, *latents)
    counts["D on real, forward"], counts["D on real, backward"] = _both_ways(1, *on_real)
    counts["D on fake, forward"], counts["D on fake, backward"] = _both_ways(1, *on_fake)
    counts["G step: D forward"], counts["G step: backward through D"] = _both_ways(3, *on_fake)
    counts["G step: backward through G"] = g_backward
    forward, backward = _count_distance(spec, pretrained)
    return counts | {"perceptual forward": forward, "perceptual backward": backward}


def variable_shapes(module: nn.Module, *shapes: Shapes) -> tuple[Shapes, dict[str, Shapes]]:
    """Shapes of a network's parameters, and of its other collections."""
    variables = jax.eval_shape(lambda *args: module.init(jax.random.key(0), *args, train=True), *shapes)
    return variables.pop("params"), variables


def _count_distance(spec: Spec, pretrained: Shapes) -> tuple[int, int]:
    """Operations of the perceptual network on every decoder's image and target, and of the images' gradients."""
    side, decoders = d_shapes.decoder_side(spec.generator.resolution), len(spec.discriminator.decoders)
    image = jax.ShapeDtypeStruct((1, side, side, spec.generator.channels), jnp.float32)

    def embed(image: jax.Array, params: Any) -> Any:
        return spec.distance.embed(params, image)

    forward, backward = _both_ways(1, embed, image, pretrained)
    return 2 * decoders * forward, decoders * backward


def _both_ways(differentiated: int, function: Callable, *shapes: Shapes) -> tuple[int, int]:
    """Operations of a function, and those that its gradients with respect to the first arguments add."""

    def with_gradient(*args: Any) -> Any:
        primals, rest = args[:differentiated], args[differentiated:]
        outputs, vjp_fn = jax.vjp(lambda *a: function(*a, *rest), *primals)
        return vjp_fn(outputs)

    forward = count(function, *shapes)
    return forward, count(with_gradient, *shapes) - forward


def _count_equations(jaxpr: Any) -> int:
    """Operations of a jaxpr's equations and of those that they hold."""
    total = 0
    for equation in _used_equations(jaxpr):
        if equation.primitive.name == "conv_general_dilated":
            total += _count_convolution(equation)
        elif equation.primitive.name == "dot_general":
            total += _count_product(equation)
        else:
            times = equation.params["length"] if equation.primitive.name == "scan" else 1
            total += times * sum(map(_count_equations, inner_jaxprs(equation.params)))
    return total


def _used_equations(jaxpr: Any) -> list:
    """The equations that the results depend on; compilers drop the others, such as unused gradients."""
    used, needed = [], {id(variable) for variable in jaxpr.outvars}
    for equation in reversed(jaxpr.eqns):
        if any(id(variable) in needed for variable in equation.outvars):
            used.append(equation)
            needed.update(map(id, equation.invars))
    return used


def inner_jaxprs(params: dict) -> list:
    """The jaxprs among an equation's parameters."""
    values = [getattr(value, "jaxpr", value) for value in params.values()]  # closed or not
    return [value for value in values if hasattr(value, "eqns")]


def _count_convolution(equation: Any) -> int:
    """Two operations for each tap of each output; between the pixels of a dilated input there are no taps."""
    kernel, (_, channels, *spatial) = equation.invars[1].aval.shape, equation.params["dimension_numbers"].rhs_spec
    taps = math.prod(kernel[axis] for axis in (channels, *spatial))
    return 2 * equation.outvars[0].aval.size * taps // math.prod(equation.params["lhs_dilation"])


def _count_product(equation: Any) -> int:
    """Two operations for each factor of each output; products with a vector are those of spectral normalization."""
    left, right = (variable.aval for variable in equation.invars)
    if min(left.ndim, right.ndim) < 2:
        return 0
    (contracted, _), _ = equation.params["dimension_numbers"]
    return 2 * equation.outvars[0].aval.size * math.prod(left.shape[axis] for axis in contracted)
