"""The routes of the Hugging Face hub that uploading and downloading a model take, on this machine."""

import base64
import hashlib
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef" * 2 + "01234567"


class Hub(ThreadingHTTPServer):
    """Repositories {USER/NAME: {path: content}} behind an address; `requests` are those that were answered."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server_port}"
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.private: set[str] = set()
        self.requests: list[str] = []


class Handler(BaseHTTPRequestHandler):
    """Answers."""

    server: Hub

    def log_message(self, *arguments: object) -> None:
        pass

    def _answer(self, content: object, code: int = 200, **headers: str) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_POST(self) -> None:
        path = unquote(urlsplit(self.path).path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.requests.append(f"POST {path}")
        if not self.headers.get("Authorization"):
            return self._answer({"error": "Invalid username or password."}, 401)
        if path == "/api/repos/create":
            wanted = json.loads(body)
            name = f"{wanted['organization']}/{wanted['name']}"
            if name not in self.server.repositories and (
                wanted.get("private") or wanted.get("visibility") == "private"
            ):
                self.server.private.add(name)
            self.server.repositories.setdefault(name, {})
            return self._answer({"url": f"{self.server.address}/{name}"})
        if path.endswith("/preupload/main"):
            files = json.loads(body)["files"]
            kept = [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False, "oid": None} for f in files]
            return self._answer({"files": kept})
        if path.endswith("/commit/main"):
            name = path.removeprefix("/api/models/").removesuffix("/commit/main")
            repository = self.server.repositories[name]
            for line in map(json.loads, body.decode().splitlines()):
                if line["key"] == "file":
                    repository[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
                elif line["key"] == "deletedFile":
                    del repository[line["value"]["path"]]
            url = f"{self.server.address}/{name}/commit/{COMMIT}"
            return self._answer({"success": True, "commitOid": COMMIT, "commitUrl": url, "hookOutput": ""})
        if path == "/api/validate-yaml":
            return self._answer({"errors": [], "warnings": []})
        return self._answer({"error": f"no route {path}"}, 404)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.requests.append(f"{self.command} {path}")
        for name, files in self.server.repositories.items():
            if path in (f"/api/models/{name}", *(f"/api/models/{name}/revision/{r}" for r in ("main", COMMIT))):
                siblings = [{"rfilename": file, "size": len(content)} for file, content in files.items()]
                info = {"id": name, "modelId": name, "sha": COMMIT, "siblings": siblings, "tags": []}
                return self._answer(info | {"private": name in self.server.private})
            if path.startswith(f"/api/models/{name}/tree/"):
                tree = [
                    {"type": "file", "path": file, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                    for file, content in files.items()
                ]
                return self._answer(tree)
            if path.startswith(f"/{name}/resolve/"):
                file = path.removeprefix(f"/{name}/resolve/").split("/", 1)[1]
                if file in files:
                    content = files[file]
                    etag = f'"{hashlib.sha1(content).hexdigest()}"'
                    return self._answer(content, ETag=etag, X_Repo_Commit=COMMIT)
        return self._answer({"error": "Repository not found"}, 404, X_Error_Code="RepoNotFound")
