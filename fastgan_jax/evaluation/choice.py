"""What an evaluation uses where nothing is named: the networks that are here."""

import logging
from collections.abc import Collection
from typing import Any

from fastgan_jax.evaluation.features import is_own_network
from fastgan_jax.metrics.registry import METRICS
from fastgan_jax.pretrained.choice import best_here, choice_in_words
from fastgan_jax.pretrained.registry import FEATURE_NETWORKS, PERCEPTUAL
from fastgan_jax.runs.config import split_names

WITHOUT_INCEPTION = {"fid": ("frechet", "kid")}  # what takes a metric's place on other features
OF_NETWORKS = ("features", "distance")  # what metrics need of pretrained networks

log = logging.getLogger(__name__)


def choose_networks(config: Any, given: Collection[str] = ()) -> None:
    """Lets a configuration evaluate by the best networks that are on this machine, where its own are not.

    Fields that are `given` by name stay. FID is computed by Inception alone: without it, frechet and kid take its
    place; where no feature network is here, the metrics that need no network. The network of a projected discriminator
    is a poor judge of its generator and not chosen. The log says what was chosen.
    """
    evaluation, loss, remarks = config.eval, config.loss, []
    metrics = split_names(evaluation.metrics)
    asks_for_fid = "fid" in metrics and "eval.metrics" in given
    if _need("features", metrics) and "eval.features" not in given and not asks_for_fid:
        own, judged = evaluation.features, config.model.discriminator
        judges = {
            name: net for name, net in FEATURE_NETWORKS.items() if name == own or not is_own_network(name, judged)
        }
        chosen = best_here(judges, own, evaluation.feature_weights)
        if chosen is None and "eval.metrics" not in given:
            without = [name for name, metric in METRICS.items() if metric.needs not in OF_NETWORKS]
            metrics = dict.fromkeys([*without, *(name for name in metrics if METRICS[name].needs != "features")])
            remarks.append(choice_in_words(FEATURE_NETWORKS, chosen))
        elif chosen not in (None, evaluation.features):
            metrics = dict.fromkeys(new for name in metrics for new in WITHOUT_INCEPTION.get(name, (name,)))
            evaluation.update(features=chosen, feature_weights=None)
            remarks.append(choice_in_words(FEATURE_NETWORKS, chosen) or f"{chosen} is used")
        evaluation.metrics = ",".join(metrics)
    if _need("distance", metrics) and "loss.perceptual_net" not in given:
        chosen = best_here(PERCEPTUAL, loss.perceptual_net, loss.perceptual_weights)
        if chosen != loss.perceptual_net:
            loss.update(perceptual_net=chosen, perceptual_weights=None)
            remarks.append(choice_in_words(PERCEPTUAL, chosen) or f"{chosen} is used")
    for remark in remarks:
        log.warning("%s; evaluated: %s", remark, evaluation.metrics)


def better_networks(config: Any) -> list[str]:
    """Which networks would evaluate better than those of a configuration, in words; none if its own are the best."""
    used = {"features": (FEATURE_NETWORKS, config.eval.features), "distance": (PERCEPTUAL, config.loss.perceptual_net)}
    metrics = split_names(config.eval.metrics)
    return [text for what, own in used.items() if _need(what, metrics) and (text := choice_in_words(*own))]


def _need(what: str, metrics: Collection[str]) -> bool:
    return any(METRICS[name].needs == what for name in metrics if name in METRICS)
