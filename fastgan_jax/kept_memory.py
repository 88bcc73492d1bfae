"""What an iteration keeps in memory, from the traced program alone: no device is asked, nothing is compiled.

Compilers may need more (temporary copies) or less (recomputing what is cheap); the numbers tell what rematerialisation,
precision and batch size change, on any device. That of CPU undoes rematerialisation (docs/performance.md).
"""

from typing import Any

import jax
import jax.numpy as jnp

from fastgan_jax.assemble import method_from_config
from fastgan_jax.draws import draw_step
from fastgan_jax.models.generator import small_side
from fastgan_jax.train_state import create_train_state
from fastgan_jax.train_step import generate, judge, recomputed


def kept_bytes(config: Any) -> dict[str, int]:
    """Bytes that live through an iteration, or through a backward pass.

    Args:
        config: the whole configuration.

    Returns:
        "state": parameters, averages and the optimisers' moments; "G": what G's forward pass keeps for its backward
        pass, which is held during the update of D too; "D": the same of D's two passes of its own update, without the
        reconstruction distance; both with the parameters that their backward passes need. Of a micro-batch, with
        train.accumulate.
    """
    method = method_from_config(config)
    side, channels = config.model.resolution, config.model.channels
    batch = config.train.batch_size // config.train.accumulate

    def kept_by(state: Any) -> tuple[Any, Any]:
        draws = draw_step(
            jax.random.key(0),
            batch=batch,
            latent_size=method.latent_size,
            resolution=side,
            logits_map=method.discriminator.logits_map,
            policy=method.policy,
            shared=method.augment_shared,
        )
        labels = jnp.zeros(batch, jnp.int32)
        full, small = (jnp.zeros((batch, s, s, channels)) for s in (side, small_side(side)))
        g, d = state.generator, state.discriminator

        def make(params: dict) -> Any:
            return generate(method, params, g.batch_stats, g.spectral, labels, draws)

        def judge_real(params: dict) -> Any:
            return judge(method, params, d, full, small, labels, quadrant=draws.quadrant)

        def judge_fakes(params: dict) -> Any:
            return judge(method, params, d, full, small, labels)

        of_g, of_real, of_fake = (
            jax.vjp(recomputed(method, function), params)[1]
            for function, params in ((make, g.params), (judge_real, d.params), (judge_fakes, d.params))
        )
        return of_g, (of_real, of_fake)

    state = jax.eval_shape(
        lambda: create_train_state(
            jax.random.key(0), method.generator, method.discriminator, method.optimizer, method.latent_size
        )
    )
    of_g, of_d = jax.eval_shape(kept_by, state)
    return {
        "state": _bytes(state),
        "G": _bytes(of_g),
        "D": _bytes(of_d),
    }


def _bytes(tree: Any) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
