"""The folder of data in preparation: its plan, its locks, the parts that are done, and the manifest at the end.

The folder is not data until it has a manifest. Until then ``parts/`` holds the plan and a file for each part that is
done: so the same command goes on after any stop, and machines that share the folder can share the work.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from electra import files
from electra.config import plain_tree
from electra.corpus.documents import Skipped
from electra.corpus.manifest import build_manifest, refuse_empty_split
from electra.corpus.origins import describe_part, fingerprint_part
from electra.corpus.parts import READ, Job, PartEntry, verify_contents
from electra.corpus.sources import Part
from electra.dataset.shards import MANIFEST, Manifest
from electra.errors import UserError
from electra.fingerprints import hash_values
from electra.run_folder import hold_lock, list_differences, read_json, write_json
from electra.tokenization.tokenizer import Tokenizer

TOKENIZER_FOLDER = "tokenizer"  # its name in prepared data, and what it says that it holds
REMEDY = "remove it, and the same command goes on"  # for a damaged file of ``parts/``
MADE_FROM = "made_from"  # in the manifest: hashes of the plan and of what was read
IN_THE_MAKING = "prepared data in the making"
SHARD_NAME = re.compile(r"(train|held-out)-\d{5,}-\d{3,}\.shard")
OF_PARTS = re.compile(rf"\d{{5,}}\.({READ}|(documents|lines|near)\.(keys|marks))")
WORK_FILE_NAME = re.compile(rf"electra\.json|plan\.json|lock(-\d+-of-\d+)?|\d{{5,}}\.json|{OF_PARTS.pattern}")

# Source → its tokens, to source → its share of what training reads.
Weigh = Callable[[dict[str, int]], dict[str, float]]


@dataclass(frozen=True)
class Share:
    """The parts that one process prepares: every ``of``-th from ``index`` on, counted from 0."""

    index: int = 0
    of: int = 1

    @classmethod
    def parse(cls, text: str) -> "Share":
        """``2/8`` is the second of eight. Raises ``UserError`` for text that is no share."""
        index, slash, of = text.partition("/")
        if not (slash and index.isdecimal() and of.isdecimal() and 1 <= int(index) <= int(of)):
            raise UserError(f"--part {text}: i/n, with i from 1 to n")
        return cls(int(index) - 1, int(of))


class Preparation:
    """A folder in preparation. ``settings``: what decides the data besides the files and the tokenizer.

    ``alone``: this process has all parts to itself, and no others their shares.
    """

    def __init__(self, job: Job, parts: Sequence[Part], tokenizer: Tokenizer, settings: Mapping[str, object]):
        self.job, self.parts, self.tokenizer = job, parts, tokenizer
        self.out, self.work, self.is_new = Path(job.out), Path(job.out, "parts"), False
        self.existed, self.alone = self.out.exists(), True
        self.plan = plain_tree({"settings": settings, "parts": [describe_part(part) for part in parts]})

    @contextmanager
    def hold(self, share: Share) -> Iterator[None]:
        """Lock the folder and write or compare its plan; inside, this process may write its share of the parts.

        Raises:
            UserError: the folder holds something else, data that is complete, or parts of another plan; another process
                writes there; the disk does not take it.
        """
        taken = f"{self.out}: another process is preparing data there"
        try:
            self.refuse_taken()
            files.claim_folder(self.work, IN_THE_MAKING)
            with (
                hold_lock(self.work / "lock", share.of == 1, taken),
                hold_lock(self.work / f"lock-{share.index + 1}-of-{share.of}", True, taken),
            ):
                self.alone = share.of == 1
                if (self.out / MANIFEST).exists():  # another process has come to its end since it was looked for
                    self.remove_work_files()
                    raise self.taken_error()
                self.begin_plan()
                self.verify_share(share)
                try:
                    yield
                except UserError:
                    if self.is_new and share.of == 1 and not self.done():  # nothing is lost, nobody else is at work
                        self.discard()
                    raise
        except OSError as error:
            raise UserError(f"{self.out}: {error.strerror or error}") from error

    def find_complete(self, weigh: Weigh) -> Manifest | None:
        """The manifest of the folder, if it holds what this plan and these weights make of these contents.

        What a process that was killed behind its manifest left of its work is removed then.

        Raises:
            UserError: the manifest is damaged, or a file that is to be read is not there any more.
        """
        if not (self.out / MANIFEST).is_file():
            return None
        manifest = read_json(self.out / MANIFEST, "remove the folder, and begin anew")
        made_from = manifest.get(MADE_FROM)
        if not isinstance(made_from, dict) or made_from.get("plan") != hash_values([self.plan]):
            return None
        with ThreadPoolExecutor() as pool:
            contents = list(pool.map(fingerprint_part, self.parts))
        if made_from != self.describe_origin(contents) or manifest["weights"] != weigh_sources(manifest, weigh):
            return None
        self.remove_work_files()
        return manifest

    def describe_origin(self, contents: Sequence[Sequence[str]]) -> dict[str, str]:
        """Hashes of what the data is made from: the plan, and the fingerprints of what each part reads."""
        return {"plan": hash_values([self.plan]), "contents": hash_values(contents)}

    def refuse_taken(self) -> None:
        """Raises ``UserError`` unless the folder is empty, missing or in preparation."""
        begun = is_being_prepared(self.out) or (files.is_vacant(self.work) and holds_only(self.out, self.work.name))
        if (self.out / MANIFEST).exists() or not (begun or files.is_vacant(self.out)):
            raise self.taken_error()

    def taken_error(self) -> UserError:
        """The error for a folder that holds something else, or data that is complete."""
        return UserError(f"{self.out}: is there already; choose another --out, or remove it")

    def begin_plan(self) -> None:
        """Write the tokenizer and the plan, unless the same plan is there. Where nobody else works by the one that is
        there, another one replaces it while no part is done.

        Raises:
            UserError: another plan is there, and cannot be replaced.
        """
        file = self.work / "plan.json"
        if file.exists():
            before = read_json(file, REMEDY)
            if before == self.plan:
                return
            if self.done() or not self.alone:
                difference, count = self.describe_difference(before), len(self.done())
                raise UserError(
                    f"{self.out}: was begun otherwise ({difference}; {count} parts are done); "
                    "the same settings go on, or remove the folder"
                )
            files.remove_files(self.work, list_files_named(self.work, OF_PARTS))
            files.remove_files(self.out, list_files_named(self.out, SHARD_NAME))
        self.is_new = not file.exists()
        with files.write_whole_folder(self.out / TOKENIZER_FOLDER, TOKENIZER_FOLDER) as folder:
            self.tokenizer.save(folder)
        write_json(file, self.plan)

    def verify_share(self, share: Share) -> None:
        """Raises ``UserError`` if the files of a part of the share changed since the part was begun."""
        parts = self.parts[share.index :: share.of]
        done = self.done()
        for part in parts:
            if part.number in done and not self.job.file(part, READ).exists():
                raise UserError(f"{self.out}: does not say what its parts were made from; remove it, and begin anew")
        with ThreadPoolExecutor() as pool:  # reading and hashing leave Python's lock to others
            for _ in pool.map(lambda part: verify_contents(self.job, part), parts):
                pass

    def describe_difference(self, plan: Mapping[str, Any]) -> str:
        """The first difference between an earlier plan and this one."""
        for key, before, now in list_differences(plan["settings"], self.plan["settings"]):
            return f"{key} was {before!r}, is {now!r}"
        return "other files, or of another size"

    def done(self) -> set[int]:
        """The numbers of the parts that are done."""
        return {int(file.stem) for file in self.work.glob("*.json") if file.stem.isdecimal()}

    def remaining(self, share: Share) -> list[Part]:
        """The parts of a share that are not done."""
        done = self.done()
        return [part for part in self.parts[share.index :: share.of] if part.number not in done]

    def discard(self) -> None:
        """Remove what was written, and the folder if it did not exist before and holds nothing else."""
        files.remove_folder(self.out / TOKENIZER_FOLDER, TOKENIZER_FOLDER)
        self.remove_work_files()
        files.remove_files(self.out, list_files_named(self.out, SHARD_NAME), keep_folder=True)
        if not self.existed:
            files.remove_if_empty(self.out)

    def remove_work_files(self) -> None:
        """Remove the plan and the files of the parts, which are not needed any more, and what a kill left of an earlier
        manifest."""
        files.remove_files(self.work, list_files_named(self.work, WORK_FILE_NAME))
        if self.alone:  # or else another process may be writing it now
            files.remove_files(self.out, [path.name for path in files.list_leftovers(self.out, MANIFEST)], True)

    def write_manifest(self, weigh: Weigh) -> Manifest:
        """Write the manifest, which makes the folder data; returns it.

        ``weigh``: from source → its tokens to source → its share of what training reads.

        Raises:
            UserError: parts are missing, or no document is on one side of the split.
        """
        missing = sorted({part.number for part in self.parts} - self.done())
        if missing:
            raise UserError(
                f"{self.out}: {len(missing)} of {len(self.parts)} parts are missing: "
                f"{', '.join(map(str, missing[:10]))}{' …' * (len(missing) > 10)}"
            )
        entries: list[PartEntry] = [read_json(self.job.file(part, "json"), REMEDY) for part in self.parts]
        skipped = Skipped()
        for entry in entries:
            skipped.add_json(entry["skipped"])
        manifest = build_manifest(self.tokenizer, entries, {}, skipped)
        manifest["weights"] = weigh_sources(manifest, weigh)
        contents = [read_json(self.job.file(part, READ), REMEDY, list) for part in self.parts]
        manifest[MADE_FROM] = self.describe_origin(contents)
        try:
            refuse_empty_split(self.out, manifest, skipped)
        except UserError:
            self.discard()
            raise
        write_json(self.out / MANIFEST, manifest, indent=1)
        self.remove_work_files()
        return manifest


def weigh_sources(manifest: Manifest, weigh: Weigh) -> dict[str, float]:
    """Each source's share of what training reads, by its tokens in the train split."""
    return weigh({name: splits["train"]["tokens"] for name, splits in manifest["sources"].items()})


def is_being_prepared(out: Path) -> bool:
    """Whether data is being prepared in a folder: its ``parts/`` says so in our own file; its name is not enough."""
    return files.read_kind(out / "parts") == IN_THE_MAKING


def holds_only(folder: Path, name: str) -> bool:
    """Whether a folder holds nothing but one thing of that name."""
    return folder.is_dir() and os.listdir(folder) == [name]


def list_files_named(folder: Path, names: re.Pattern[str]) -> list[str]:
    """The names of the files in a folder that match ``names``; a half-written file counts by its final name."""
    present = [path.name for path in folder.iterdir() if path.is_file()] if folder.is_dir() else []
    return [name for name in present if names.fullmatch(files.final_name(name))]
