"""Which network answers a question that names none: the best that is here, so that nothing is downloaded for it."""

from collections.abc import Mapping
from pathlib import Path

from fastgan_jax.pretrained import store
from fastgan_jax.pretrained.registry import FILES, PIXELS, Network
from fastgan_jax.utils.files import user_path


def is_here(network: Network) -> bool:
    """Whether all files of a network are on this machine."""
    return all(map(store.local_path, network.files))


def best_here(kind: Mapping[str, Network], own: str, weights: str | Path | None = None) -> str | None:
    """The name of a network that needs no download; None if there is none.

    Args:
        kind: networks of the registry, the better ones first.
        own: the one that a run names, perhaps none of `kind`; it is taken if it is here: its numbers stay comparable.
        weights: a local file with the weights of `own`, which may be gone; None: there is none.
    """
    if own in kind and (is_here(kind[own]) or _is_here_by(kind[own], weights)):
        return own
    return next((name for name, network in kind.items() if is_here(network)), None)


def _is_here_by(network: Network, weights: str | Path | None) -> bool:
    """Whether all files of a network are on this machine if `weights` takes the place of the first."""
    return present(weights) is not None and all(map(store.local_path, network.files[1:]))


def present(weights: str | Path | None) -> str | Path | None:
    """A file of weights that a run names, if it is there; else None, for what is in the cache."""
    return weights if weights is not None and user_path(weights).is_file() else None


def choice_in_words(kind: Mapping[str, Network], used: str | None) -> str:
    """Which network is used, and how to get better ones of `kind`, with their sizes; "" if none is better.

    For example "squeeze is used; better, but not here: vgg (553 MB: fastgan weights --fetch vgg)".
    """
    names = list(kind)
    better = (_how_to_get(name, kind[name]) for name in names[: names.index(used) if used else None])
    listed = "; ".join(filter(None, better))
    what = "pixels are compared, since no network is here" if used == PIXELS else f"{used or 'no network'} is used"
    return f"{what}; better, but not here: {listed}" if listed else ""


def _how_to_get(name: str, network: Network) -> str:
    """Size and command, such as "vgg (553 MB: fastgan weights --fetch vgg)"; "" if it is here or has to be imported."""
    first, *_ = files = [FILES[file] for file in network.files]
    command = f"fastgan weights --fetch {name}" if all(file.address for file in files) else first.package_cure
    return f"{name} ({first.size}: {command})" if command and not is_here(network) else ""
