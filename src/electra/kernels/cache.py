"""Where compiled code is kept: in a folder of this user alone, since what lies there is loaded and run.

torch.compile's own choice is a folder of /tmp by the user's name, which whoever comes first may make.
"""

import atexit
import hashlib
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from electra.errors import UserError, convert_errors

CACHE_VARIABLES = ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")  # what torch and Triton read, whenever they compile
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def set_compile_caches() -> None:
    """Say to torch.compile and Triton where to keep what they compile; before the first of it is compiled.

    In ``$XDG_CACHE_HOME/electra`` or ``~/.cache/electra``, one folder for each kind of machine; where that is not
    possible, in a temporary folder of this process, which the user is told. A folder that the user has chosen is kept.

    Raises:
        UserError: the folder that the user chose is another user's, or others may write into it.
    """
    for name in CACHE_VARIABLES:
        if chosen := os.environ.get(name):
            with convert_errors(f"{name} {chosen}", OSError):
                Path(chosen).mkdir(0o700, parents=True, exist_ok=True)
                wrong = explain_exposure(Path(chosen))
            if wrong:
                raise UserError(f"{name} {chosen}: {wrong}; compiled code is run, so it must be this user's alone")
    if missing := [name for name in CACHE_VARIABLES if not os.environ.get(name)]:
        folder = make_cache_folder() / hash_machine()
        for name in missing:
            place = folder / name.split("_")[0].lower()
            place.mkdir(0o700, parents=True, exist_ok=True)
            os.environ[name] = str(place)


def make_cache_folder() -> Path:
    """Our folder in the user's cache, or a temporary one of this process."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    try:
        base = Path(given) if os.path.isabs(given) else Path.home() / ".cache"
        folder = base / "electra"
        folder.mkdir(0o700, parents=True, exist_ok=True)
        wrong = explain_exposure(folder)
        if not wrong and not os.access(folder, os.W_OK | os.X_OK):
            wrong = "cannot be written"
    except (OSError, RuntimeError) as error:  # a RuntimeError: nobody knows the user's home
        folder, wrong = Path(given or "~/.cache") / "electra", getattr(error, "strerror", None) or str(error)
    return make_temporary_cache(folder, wrong) if wrong else folder


def make_temporary_cache(instead_of: Path, why: str) -> Path:
    """A new folder of this user's that goes when the process ends."""
    folder = tempfile.mkdtemp(prefix="electra-")  # mode 700
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    print(f"{instead_of}: {why}; what is compiled is kept for this run alone", file=sys.stderr)
    return Path(folder)


def explain_exposure(folder: Path) -> str:
    """Why others could put code into a folder, or nothing."""
    real = folder.resolve()
    here = real.stat()
    if here.st_uid != os.geteuid():
        return "belongs to another user"
    if here.st_mode & OTHERS_WRITE:
        return f"others may write into it (mode {stat.S_IMODE(here.st_mode):o}, not 700)"
    for above in real.parents:  # who may rename a folder may put another one there
        mode = above.stat().st_mode
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            return f"others may write into {above}"
    return ""


@cache
def hash_machine() -> str:
    """What code is compiled for besides what it says: this processor, torch and the compiler, as a hash.

    Compilers are told to use all that this processor has, and a home may be that of many machines.
    """
    import torch

    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
    processor = sorted({line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part"))})
    compiler = shutil.which(os.environ.get("CXX", "g++")) or ""
    version = subprocess.run([compiler, "--version"], capture_output=True).stdout if compiler else b""
    said = repr((processor, torch.__version__, torch.version.cuda, compiler, version))
    return hashlib.blake2b(said.encode(), digest_size=8).hexdigest()
