"""An exported folder as a repository of the Hugging Face Hub."""

import os
import re
from pathlib import Path

from electra.errors import UserError, convert_errors
from electra.extras import import_extra
from electra.files import MARKER

REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)


def check_push(name: str) -> None:
    """Refuse a ``name`` that no repository has, or any while huggingface_hub is not installed.

    Raises:
        UserError: in these cases, before anything is written.
    """
    if not REPOSITORY.fullmatch(name):
        raise UserError(f"push {name!r}: expected ORG/NAME, a user or organization and a name of the model's")
    import_extra("huggingface_hub", "serve", "--push")


def push_folder(folder: Path, name: str, private: bool) -> str:
    """Make the repository ``name`` unless it is there, put the folder's files into it as one commit, and return the
    commit's address. The token is that of ``hf auth login`` or in HF_TOKEN; HF_ENDPOINT is another Hub.

    Raises:
        UserError: no token, no network, or whatever the Hub says; the folder stays.
    """
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import HTTPError  # that of its HTTP client, from which its own errors inherit

    where = f"--push {name}: {folder} is written, not pushed (`hf upload {name} {folder}` tries again)"
    if not get_token():
        raise UserError(f"{where}: no token; `hf auth login`, or set HF_TOKEN")
    with convert_errors(where, HTTPError, OSError, ValueError):
        hub = HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None)
        hub.create_repo(name, private=private, exist_ok=True)
        ours = [MARKER, f"*/{MARKER}"]  # which say that a folder of this disk is ours
        message = "Written by electra export"
        commit = hub.upload_folder(repo_id=name, folder_path=folder, ignore_patterns=ours, commit_message=message)
    return str(commit.commit_url)
