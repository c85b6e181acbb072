"""Uploading a model directory to the Hugging Face hub."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from rader_plugins.errors import InputError, RaderError, import_extra

__all__ = ["check_publishing", "publish"]

_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


def check_publishing(repository: str | None) -> None:
    """Find out before the training whether a model could be uploaded.

    Raises:
        InputError: It is no name of a repository, the hub is switched off, or no token is stored.
    """
    if repository is None:
        return
    hub: Any = import_extra("huggingface_hub", "training")
    if not _REPOSITORY.fullmatch(repository):
        raise InputError(f"A repository is named like 'you/name', not {repository!r}.")
    if hub.constants.HF_HUB_OFFLINE:
        raise InputError("HF_HUB_OFFLINE is set, and push_to_hub uploads: unset it, or leave push_to_hub out.")
    if hub.get_token() is None:
        raise InputError("push_to_hub needs a token of the hub: run `hf auth login`, or set HF_TOKEN.")


def publish(folder: Path, repository: str) -> None:
    """Upload a model directory; a repository that is not there is made, private.

    Raises:
        RaderError: The hub refused; the directory is intact.
    """
    hub: Any = import_extra("huggingface_hub", "training")
    try:
        api = hub.HfApi()
        api.create_repo(repository, private=True, exist_ok=True)
        api.upload_folder(repo_id=repository, folder_path=str(folder), commit_message="Trained with rader-plugins")
    except Exception as error:  # whatever the client raises
        raise RaderError(
            f"The model is in {folder} and could not be uploaded to {repository!r}: {error}. Upload it with `hf upload "
            f"{repository} {folder}`."
        ) from error
