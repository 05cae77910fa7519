"""A Hub on this machine: an HTTP server that answers the calls by which huggingface_hub fills a repository.

Weights go by Git LFS, as there: the client asks where to put them, puts them there, and commits their hashes; all else
goes within the commit. What arrives is kept as bytes.
"""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

TOKEN, NAME = "hf_right", "org/some.model-1"
CALLS = ("create", "preupload", "validate-yaml", "batch", "commit")  # a word in the path of each


class Hub(ThreadingHTTPServer):
    """``files``: path → bytes of what was committed; ``refuse``: a call's last word → the status that it gets."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str] = []
        self.created: dict[str, Any] = {}
        self.objects: dict[str, bytes] = {}
        self.files: dict[str, bytes] = {}
        self.commits = 0
        self.refuse: dict[str, int] = {}

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def repository(self) -> str:
        return f"{self.address}/{NAME}"


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_POST(self) -> None:
        body, path = self.read_body(), self.path.partition("?")[0]
        call = next(name for name in CALLS if name in path)
        self.server.asked.append(call)
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self.answer({"error": "Invalid credentials in Authorization header"}, 401)
        elif status := self.server.refuse.get(call):
            self.answer({"error": f"the Hub says {status}", "url": self.server.repository}, status)
        else:
            self.answer(getattr(self, call.replace("-", "_"))(body))

    def do_PUT(self) -> None:
        data, oid = self.read_body(), self.path.rpartition("/")[2]
        assert hashlib.sha256(data).hexdigest() == oid
        self.server.objects[oid] = data
        self.answer({})

    def read_body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def answer(self, value: object, status: int = 200) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def create(self, body: bytes) -> object:
        self.server.created = json.loads(body)
        return {"url": self.server.repository}

    def validate_yaml(self, body: bytes) -> object:
        assert re.match(r"---\n.*?\n---\n", json.loads(body)["content"], re.DOTALL)
        return {"errors": [], "warnings": []}

    def preupload(self, body: bytes) -> object:
        names = [file["path"] for file in json.loads(body)["files"]]
        modes = {name: "lfs" if name.endswith(".safetensors") else "regular" for name in names}
        return {"files": [{"path": name, "uploadMode": mode, "shouldIgnore": False} for name, mode in modes.items()]}

    def batch(self, body: bytes) -> object:
        asked = json.loads(body)
        assert asked["operation"] == "upload" and "basic" in asked["transfers"]
        found = [
            {**each, "actions": {"upload": {"href": f"{self.server.address}/objects/{each['oid']}"}}}
            for each in asked["objects"]
        ]
        return {"transfer": "basic", "objects": found}

    def commit(self, body: bytes) -> object:
        for line in map(json.loads, body.decode().splitlines()):
            value = line["value"]
            if line["key"] == "file":
                assert value["encoding"] == "base64"
                self.server.files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                data = self.server.objects[value["oid"]]
                assert len(data) == value["size"]
                self.server.files[value["path"]] = data
        self.server.commits += 1
        oid = hashlib.sha1(body).hexdigest()
        return {"commitUrl": f"{self.server.repository}/commit/{oid}", "commitOid": oid, "success": True}

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing: pytest shows what was asked where a test fails."""


@contextmanager
def serve_hub() -> Iterator[Hub]:
    """A hub that listens, until the body ends."""
    with Hub() as hub:
        thread = Thread(target=hub.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield hub
        finally:
            hub.shutdown()
            thread.join()
