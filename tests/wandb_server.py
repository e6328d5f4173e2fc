"""A loopback server that speaks enough of W&B's protocol, records what it is sent, and misbehaves.

It answers the GraphQL operations that wandb-core needs to create, resume and finish a run, takes
the file stream (history, summary, exit code) and the uploaded files. Nothing is imitated inside the
client: the real wandb talks to it over a real socket.
"""

from __future__ import annotations

import gzip
import json
import re
import socket
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, Self

__all__ = ["KEY", "Behaviour", "RecordedRun", "WandbServer", "closed_port"]

KEY = "0123456789abcdef0123456789abcdef01234567"
"""A made-up API key of the right shape."""

Behaviour = Literal["answer", "hang", "error", "unauthorized"]

ENTITY = "tester"


@dataclass
class RecordedRun:
    """What the server was told about one run; ``history`` holds one mapping a line, by offset."""

    id: str
    project: str
    name: str | None = None
    group: str | None = None
    job_type: str | None = None
    notes: str | None = None
    tags: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    history: dict[int, dict[str, Any]] = field(default_factory=dict)
    events: dict[int, dict[str, Any]] = field(default_factory=dict)
    console: dict[int, str] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    exit_code: int | None = None
    files: set[str] = field(default_factory=set)

    def values(self, metric: str) -> list[Any]:
        """Return the values of a metric in the order of the history lines."""
        return [line[metric] for _, line in sorted(self.history.items()) if metric in line]


class WandbServer:
    """The server; a context manager.

    Args:
        behaviour: ``answer``, ``hang`` (accepts and never answers), ``error`` (500 to everything)
            or ``unauthorized`` (401). It can be changed while the server runs.
        delay_s: Seconds before every answer.
    """

    def __init__(self, behaviour: Behaviour = "answer", *, delay_s: float = 0.0) -> None:
        self.behaviour: Behaviour = behaviour
        self.delay_s = delay_s
        self.runs: dict[str, RecordedRun] = {}
        self.operations: list[str] = []
        self.lock = threading.Lock()
        self._released = threading.Event()
        self._connections: set[socket.socket] = set()
        self._http = _Http(("127.0.0.1", 0), self)
        self._thread = threading.Thread(target=self._http.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def url(self) -> str:
        """The address to give to ``WANDB_BASE_URL``."""
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    @property
    def environment(self) -> dict[str, str]:
        """The variables that send a client here."""
        return {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": KEY}

    def run(self) -> RecordedRun:
        """Return the only run there is."""
        assert len(self.runs) == 1, f"one run expected, there are {sorted(self.runs)}"
        return next(iter(self.runs.values()))

    def kill(self) -> None:
        """Stop answering for good: the port is closed and every connection is cut."""
        self._released.set()
        self._http.shutdown()
        self._http.server_close()
        with self.lock:
            connections = list(self._connections)
        for connection in connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def obey(self) -> Behaviour:
        """Return how to answer now.

        Raises:
            ConnectionAbortedError: The server was killed while the request had to wait.
        """
        if self.delay_s:
            self._released.wait(self.delay_s)
        if self.behaviour == "hang":
            self._released.wait()
        if self._released.is_set():
            raise ConnectionAbortedError
        return self.behaviour

    def graphql(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        """Return the ``data`` of a GraphQL answer."""
        match = re.search(r"(?:query|mutation)\s+(\w+)", query)
        operation = match.group(1) if match else query[:40]
        with self.lock:
            self.operations.append(operation)
            answer = _OPERATIONS.get(operation)
            return answer(self, variables) if answer else {}

    def file_stream(self, run_id: str, project: str, body: dict[str, Any]) -> None:
        """Take one batch of the file stream."""
        with self.lock:
            run = self.runs.setdefault(run_id, RecordedRun(run_id, project))
            for name, chunk in (body.get("files") or {}).items():
                _store(run, name, int(chunk.get("offset", 0)), chunk.get("content", []))
            run.files.update(body.get("uploaded") or [])
            if body.get("complete"):
                run.exit_code = int(body.get("exitcode", -1))


def closed_port() -> str:
    """Return an address on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def _store(run: RecordedRun, name: str, offset: int, lines: list[str]) -> None:
    if name == "wandb-summary.json":
        run.summary = json.loads(lines[-1])
    elif name == "output.log":
        run.console.update({offset + i: line for i, line in enumerate(lines)})
    elif name in ("wandb-history.jsonl", "wandb-events.jsonl"):
        target = run.history if name == "wandb-history.jsonl" else run.events
        target.update({offset + i: json.loads(line) for i, line in enumerate(lines)})


def _viewer(server: WandbServer, variables: dict[str, Any]) -> dict[str, Any]:
    viewer = {
        "id": "viewer",
        "entity": ENTITY,
        "username": ENTITY,
        "email": "tester@example.org",
        "flags": "{}",
        "teams": {"edges": []},
    }
    return {"viewer": viewer}


def _upsert(server: WandbServer, variables: dict[str, Any]) -> dict[str, Any]:
    id, project = str(variables["name"]), str(variables.get("project") or "uncategorized")
    inserted = id not in server.runs
    run = server.runs.setdefault(id, RecordedRun(id, project))
    run.name = variables.get("displayName") or run.name
    run.group = variables.get("groupName") or run.group
    run.job_type = variables.get("jobType") or run.job_type
    run.notes = variables.get("notes") or run.notes
    run.tags = variables.get("tags") or run.tags
    if variables.get("config"):
        config = json.loads(variables["config"])
        run.config = {key: value["value"] for key, value in config.items()}
    return {"upsertBucket": {"bucket": _bucket(run), "inserted": inserted}}


def _resume(server: WandbServer, variables: dict[str, Any]) -> dict[str, Any]:
    run = server.runs.get(str(variables["name"]))
    if run is None:
        return {"model": {"id": "p", "name": "p", "entity": _entity(), "bucket": None}}
    tail = [json.dumps(line) for _, line in sorted(run.history.items())][-1:]
    bucket = _bucket(run) | {
        "summaryMetrics": json.dumps(run.summary),
        "logLineCount": len(run.console),
        "historyLineCount": len(run.history),
        "eventsLineCount": len(run.events),
        "historyTail": json.dumps(tail),
        "eventsTail": json.dumps([]),
        "config": json.dumps({key: {"value": value} for key, value in run.config.items()}),
        "tags": run.tags,
        "notes": run.notes,
        "wandbConfig": json.dumps({"t": int(time.time())}),
    }
    return {"model": {"id": "p", "name": run.project, "entity": _entity(), "bucket": bucket}}


def _files(server: WandbServer, variables: dict[str, Any]) -> dict[str, Any]:
    files = [
        {"name": name, "uploadUrl": f"{server.url}/upload/{variables['run']}/{name}"}
        for name in variables["files"]
    ]
    answer = {"runID": variables["run"], "uploadHeaders": [], "files": files}
    return {"createRunFiles": answer}


def _features(server: WandbServer, variables: dict[str, Any]) -> dict[str, Any]:
    return {"serverInfo": {"features": []}}


def _bucket(run: RecordedRun) -> dict[str, Any]:
    return {
        "id": f"bucket-{run.id}",
        "name": run.id,
        "displayName": run.name or run.id,
        "description": "",
        "config": "{}",
        "sweepName": None,
        "project": {"id": "p", "name": run.project, "entity": _entity()},
        # What is created again without "resume" is written over from the first line on.
        "historyLineCount": 0,
    }


def _entity() -> dict[str, str]:
    return {"id": "e", "name": ENTITY}


_OPERATIONS = {
    "Viewer": _viewer,
    "UpsertBucket": _upsert,
    "RunResumeStatus": _resume,
    "CreateRunFiles": _files,
    "ServerFeaturesQuery": _features,
}


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], owner: WandbServer) -> None:
        super().__init__(address, _Handler)
        self.owner = owner

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away in the middle is what many tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Http

    def setup(self) -> None:
        super().setup()
        with self.server.owner.lock:
            self.server.owner._connections.add(self.connection)

    def finish(self) -> None:
        super().finish()
        with self.server.owner.lock:
            self.server.owner._connections.discard(self.connection)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet."""

    def do_POST(self) -> None:
        body = self._body()
        status = {"error": 500, "unauthorized": 401}.get(self.server.owner.obey())
        if status:
            self._answer(status, {"error": f"told to answer {status}"})
        elif self.path.startswith("/graphql"):
            asked = json.loads(body)
            data = self.server.owner.graphql(asked["query"], asked.get("variables") or {})
            self._answer(200, {"data": data})
        elif self.path.endswith("/file_stream"):
            _, project, run_id = self.path.split("/")[-4:-1]
            self.server.owner.file_stream(run_id, project, json.loads(body))
            self._answer(200, {})
        else:
            self._answer(404, {})

    def do_PUT(self) -> None:
        self._body()
        if self.path.startswith("/upload/"):
            _, _, run_id, name = self.path.split("/", 3)
            with self.server.owner.lock:
                self.server.owner.runs[run_id].files.add(name)
        self._answer(200, {})

    def do_GET(self) -> None:
        self._answer(200, {})

    def _body(self) -> bytes:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def _answer(self, status: int, content: dict[str, Any]) -> None:
        payload = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)
