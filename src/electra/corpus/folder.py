"""The folder that is being prepared: its plan, who writes into it, what is done, and the manifest that ends it.

Until the manifest is there the folder is not data. ``parts/`` holds the plan and a file for each part that is done, so
that the same command goes on after whatever stopped it, and machines that share the folder share the work.
"""

import fcntl
import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from electra import files
from electra.config import plain_tree
from electra.corpus.documents import Skipped
from electra.corpus.origins import describe_part
from electra.corpus.parts import COUNTS, READ, Job, verify_contents
from electra.corpus.sources import Part
from electra.dataset.shards import DATA_FORMAT, MANIFEST
from electra.errors import UserError
from electra.run_folder import list_differences, read_json, write_json
from electra.tokenization import Tokenizer

TOKENIZER_FOLDER = "tokenizer"  # what such a folder holds, and its name in prepared data
REMEDY = "remove it, and the same command goes on"  # for a damaged note
IN_THE_MAKING = "prepared data in the making"
SHARD_NAME = re.compile(r"(train|held-out)-\d{5,}-\d{3,}\.shard")
OF_PARTS = re.compile(rf"\d{{5,}}\.({READ}|(documents|lines|near)\.(keys|marks))")
WORK_FILE_NAME = re.compile(rf"electra\.json|plan\.json|lock(-\d+-of-\d+)?|\d{{5,}}\.json|{OF_PARTS.pattern}")


@dataclass(frozen=True)
class Share:
    """Part of the parts: every ``of``-th from ``index`` on, counted from 0."""

    index: int = 0
    of: int = 1

    @classmethod
    def parse(cls, text: str) -> "Share":
        """``2/8`` is the second of eight."""
        index, slash, of = text.partition("/")
        if not (slash and index.isdecimal() and of.isdecimal() and 1 <= int(index) <= int(of)):
            raise UserError(f"--part {text}: i/n, with i from 1 to n")
        return cls(int(index) - 1, int(of))


class Preparation:
    """Prepared data in the making."""

    def __init__(self, job: Job, parts: Sequence[Part], tokenizer: Tokenizer, settings: dict[str, Any]):
        self.job, self.all, self.tokenizer = job, parts, tokenizer
        self.out, self.work, self.fresh = Path(job.out), Path(job.out, "parts"), False
        self.was_there = self.out.exists()
        self.plan = plain_tree({"settings": settings, "parts": [describe_part(part) for part in parts]})

    @contextmanager
    def held(self, share: Share) -> Iterator[None]:
        """The folder with the plan in it, while this process may write its share.

        Raises:
            UserError: it holds something else, data that is complete, or parts of another plan; another process
                writes there; the disk does not take it.
        """
        try:
            self.vacant()
            files.claim_folder(self.work, IN_THE_MAKING)
            with (
                hold_lock(self.work / "lock", share.of == 1, self.out),
                hold_lock(self.work / f"lock-{share.index + 1}-of-{share.of}", True, self.out),
            ):
                self.begin(alone=share.of == 1)
                self.compare(share)
                try:
                    yield
                except UserError:
                    if self.fresh and share.of == 1 and not self.done():  # nothing is lost, no one else is at work
                        self.discard()
                    raise
        except OSError as error:
            raise UserError(f"{self.out}: {error.strerror or error}") from error

    def vacant(self) -> None:
        """Raises ``UserError`` unless the folder is empty, absent or in the making."""
        begun = is_being_prepared(self.out) or (files.is_vacant(self.work) and holds_only(self.out, self.work.name))
        if (self.out / MANIFEST).exists() or not (begun or files.is_vacant(self.out)):
            raise UserError(f"{self.out}: is there already; choose another --out, or remove it")

    def begin(self, alone: bool) -> None:
        """Write the plan, or find that the one that is there is this. ``alone``: no one else works by that plan."""
        file = self.work / "plan.json"
        if file.exists():
            found = read_json(file, REMEDY)
            if found == self.plan:
                return
            if self.done() or not alone:
                raise UserError(
                    f"{self.out}: was begun otherwise ({self.difference(found)}; {len(self.done())} parts are done); "
                    "the same settings go on, or remove the folder"
                )
            files.remove_files(self.work, list_files_named(self.work, OF_PARTS))
            files.remove_files(self.out, list_files_named(self.out, SHARD_NAME))
        self.fresh = not file.exists()
        with files.write_whole_folder(self.out / TOKENIZER_FOLDER, TOKENIZER_FOLDER) as folder:
            self.tokenizer.save(folder)
        write_json(file, self.plan)

    def compare(self, share: Share) -> None:
        """Raises ``UserError`` for a part of a share that was made of files which hold something else now."""
        mine = self.all[share.index :: share.of]
        done = self.done()
        for part in mine:
            if part.number in done and not self.job.file(part, READ).exists():
                raise UserError(f"{self.out}: does not say what its parts were made from; remove it, and begin anew")
        with ThreadPoolExecutor() as pool:  # reading and hashing leave Python's lock to others
            for _ in pool.map(lambda part: verify_contents(self.job, part), mine):
                pass

    def difference(self, found: dict[str, Any]) -> str:
        """What is not as it was."""
        for key, before, now in list_differences(found["settings"], self.plan["settings"]):
            return f"{key} was {before!r}, is {now!r}"
        return "other files, or of another size"

    def done(self) -> set[int]:
        """The numbers of the parts that are done."""
        return {int(file.stem) for file in self.work.glob("*.json") if file.stem.isdecimal()}

    def mine(self, share: Share) -> list[Part]:
        """The parts of a share that are not done."""
        done = self.done()
        return [part for part in self.all[share.index :: share.of] if part.number not in done]

    def discard(self) -> None:
        """Remove what was written here, and the folder if it was not there before and holds nothing else."""
        files.remove_folder(self.out / TOKENIZER_FOLDER, TOKENIZER_FOLDER)
        self.forget()
        files.remove_files(self.out, list_files_named(self.out, SHARD_NAME), keep_folder=True)
        if not self.was_there:
            files.remove_if_empty(self.out)

    def forget(self) -> None:
        """Remove the plan, and the notes of what is done."""
        files.remove_files(self.work, list_files_named(self.work, WORK_FILE_NAME))

    def merge(self, weights: Callable[[dict[str, int]], dict[str, float]]) -> dict[str, Any]:
        """Write the manifest, which makes the folder data; returns it.

        ``weights``: source → its tokens, to source → its share of what training reads.

        Raises:
            UserError: parts are missing, or no document is on one side of the split.
        """
        missing = sorted({part.number for part in self.all} - self.done())
        if missing:
            raise UserError(
                f"{self.out}: {len(missing)} of {len(self.all)} parts are missing: "
                f"{', '.join(map(str, missing[:10]))}{' …' * (len(missing) > 10)}"
            )
        said = [read_json(self.job.file(part, "json"), REMEDY) for part in self.all]
        skipped = Skipped()
        for each in said:
            skipped.add_json(each["skipped"])
        manifest = build_manifest(self.tokenizer, said, {}, skipped)
        tokens = {name: splits["train"]["tokens"] for name, splits in manifest["sources"].items()}
        manifest["weights"] = weights(tokens)
        try:
            refuse_empty_split(self.out, manifest, skipped)
        except UserError:
            self.discard()
            raise
        write_json(self.out / MANIFEST, manifest, indent=1)
        self.forget()
        return manifest


def is_being_prepared(out: Path) -> bool:
    """Whether prepared data is in the making there: by our own file, and not by the name of a folder."""
    return files.read_kind(out / "parts") == IN_THE_MAKING


def holds_only(folder: Path, name: str) -> bool:
    """Whether a folder holds nothing but what is called so."""
    return folder.is_dir() and os.listdir(folder) == [name]


def list_files_named(folder: Path, names: re.Pattern[str]) -> list[str]:
    """The files in a folder of ours that have such names, or had them while they were written."""
    found = [each.name for each in folder.iterdir() if each.is_file()] if folder.is_dir() else []
    return [name for name in found if names.fullmatch(files.final_name(name))]


@contextmanager
def hold_lock(path: Path, alone: bool, out: Path) -> Iterator[None]:
    """Hold a lock that goes when the process does. Raises ``UserError`` if another process holds it."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"{out}: another process is preparing data there") from error
        yield


def build_manifest(
    tokenizer: Tokenizer, said: Sequence[dict[str, Any]], weights: dict[str, float], skipped: Skipped
) -> dict[str, Any]:
    """The manifest of data that is made of such parts."""
    names = list(dict.fromkeys(each["source"] for each in said))
    return {
        "format": DATA_FORMAT,
        "tokenizer": tokenizer.fingerprint,
        "vocab_size": tokenizer.size,
        "special": tokenizer.ids,
        "sources": {
            name: {
                split: sum_counts([each["splits"][split] for each in said if each["source"] == name])
                for split in ("train", "held-out")
            }
            for name in names
        },
        "weights": weights,
        "splits": {
            split: sum_counts([each["splits"][split] for each in said])
            | {
                "shards": [
                    {"source": each["source"]} | shard for each in said for shard in each["splits"][split]["shards"]
                ]
            }
            for split in ("train", "held-out")
        },
        "skipped": skipped.to_json(),
    }


def sum_counts(counts: Sequence[dict[str, Any]]) -> dict[str, int]:
    """Sums of what was counted."""
    return {name: sum(each[name] for each in counts) for name in COUNTS}


def refuse_empty_split(out: Path, manifest: dict[str, Any], skipped: Skipped) -> None:
    """Raises ``UserError`` if no document is on one side of the split."""
    count = sum(split["documents"] for split in manifest["splits"].values())
    for name, split in manifest["splits"].items():
        if not split["documents"]:
            why = f"; {', '.join(skipped.lines())}" if skipped else ""
            raise UserError(f"{out}: no document for the {name} split, of {count} in all{why}")
