"""Where compiled code is kept: in a folder that only this user can write, since the code in it is loaded and run.

torch.compile's default is a folder of /tmp with the user's name, which another user could create first. It is set as
if the user had asked for it as soon as anything imports Inductor.
"""

import atexit
import hashlib
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

from electra import files
from electra.errors import UserError, convert_errors

CACHE_VARIABLES = ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")  # what torch and Triton read, whenever they compile
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
UNFINISHED_SECONDS = 600  # after which a library without content is no longer being written


def set_compile_caches() -> None:
    """Set where torch.compile and Triton keep their code; to be called before anything is compiled.

    It is ``$XDG_CACHE_HOME/electra`` or ``~/.cache/electra``, with a folder for each kind of machine; if that is not
    possible, a temporary folder of this process, and a line says so. Folders that the user has set stay. Libraries that
    a machine left empty when it went down are removed: each later start would fail to load them.

    Raises:
        UserError: a folder that the user has set belongs to another user, or others may write into it.
    """
    default = find_default_cache()  # which may set it, too
    if os.environ.get(CACHE_VARIABLES[0]) == default:
        del os.environ[CACHE_VARIABLES[0]]
    for name in CACHE_VARIABLES:
        if folder := os.environ.get(name):
            with convert_errors(f"{name} {folder}", OSError):
                Path(folder).mkdir(0o700, parents=True, exist_ok=True)
                exposure = explain_exposure(Path(folder))
            if exposure:
                raise UserError(f"{name} {folder}: {exposure}; compiled code is run, so it must be this user's alone")
    if unset := [name for name in CACHE_VARIABLES if not os.environ.get(name)]:
        base = make_cache_folder() / hash_machine()
        for name in unset:
            cache_folder = base / name.split("_")[0].lower()
            cache_folder.mkdir(0o700, parents=True, exist_ok=True)
            os.environ[name] = str(cache_folder)
    for name in CACHE_VARIABLES:
        remove_unfinished_libraries(Path(os.environ[name]))


def find_default_cache() -> str:
    """Where torch.compile keeps its code if nobody says otherwise."""
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir

    return os.path.abspath(default_cache_dir())


def remove_unfinished_libraries(folder: Path) -> None:
    """Remove shared libraries without content, except those that a compiler may be writing now."""
    latest = time.time() - UNFINISHED_SECONDS
    for path in folder.rglob("*.so"):
        with suppress(FileNotFoundError):  # another process may have removed it
            status = path.stat()
            if not status.st_size and status.st_mtime < latest:
                files.remove_files(path.parent, [path.name], keep_folder=True)


def make_cache_folder() -> Path:
    """The folder "electra" in the user's cache, or a temporary one of this process if that cannot be used."""
    xdg_cache = os.environ.get("XDG_CACHE_HOME", "")
    try:
        base = Path(xdg_cache) if os.path.isabs(xdg_cache) else Path.home() / ".cache"
        folder = base / "electra"
        folder.mkdir(0o700, parents=True, exist_ok=True)
        problem = explain_exposure(folder)
        if not problem and not os.access(folder, os.W_OK | os.X_OK):
            problem = "cannot be written"
    except (OSError, RuntimeError) as error:  # RuntimeError: the user's home is unknown
        folder, problem = Path(xdg_cache or "~/.cache") / "electra", getattr(error, "strerror", None) or str(error)
    return make_temporary_cache(folder, problem) if problem else folder


def make_temporary_cache(instead_of: Path, why: str) -> Path:
    """A new folder that only this user can write, removed when the process ends. Prints why it is needed."""
    folder = tempfile.mkdtemp(prefix="electra-")  # mode 700
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    print(f"{instead_of}: {why}; what is compiled is kept for this run alone", file=sys.stderr)
    return Path(folder)


def explain_exposure(folder: Path) -> str:
    """How other users could put code into a folder; "" if they cannot."""
    real = folder.resolve()
    status = real.stat()
    if status.st_uid != os.geteuid():
        return "belongs to another user"
    if status.st_mode & OTHERS_WRITE:
        return f"others may write into it (mode {stat.S_IMODE(status.st_mode):o}, not 700)"
    for parent in real.parents:  # whoever can write there can replace the folder by another one
        mode = parent.stat().st_mode
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            return f"others may write into {parent}"
    return ""


@cache
def hash_machine() -> str:
    """A hash of what compiled code depends on besides its source: this processor, torch and the compiler.

    Compilers are told to use every instruction of this processor, and many machines may share a home.
    """
    import torch

    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
    processor = sorted({line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part"))})
    compiler = shutil.which(os.environ.get("CXX", "g++")) or ""
    version = subprocess.run([compiler, "--version"], capture_output=True).stdout if compiler else b""
    description = repr((processor, torch.__version__, torch.version.cuda, compiler, version))
    return hashlib.blake2b(description.encode(), digest_size=8).hexdigest()
