"""From a run folder to a checkpoint that the reference program loads key for key."""

from pathlib import Path
from typing import Any

import ml_collections
import numpy as np

from fastgan_jax.errors import UserError
from fastgan_jax.interop.names import check_expressible
from fastgan_jax.interop.pytorch import ADAM_EPSILON, variables_to_state_dict
from fastgan_jax.interop.reading import NETWORK_KEYS
from fastgan_jax.runs.checkpoint import load_state
from fastgan_jax.utils.files import check_outputs, replacing, user_path


def export_checkpoint(
    run_dir: str | Path, out_file: str | Path, step: int | str = "latest", *, overwrite: bool = False
) -> int:
    """Writes {"g", "d", "g_ema", "opt_g", "opt_d"} with PyTorch.

    Args:
        run_dir: a run folder, or one checkpoint's folder.
        out_file: the .pth file to make.
        step: "latest", "best", or the iteration of a checkpoint that was kept.
        overwrite: replace a file that is there.

    Returns:
        The iteration of the checkpoint.

    Raises:
        UserError: if PyTorch is not installed, there is no such checkpoint, the file exists already, or the reference
            cannot build the model (naming the field).
    """
    out = user_path(out_file)
    check_outputs([out], overwrite)
    torch = _import_torch()
    state, config, found = load_state(user_path(run_dir), step)
    config = ml_collections.ConfigDict(config)
    check_expressible(config.model)
    networks, optimizers = {}, {}
    for net, keys in NETWORK_KEYS.items():
        networks[keys.network], optimizers[keys.optimizer] = _network(torch, net, state[net], config.optim)
    ema = _tensors(torch, variables_to_state_dict({"params": state["ema_params"]}, "generator"))
    content = {**networks, "g_ema": list(ema.values()), **optimizers}
    save(torch, content, out)
    return found


def _import_torch() -> Any:
    try:
        import torch
    except ImportError:
        raise UserError("writing a .pth file needs PyTorch: pip install 'fastgan_jax[torch]'") from None
    return torch


def _network(torch: Any, net: str, state: dict, optim: Any) -> tuple[dict, dict]:
    """The state_dicts of a network and of its optimizer."""
    variables, adam = {name: tree for name, tree in state.items() if name != "optimizer"}, state["optimizer"][0]
    updates = int(adam["count"])
    moments = [_tensors(torch, variables_to_state_dict({"params": adam[name]}, net)) for name in ("mu", "nu")]
    network = _tensors(torch, variables_to_state_dict(variables, net, updates=updates))
    return network, _adam_state(torch, *moments, updates, optim)


def _tensors(torch: Any, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    return {key: torch.from_numpy(np.array(array)) for key, array in arrays.items()}


def _adam_state(torch: Any, first: dict, second: dict, updates: int, optim: Any) -> dict[str, Any]:
    """The state_dict of `torch.optim.Adam` after so many updates; PyTorch itself fills in its other options.

    Args:
        torch: the library.
        first: Adam's first moments by parameter, in the order of `parameters()`.
        second: the second moments, likewise.
        updates: of the network.
        optim: the group `optim` of the configuration.
    """
    parameters = [torch.empty_like(moment) for moment in first.values()]
    betas = (optim.beta1, optim.beta2)
    adam = torch.optim.Adam(parameters, lr=optim.learning_rate, betas=betas, eps=ADAM_EPSILON).state_dict()
    if updates:  # before the first update, PyTorch has no entries
        adam["state"] = {
            index: {"step": torch.tensor(float(updates)), "exp_avg": first[key], "exp_avg_sq": second[key]}
            for index, key in enumerate(first)
        }
    return adam


def save(torch: Any, content: dict[str, Any], out: Path) -> None:
    """Writes a file with PyTorch, whole or not at all."""
    with replacing(out) as temporary:
        try:
            torch.save(content, temporary)
        except RuntimeError as error:  # from PyTorch's own writer, for example on a full disk
            raise OSError(str(error)) from error
