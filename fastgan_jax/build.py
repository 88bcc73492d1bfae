"""From a configuration to networks, what an iteration consists of, and pretrained parameters."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from fastgan_jax.errors import UserError
from fastgan_jax.gan import losses
from fastgan_jax.gan.self_supervision import TASKS
from fastgan_jax.gan.spec import Pretrained, Spec
from fastgan_jax.models.discriminator import Discriminator, layers_from_image
from fastgan_jax.models.generator import Generator
from fastgan_jax.models.projected import ProjectedDiscriminator
from fastgan_jax.models.variants import REFERENCE, Compute, choose
from fastgan_jax.pretrained.networks import PERCEPTUAL, load_efficientnet, load_perceptual
from fastgan_jax.runs.config import split_names

PRECISIONS = {"float32": None, "bfloat16": jnp.bfloat16}  # train.precision: dtype of the computation, None: parameters'


def compute_from_config(train: Any, backend: str | None = None) -> Compute:
    """How networks compute by the group `train` on a backend (None: the default one)."""
    options = {"dtype": PRECISIONS[train.precision], "remat": train.remat != "none"}
    return choose(train.ops, backend or jax.default_backend(), **options)


def build_generator(model: Any, compute: Compute = REFERENCE) -> Generator:
    """The generator that the group `model` (resolution, channels, ngf, ...) describes."""
    names = ("resolution", "channels", "ngf", "num_classes", "skip_excitation", "attention", "sle_activation")
    names += ("output_tanh", "output_bias", "stages", "normalize_latent")
    return Generator(**{name: model[name] for name in names}, compute=compute)


def build_discriminator(model: Any, compute: Compute = REFERENCE) -> Discriminator | ProjectedDiscriminator:
    """The discriminator that the group `model` (discriminator, resolution, channels, ndf, ...) describes."""
    kind, image = model.discriminator, build_image_discriminator(model, compute)
    if kind == "fastgan":
        return image
    fields = {name: model[name] for name in ("resolution", "channels", "num_classes")}
    return ProjectedDiscriminator(**fields, image=image, compute=compute)


def build_image_discriminator(model: Any, compute: Compute = REFERENCE) -> Discriminator | None:
    """FastGAN's discriminator of the group `model`; None if the images are judged by their features alone."""
    if model.discriminator == "projected":
        return None
    names = ("resolution", "channels", "ndf", "num_classes", "sle_activation", "logits_map", "part")
    fields = {name: model[name] for name in names} | {"decoders": split_names(model.decoders)}
    fields |= {name: model[f"discriminator_{name}"] for name in ("skip_excitation", "attention")}
    tasks = {name: TASKS[name].outputs(model.num_instances) for name in split_names(model.self_supervision)}
    return Discriminator(**fields, heads=tuple(tasks.items()), compute=compute)


def frozen_layers(config: Any) -> tuple[str, ...]:
    """Names among D's variables of the layers that `train.freeze_discriminator` keeps as they are."""
    model = config.model
    options = (model.discriminator_skip_excitation, model.discriminator_attention)
    layers = layers_from_image(model.resolution, *options)
    return sum(layers[: config.train.freeze_discriminator], ())


def spec_from_config(config: Any, backend: str | None = None) -> Spec:
    """Networks, optimizer and losses of a configuration (see configs/base.py), as on a backend (None: the default)."""
    optim, compute = config.optim, compute_from_config(config.train, backend)
    final = optim.final_learning_rate
    return Spec(
        generator=build_generator(config.model, compute),
        discriminator=build_discriminator(config.model, compute),
        # By the iteration, not by the optimizer's own count: with train.generator_every G has fewer updates.
        optimizer=optax.adam(optim.learning_rate, b1=optim.beta1, b2=optim.beta2, eps=1e-8),
        rate=None if final is None else optax.linear_schedule(1, final / optim.learning_rate, config.train.iterations),
        adversarial=losses.ADVERSARIAL[config.loss.adversarial],
        smoothing=config.loss.smoothing,
        distance=distance_from_config(config.loss, config.train.precision),
        latent_size=config.model.nz,
        reconstruction_weight=config.loss.reconstruction_weight,
        policy=config.augment.policy,
        augment_probability=config.augment.probability,
        augment_shared=config.augment.shared,
        resize=config.model.resize,
        flip=config.data.flip,
        ema_decay=optim.ema_decay,
        frozen=frozen_layers(config),
        ema_warmup=optim.ema_warmup and config.train.init_from is None,  # which begins with an average
        augment_target=config.augment.target,
        augment_adaptation=config.augment.adaptation,
        lecam=config.loss.lecam,
        projected_weight=config.loss.projected_weight,
        **{name: config.loss[name] for name in ("r1", "r2", "penalty_every", "self_supervision_weight")},
        generator_every=config.train.generator_every,
        recompute=config.train.remat == "full",
    )


def distance_from_config(loss: Any, precision: str = "float32") -> losses.Distance:
    """The distance of a reconstruction from its target; that of lpips computes in `precision`."""
    return losses.RECONSTRUCTION[loss.reconstruction](PERCEPTUAL[loss.perceptual_net].backbone, PRECISIONS[precision])


def pretrained_from_config(config: Any) -> Pretrained:
    """The parameters of the perceptual network, for lpips, and of the feature network of a projected discriminator.

    Raises:
        UserError: if weights are needed that cannot be had; the line says where they are published and what can be
            done without.
    """
    distance = _perceptual_from_config(config.loss) if uses_perceptual(config) else None
    features = None if config.model.discriminator == "fastgan" else load_efficientnet(config.model.feature_weights)
    return Pretrained(distance, features)


def uses_perceptual(config: Any) -> bool:
    """Whether reconstructions are compared by a pretrained network."""
    reconstructs = config.model.decoders and config.model.discriminator != "projected"
    return bool(config.loss.reconstruction == "lpips" and reconstructs)


def _perceptual_from_config(loss: Any) -> dict[str, Any]:
    try:
        return load_perceptual(loss.perceptual_net, loss.perceptual_weights)
    except UserError as error:
        raise UserError(
            f"{error}; or set loss.perceptual_weights=FILE or another loss.perceptual_net, or use "
            "loss.reconstruction=l1, which needs no weights"
        ) from None
