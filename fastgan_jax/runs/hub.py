"""Runs on the Hugging Face hub: hf://USER/NAME, and hf://USER/NAME@REVISION."""

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastgan_jax.errors import UserError, gist
from fastgan_jax.utils.console import announced

HUB = "hf://"
REPLACED = re.compile(r"checkpoints/\d+/.*|evaluation\.json|metrics\.jsonl")  # by an upload, with or without such files

log = logging.getLogger(__name__)


def is_on_hub(path: str | Path) -> bool:
    """Whether a path is an address such as hf://USER/NAME."""
    return str(path).startswith(HUB)


def download_run(address: str) -> Path:
    """The folder of a run on the hub, in the cache of huggingface_hub; only what is not there yet is downloaded.

    Without a network, what was downloaded before is taken, and the log says so.

    Raises:
        UserError: if there is no such run, or it can neither be reached nor was downloaded before.
    """
    hub = _import_hub()
    name, _, revision = address.removeprefix(HUB).partition("@")
    check_name(name, address)
    try:
        files = hub.HfApi().model_info(name, revision=revision or None, files_metadata=True).siblings
        size = sum(file.size or 0 for file in files) / 1e6
        # A warning is shown even where nobody has set up logging: nothing is fetched silently.
        log.warning("%s: %d files, %.1f MB, from %s", address, len(files), size, _endpoint(hub))
    except Exception as error:  # noqa: BLE001 (the library and its HTTP client have errors of their own)
        reason = gist(error, 2)
        try:
            folder = hub.snapshot_download(name, revision=revision or None, local_files_only=True)
        except Exception:  # noqa: BLE001 (as above)
            cure = "check the name and the network; a private one needs hf auth login, or HF_TOKEN"
            raise UserError(f"{address} is not available from {_endpoint(hub)} ({reason}): {cure}") from None
        log.warning("%s: the copy that was downloaded before, since the hub does not answer (%s)", address, reason)
        return Path(folder)
    try:
        with announced(f"downloading {address}"):
            return Path(hub.snapshot_download(name, revision=revision or None))
    except Exception as error:  # noqa: BLE001 (as above)
        cure = "try again, or set HF_HOME to a folder that can be written"
        raise UserError(f"{address} could not be downloaded ({gist(error, 2)}): {cure}") from None


def upload(name: str, files: Mapping[str, Path | bytes], message: str, *, private: bool) -> str:
    """Makes the repository USER/NAME on the hub if there is none, and puts files {path there: file or content} into it.

    They appear together, by one commit, in which what earlier uploads left of REPLACED goes; other files stay.
    `private` is for a new repository. Returns its address in a browser.

    Raises:
        UserError: if nobody is logged in, or the hub refuses.
    """
    hub = _import_hub()
    operations = [hub.CommitOperationAdd(path, content) for path, content in files.items()]
    size = sum(operation.upload_info.size for operation in operations) / 1e6
    log.warning("%d files, %.1f MB, to %s/%s", len(operations), size, _endpoint(hub), name)
    try:
        with announced(f"uploading to {name}"):
            api = hub.HfApi()
            made = api.create_repo(name, private=private, exist_ok=True)
            if private and not api.repo_info(name).private:
                raise UserError("it is there already and public, and --private is for a new repository")
            old = [path for path in api.list_repo_files(name) if REPLACED.fullmatch(path) and path not in files]
            operations += [hub.CommitOperationDelete(path) for path in old]
            api.create_commit(name, operations, commit_message=message)
    except Exception as error:  # noqa: BLE001 (as above)
        problem = f"{name} could not be uploaded to {_endpoint(hub)} ({gist(error, 2)})"
        raise UserError(f"{problem}: what was there before is unchanged") from None
    return made.url


def check_upload(name: str) -> None:
    """Checks that something can be uploaded as `name`, before the work; UserError if not."""
    hub = _import_hub()
    check_name(name, name)
    if hub.get_token() is None:
        raise UserError(f"{name}: not logged in to {_endpoint(hub)}: run hf auth login, or set HF_TOKEN")


def check_name(name: str, given: Any) -> None:
    """Raises a UserError if `name` is not USER/NAME; the message shows what was `given`."""
    if not re.fullmatch(r"[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+", name):
        raise UserError(f"{given}: must be USER/NAME of letters, digits, -, _ and .")


def _import_hub() -> Any:
    try:
        import huggingface_hub
    except ImportError:
        raise UserError(
            "runs on the Hugging Face hub need the package huggingface_hub: pip install 'fastgan_jax[hf]'"
        ) from None
    return huggingface_hub


def _endpoint(hub: Any) -> str:
    return hub.HfApi().endpoint
