"""What an iteration keeps in memory, from the traced program alone: no device is asked, nothing is compiled.

Compilers may need more (temporary copies) or less (recomputing what is cheap); the numbers tell what rematerialization,
precision and batch size change on a GPU. The compiler for CPU undoes rematerialization (docs/performance.md).
"""

import dataclasses
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun

from fastgan_jax.benchmark.operation_counts import inner_jaxprs
from fastgan_jax.build import compute_from_config, spec_from_config
from fastgan_jax.gan.judging import judge
from fastgan_jax.gan.randomness import draw_step
from fastgan_jax.gan.spec import recomputed
from fastgan_jax.gan.state import create_train_state
from fastgan_jax.gan.step import generate
from fastgan_jax.models.discriminator import decoder_side
from fastgan_jax.models.generator import small_side

CHECKPOINTS = ("checkpoint", "remat2")  # names of the primitive of jax.checkpoint


class Pass(NamedTuple):
    """Bytes for the backward pass of a function."""

    kept: int  # from the forward pass on
    recomputed: int  # the most that has to be there again at once, while the backward pass runs


def kept_bytes(config: Any, pretrained: Any = None) -> dict[str, int]:
    """Bytes that live through an iteration, or through a backward pass, in the variants that a GPU gets.

    Args:
        config: the whole configuration.
        pretrained: parameters of the reconstruction distance, or their shapes; None if it has none.

    Returns:
        "state": parameters, averages and the optimizers' moments; "G": what G's forward pass keeps for its backward
        pass; "D": the same of D's two passes in its own update; "distance": of the reconstruction distance there, all
        with the parameters that they need, and of a micro-batch with train.accumulate; "recomputed": the most that
        rematerialization builds again at once; "peak": the most of it all at one time. While D is updated, what G's
        pass keeps is there too, unless micro-batches make G's pass twice.
    """
    spec, variants = spec_from_config(config), compute_from_config(config.train, "gpu")
    generator, discriminator = (n.clone(variants=variants) for n in (spec.generator, spec.discriminator))
    spec = dataclasses.replace(spec, generator=generator, discriminator=discriminator)
    side, channels = config.model.resolution, config.model.channels
    batch = config.train.batch_size // config.train.accumulate
    state = jax.eval_shape(lambda: create_train_state(jax.random.key(0), spec))
    draws = jax.eval_shape(
        lambda: draw_step(
            jax.random.key(0),
            batch=batch,
            latent_size=spec.latent_size,
            resolution=side,
            logits_map=discriminator.logits_map,
            policy=spec.policy,
            shared=spec.augment_shared,
        )
    )
    labels = jax.ShapeDtypeStruct((batch,), jnp.int32)
    images = [jax.ShapeDtypeStruct((batch, s, s, channels), jnp.float32) for s in (side, small_side(side))]
    g, d = state.generator, state.discriminator

    def make(params: dict, batch_stats: dict, spectral: dict, labels: jax.Array, draws: Any) -> Any:
        return generate(spec, params, batch_stats, spectral, labels, draws)[0]

    def judge_real(params: dict, d: Any, labels: jax.Array, quadrant: jax.Array, *images: jax.Array) -> Any:
        return judge(spec, params, d, *images, labels, quadrant=quadrant)[0]

    def judge_fake(params: dict, d: Any, labels: jax.Array, *images: jax.Array) -> Any:
        return judge(spec, params, d, *images, labels)[0]

    def judge_for_generator(images: list[jax.Array], d: Any, labels: jax.Array) -> Any:
        return judge(spec, d.params, d, *images, labels)[0]

    def distance(made: jax.Array, wanted: Any, pretrained: Any) -> Any:
        return spec.distance.compare(pretrained, spec.distance.embed(pretrained, made), wanted)

    of = partial(_backward_pass, spec)
    of_g = of(make, g.params, g.batch_stats, g.spectral, labels, draws)
    of_real = of(judge_real, d.params, d, labels, draws.quadrant, *images)
    of_fake = of(judge_fake, d.params, d, labels, *images)
    in_g_update = of(judge_for_generator, images, d, labels, whole=False)

    views = jax.ShapeDtypeStruct(
        (len(discriminator.decoders) * batch, *2 * (decoder_side(side),), channels), jnp.float32
    )
    wanted = jax.eval_shape(spec.distance.embed, pretrained, views)
    of_distance = of(distance, views, wanted, pretrained, whole=False)

    held = of_g.kept if config.train.accumulate == 1 else 0
    d_update = held + of_real.kept + of_fake.kept + of_distance.kept + max(of_real.recomputed, of_fake.recomputed)
    g_update = of_g.kept + max(sum(in_g_update), of_g.recomputed)
    sizes = {
        "state": _bytes(state),
        "G": of_g.kept,
        "D": of_real.kept + of_fake.kept,
        "distance": of_distance.kept,
        "recomputed": max(of_g.recomputed, of_real.recomputed, of_fake.recomputed, in_g_update.recomputed),
    }
    return sizes | {"peak": sizes["state"] + max(d_update, g_update)}


def _backward_pass(spec: Any, function: Callable, first: Any, *rest: Any, whole: bool = True) -> Pass:
    """What the gradient of a pass through a network takes, with respect to its first argument.

    Args:
        spec: says whether activations of the whole network are recomputed.
        function: the pass.
        first: shapes of the argument that is differentiated.
        rest: shapes of the others.
        whole: whether this pass is among those that are recomputed as a whole.
    """

    forward = recomputed(spec, function) if whole else function
    kept = jax.eval_shape(lambda first, *rest: jax.vjp(lambda x: forward(x, *rest), first)[1], first, *rest)
    return Pass(_bytes(kept), _largest_recomputed(jax.make_jaxpr(forward)(first, *rest).jaxpr))


def _largest_recomputed(jaxpr: Any) -> int:
    """Bytes that the largest of the rematerialized parts builds again, with those inside it; 0 without any."""

    def size(inner: Any) -> int:
        function = jaxpr_as_fun(ClosedJaxpr(inner, ()))
        pull_back = jax.make_jaxpr(lambda *args: jax.vjp(function, *args)[1])(*(v.aval for v in inner.invars)).jaxpr
        there_already = set(map(id, pull_back.invars))
        made = {id(v): v.aval for v in pull_back.outvars if id(v) not in there_already}
        return _bytes(list(made.values())) + _largest_recomputed(inner)

    return max(map(size, _checkpointed(jaxpr)), default=0)


def _checkpointed(jaxpr: Any) -> Iterator[Any]:
    """The outermost rematerialized parts of a jaxpr."""
    for equation in jaxpr.eqns:
        for inner in inner_jaxprs(equation.params):
            if equation.primitive.name in CHECKPOINTS:
                yield inner
            else:
                yield from _checkpointed(inner)


def _bytes(tree: Any) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
