"""Multiplications and additions of a training iteration, counted from the networks: what a benchmark divides by time.

A multiply-add is two operations. Counted are convolutions (positions in the zero padding included) and matrix products.
Not counted, since they are small: depthwise convolutions, spectral normalization, batch norm,
activations, augmentation, optimizer. XLA's own figure for a compiled program counts the body of a loop once.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from fastgan_jax.gan.spec import Pretrained, Spec
from fastgan_jax.models import discriminator as d_shapes
from fastgan_jax.models.variants import REFERENCE

Shapes = Any  # a tree of jax.ShapeDtypeStruct


def count_iteration(spec: Spec, pretrained: Pretrained) -> dict[str, int]:
    """Operations per image of each part of an iteration; their sum times the batch size is a plain iteration's.

    The parts are those of the reference program, whatever the variants of `spec`: it computes D's parameter gradients
    in the G step too, though nothing uses them, and the features of one target for each decoder. What options add is
    not counted: R1 and R2, rotations, pairing's pass on real images, accumulation's second pass of G. "perceptual"
    parts are 0 for distances without a network. `pretrained` has the shapes of pretrained parameters.
    """
    latents, _ = spec.generator.call_shapes(spec.latent_size, batch=1)
    inputs, named = spec.discriminator.call_shapes(batch=1)
    generate, g_params, g_state = _training_pass(spec.generator, *latents)
    discriminate, d_params, d_state = _training_pass(spec.discriminator, *inputs, **named)
    on_real = (discriminate, d_params, *inputs, d_state, named)
    on_fake = (discriminate, d_params, *inputs, d_state, named | {"cell": None})
    counts = {}
    counts["G forward"], g_backward = _count_both_ways(1, generate, g_params, *latents, g_state, {})
    counts["D on real, forward"], counts["D on real, backward"] = _count_both_ways(1, *on_real)
    counts["D on fake, forward"], counts["D on fake, backward"] = _count_both_ways(1, *on_fake)
    counts["G step: D forward"], counts["G step: backward through D"] = _count_both_ways(1 + len(inputs), *on_fake)
    counts["G step: backward through G"] = g_backward

    side, decoders = d_shapes.decoder_side(spec.generator.resolution), len(spec.discriminator.decoders)
    image = jax.ShapeDtypeStruct((1, side, side, spec.generator.channels), jnp.float32)
    embedded = _count_both_ways(1, lambda image, params: spec.distance.embed(params, image), image, pretrained.distance)
    counts["perceptual forward"], counts["perceptual backward"] = 2 * decoders * embedded[0], decoders * embedded[1]
    if pretrained.features is not None:  # of real and of generated images; the gradient of the latter alone
        side = spec.generator.resolution
        full = jax.ShapeDtypeStruct((1, side, side, spec.generator.channels), jnp.float32)

        def project(full: jax.Array, params: Any, layers: Any) -> tuple[jax.Array, ...]:
            return spec.discriminator.inputs(params, layers, (full, full))

        forward, backward = _count_both_ways(1, project, full, d_params, pretrained.features)
        counts["feature network forward"], counts["feature network backward"] = 2 * forward, backward
    return counts


def _training_pass(network: nn.Module, *inputs: Shapes, **named: Shapes) -> tuple[Callable, Shapes, Shapes]:
    """A pass of a network's reference variant, a function of parameters, inputs and state; shapes of first and last."""
    network = network.clone(compute=REFERENCE)
    if getattr(network, "image", None) is not None:
        network = network.clone(image=network.image.clone(compute=REFERENCE))
    state = jax.eval_shape(partial(network.init, jax.random.key(0), train=True), *inputs, **named)
    params = state.pop("params")

    def run(params: Any, *inputs_and_state: Any) -> Any:
        *inputs, state, named = inputs_and_state
        return network.apply({"params": params, **state}, *inputs, **named, train=True, mutable=["batch_stats"])[0][:2]

    return run, params, state


def _count_both_ways(differentiated: int, function: Callable, *shapes: Shapes) -> tuple[int, int]:
    """Operations of a function, and those that its gradients with respect to the first arguments add."""

    def with_gradient(*args: Any) -> Any:
        outputs, vjp_fn = jax.vjp(lambda *first: function(*first, *args[differentiated:]), *args[:differentiated])
        return vjp_fn(outputs)

    forward = count(function, *shapes)
    return forward, count(with_gradient, *shapes) - forward


def count(function: Callable, *shapes: Shapes) -> int:
    """Operations of the convolutions and matrix products that a function of arguments of these shapes executes."""
    return _count_equations(jax.make_jaxpr(function)(*shapes).jaxpr)


def _count_equations(jaxpr: Any) -> int:
    """Operations of the equations that a jaxpr's results depend on; compilers drop others, such as unused gradients."""
    total, needed = 0, set(map(id, jaxpr.outvars))
    for equation in reversed(jaxpr.eqns):
        if needed.isdisjoint(map(id, equation.outvars)):
            continue
        needed.update(map(id, equation.invars))
        if equation.primitive.name in ("conv_general_dilated", "dot_general"):
            total += _count_equation(equation)
        else:
            inner = (getattr(value, "jaxpr", value) for value in equation.params.values())  # closed or not
            times = equation.params["length"] if equation.primitive.name == "scan" else 1
            total += times * sum(_count_equations(value) for value in inner if hasattr(value, "eqns"))
            # Of alternatives the larger: an iteration in which all that is due now and then is.
            alternatives = equation.params["branches"] if equation.primitive.name == "cond" else ()
            total += max((_count_equations(value.jaxpr) for value in alternatives), default=0)
    return total


def _count_equation(equation: Any) -> int:
    """Two operations for each factor of each output of a convolution or matrix product."""
    left, right = (variable.aval for variable in equation.invars)
    dimensions, outputs = equation.params["dimension_numbers"], equation.outvars[0].aval.size
    if equation.primitive.name == "dot_general":
        factors = math.prod(left.shape[axis] for axis in dimensions[0][0])
        return 2 * outputs * factors if min(left.ndim, right.ndim) > 1 else 0  # vectors: spectral normalization
    taps = math.prod(right.shape[axis] for axis in dimensions.rhs_spec[1:])
    return 2 * outputs * taps // math.prod(equation.params["lhs_dilation"])  # none between a dilated input's pixels
