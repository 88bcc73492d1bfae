"""What an evaluation uses where nothing is named: the networks that are here."""

from collections.abc import Collection
from typing import Any

from fastgan_jax.metrics.registry import METRICS
from fastgan_jax.pretrained.choice import best_here, choice_in_words
from fastgan_jax.pretrained.registry import FEATURE_NETWORKS, PERCEPTUAL
from fastgan_jax.runs.config import split_names

WITHOUT_INCEPTION = "frechet,kid"  # in place of fid


def choose_networks(config: Any, given: Collection[str] = ()) -> list[str]:
    """Lets a configuration evaluate by the best networks that are on this machine, where its own are not.

    Fields that are `given` by name stay. FID is computed by Inception alone: without, frechet and kid take its place;
    where no feature network is here, the metrics that need none.

    Returns:
        What was chosen, and how to get better, in words.
    """
    evaluation, loss, remarks = config.eval, config.loss, []
    metrics = split_names(evaluation.metrics)
    asked_for_fid = "fid" in metrics and "eval.metrics" in given
    if _needed(metrics, "features") and "eval.features" not in given and not asked_for_fid:
        chosen = best_here(FEATURE_NETWORKS, evaluation.features, evaluation.feature_weights)
        if chosen != evaluation.features:
            remarks.append(choice_in_words(FEATURE_NETWORKS, chosen))
        if chosen is None and "eval.metrics" not in given:
            evaluation.metrics = ",".join(name for name, metric in METRICS.items() if not metric.needs_network)
        elif chosen not in (None, evaluation.features):
            evaluation.metrics = evaluation.metrics.replace("fid", WITHOUT_INCEPTION)
            evaluation.update(features=chosen, feature_weights=None)
    if _needed(metrics, "distance") and "loss.perceptual_net" not in given:
        chosen = best_here(PERCEPTUAL, loss.perceptual_net, loss.perceptual_weights)
        if chosen != loss.perceptual_net:
            remarks.append(choice_in_words(PERCEPTUAL, chosen))
            loss.update(perceptual_net=chosen, perceptual_weights=None)
    return [f"{remark} (evaluated: {evaluation.metrics})" for remark in remarks]


def _needed(metrics: Collection[str], what: str) -> bool:
    return any(METRICS[name].needs == what for name in metrics)
