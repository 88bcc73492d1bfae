"""From a run folder to a checkpoint that the reference program loads key for key."""

from pathlib import Path
from typing import Any

import ml_collections
import numpy as np

from fastgan_jax.errors import UserError
from fastgan_jax.interop.names import check_expressible
from fastgan_jax.interop.pytorch import variables_to_state_dict
from fastgan_jax.interop.reading import NETWORK_KEYS
from fastgan_jax.runs.checkpoint import load_state
from fastgan_jax.utils.files import check_outputs, replacing, user_path

ADAM_EPSILON = 1e-8  # of the reference, and of PyTorch by default


def export_checkpoint(
    run_dir: str | Path, out_file: str | Path, step: int | str = "latest", *, overwrite: bool = False
) -> int:
    """Writes {"g", "d", "g_ema", "opt_g", "opt_d"} with PyTorch, and returns the iteration of the checkpoint.

    `step` is "latest", "best", or the iteration of a checkpoint that was kept in `run_dir`.

    Raises:
        UserError: if PyTorch is not installed, there is no such checkpoint, the file exists already, or the reference
            cannot build the model (naming the field).
    """
    out = user_path(out_file)
    check_outputs([out], overwrite)
    try:
        import torch
    except ImportError:
        raise UserError("writing a .pth file needs PyTorch: pip install 'fastgan_jax[torch]'") from None
    state, config, found = load_state(user_path(run_dir), step)
    config = ml_collections.ConfigDict(config)
    check_expressible(config.model)

    def tensors(net: str, variables: dict, **options: int) -> dict[str, torch.Tensor]:
        arrays = variables_to_state_dict(variables, net, **options)
        return {key: torch.from_numpy(np.array(array)) for key, array in arrays.items()}

    content, optimizers = {}, {}
    for net, key in NETWORK_KEYS.items():
        adam = state[net].pop("optimizer")[0]
        updates = int(adam["count"])
        content[key] = tensors(net, state[net], updates=updates)
        moments = [tensors(net, {"params": adam[name]}) for name in ("mu", "nu")]
        optimizers[f"opt_{key}"] = _adam_state(torch, *moments, updates, config.optim)
    content["g_ema"] = list(tensors("generator", {"params": state["ema_params"]}).values())
    save(torch, content | optimizers, out)
    return found


def _adam_state(torch: Any, first: dict, second: dict, updates: int, optim: Any) -> dict[str, Any]:
    """The state_dict of `torch.optim.Adam` with these moments by parameter; PyTorch itself fills in other options."""
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
