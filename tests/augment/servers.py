"""Real local servers that language models are asked of in tests."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import socket
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

Reply = Callable[[int, dict[str, Any]], tuple[int, Any]]
"""From a request's number and body to a status and an answer: words, or a body of JSON."""


class Server(ThreadingHTTPServer):
    """An OpenAI-compatible endpoint that keeps what it was asked."""

    daemon_threads = True

    def __init__(self, reply: Reply) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.reply = reply
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            number = len(self.server.asked)
            self.server.asked.append(body)
            self.server.keys.append(self.headers.get("Authorization"))
        status, answer = self.server.reply(number, body)
        if isinstance(answer, str) and status == 200:
            message = {"role": "assistant", "content": answer}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            answer = {"id": "1", "object": "chat.completion", "created": 0, "model": "m"}
            answer["choices"] = [choice]
        data = json.dumps(answer).encode()
        # A killed client leaves before its answer comes.
        with suppress(BrokenPipeError, ConnectionResetError):
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@contextmanager
def serve(reply: Reply) -> Iterator[Server]:
    """A server that answers as told, while the block lasts."""
    server = Server(reply)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def katan(folder: Path, *options: str) -> Iterator[str]:
    """The address of an llm-katan echo server, with errors or delays as its options say."""
    with socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "llm_katan.cli", "--model", "echo", "--backend", "echo"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--disable-dashboard"]
    command += ["--stats-file", str(folder / "stats.json"), "--max-concurrent", "8", *options]
    with open(folder / "katan.log", "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        for _ in range(300):
            with suppress(URLError, ConnectionError), urlopen(f"http://127.0.0.1:{port}/health"):
                break
            assert process.poll() is None, (folder / "katan.log").read_text()
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait()
