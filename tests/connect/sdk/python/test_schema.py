"""A tour of the whole API, each answer held to openapi.yaml."""

import json
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from openapi_core import OpenAPI
from openapi_core.exceptions import OpenAPIError
from openapi_core.testing import MockRequest, MockResponse

DOCUMENT = Path(__file__).parents[2] / "openapi.yaml"
OPENAPI = OpenAPI.from_file_path(DOCUMENT)
UNKNOWN = "u" * 26


class Tour:
    """Asks, checks each answer, and remembers what was answered."""

    def __init__(self, server):
        self.server = server
        self.http = httpx.Client(base_url=server.url)
        self.seen = set()

    def ask(self, method, path, status, token="writer", body=None, query=None):
        """Asks for one thing; fails unless the document allows the answer."""
        token = self.server.tokens.get(token, token)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        reply = self.http.request(method, path, json=body, params=query, headers=headers)
        assert reply.status_code == status, f"{method} {path}: {reply.status_code} {reply.text}"
        pattern = validate(method, self.server.url, path, reply)
        self.seen.add((method.lower(), pattern, str(status)))
        if reply.headers.get("content-type") == "application/json":
            return reply.json()
        return reply


def validate(method, host, path, reply):
    """Holds an answer to the document; tells the path that it matched."""
    request = MockRequest(host, method, path)
    kind = reply.headers.get("content-type", "").split(";")[0]
    # openapi-core takes no body for a missing one; a file may be empty.
    body = reply.content or (b"\0" if kind == "application/octet-stream" else b"")
    response = MockResponse(body, reply.status_code, dict(reply.headers), kind)
    OPENAPI.validate_response(request, response)
    segments = urlsplit(path).path.strip("/").split("/")
    names = {2: "{vault}", 4: "{item}", 6: "{file}"} if segments[0] == "v1" else {}
    return "/" + "/".join(names.get(n, segment) for n, segment in enumerate(segments))


def documented():
    """Every answer that the document promises."""
    paths = OPENAPI.spec["paths"].read_value()
    return {
        (method, path, status)
        for path, operations in paths.items()
        for method, operation in operations.items()
        if method != "parameters"
        for status in operation["responses"]
    }


def addresses(server):
    """The paths of the tour."""
    vault = f"/v1/vaults/{server.vaults['Home']}"
    item = f"{vault}/items/{server.items['certificate']}"
    return vault, item


def visit_reads(tour, vault, item):
    """Everything that is only read."""
    for query in (None, {"filter": 'name eq "home"'}, {"filter": 'title eq "Home"'}):
        assert "Home" in {found["name"] for found in tour.ask("GET", "/v1/vaults", 200, query=query)}
    tour.ask("GET", vault, 200)
    for summary in tour.ask("GET", f"{vault}/items", 200):
        tour.ask("GET", f"{vault}/items/{summary['id']}", 200)
    for query in (None, {"inline_files": "true"}, {"inline_content": "true"}):
        for file in tour.ask("GET", f"{item}/files", 200, query=query):
            assert ("content" in file) == bool(query)
            tour.ask("GET", f"{item}/files/{file['id']}", 200, query=query)
            tour.ask("GET", f"{item}/files/{file['id']}/content", 200)
    tour.ask("GET", "/v1/activity", 200, query={"limit": 3, "offset": 2})


def visit_status(tour):
    """What is answered without a token."""
    tour.ask("GET", "/heartbeat", 200, token=None)
    tour.ask("GET", "/metrics", 200, token=None)
    before = tour.ask("GET", "/health", 200, token=None)
    tour.ask("GET", "/health", 200)
    after = tour.ask("GET", "/health", 200, token=None)
    states = [{d["service"]: d["status"] for d in health["dependencies"]} for health in (before, after)]
    assert [state["account_data"] for state in states] == ["NOT_SYNCED", "SYNCED"]


def visit_writes(tour, vault):
    """An item from its making to its end."""
    new = {"title": "new", "category": "PASSWORD", "vault": {"id": vault.rsplit("/", 1)[1]}}
    new["fields"] = [{"purpose": "PASSWORD", "value": "one"}]
    made = tour.ask("POST", f"{vault}/items", 200, body=new)
    path = f"{vault}/items/{made['id']}"
    change = {"op": "replace", "path": "/fields/password/value", "value": "two"}
    tour.ask("PATCH", path, 200, body=[change])
    changed = tour.ask("GET", path, 200)
    details = next(f["passwordDetails"] for f in changed["fields"] if f["id"] == "password")
    assert details["history"] == ["one"]
    tour.ask("PUT", path, 200, body={**changed, "title": "renamed"})
    tour.ask("POST", f"{vault}/items", 400, body={**new, "category": "CUSTOM"})
    tour.ask("PUT", path, 400, body={**changed, "id": UNKNOWN})
    tour.ask("PATCH", path, 400, body=[{**change, "path": "/fields/nothing/value"}])
    tour.ask("DELETE", path, 204)


def visit_errors(tour, vault, item):
    """400, 401, 403 and 404 of every operation that has them."""
    home, certificate = vault.rsplit("/", 1)[1], item.rsplit("/", 1)[1]
    private = tour.server.vaults["Private"]
    tour.ask("GET", "/v1/vaults", 400, query={"filter": "name eq 'Home'"})
    tour.ask("GET", "/v1/activity", 400, query={"limit": "many"})
    for method, path, _ in sorted(documented()):
        if not path.startswith("/v1"):
            continue
        good = {"vault": home, "item": certificate, "file": UNKNOWN}
        tour.ask(method.upper(), path.format(**good), 401, token="expired")
        for name, wrong, status in [
            ("vault", "no-id", 400),
            ("vault", private, 403),
            ("vault", UNKNOWN, 404),
            ("item", "no-id", 400),
            ("item", UNKNOWN, 404),
            ("file", UNKNOWN, 404),
        ]:
            if f"{{{name}}}" in path:
                tour.ask(method.upper(), path.format(**{**good, name: wrong}), status)


def visit_large_files(tour, vault):
    """413, and what cannot be downloaded yet."""
    server = tour.server
    large = {"title": "large", "category": "DOCUMENT", "files": {"big": "x" * 102_401, "fits": "x" * 102_400}}
    item = f"{vault}/items/{server.admin('PUT', '/vaults/Home/items', large)['id']}"
    files = {file["name"]: f"{item}/files/{file['id']}" for file in tour.ask("GET", f"{item}/files", 200)}
    inline = {"inline_files": "true"}
    tour.ask("GET", f"{item}/files", 413, query=inline)
    tour.ask("GET", files["big"], 413, query=inline)
    tour.ask("GET", files["fits"], 200, query=inline)
    assert len(tour.ask("GET", f"{files['big']}/content", 200).content) == 102_401
    server.admin("POST", "/faults", {"fault": "file-not-synced", "count": 1})
    tour.ask("GET", f"{files['big']}/content", 500)


def test_every_documented_answer_is_given_and_as_documented(server):
    tour = Tour(server)
    vault, item = addresses(server)
    visit_status(tour)
    visit_reads(tour, vault, item)
    visit_writes(tour, vault)
    visit_errors(tour, vault, item)
    visit_large_files(tour, vault)
    server.admin("POST", "/vaults/Home/items/database/archive")
    visit_reads(tour, vault, item)
    assert documented() - tour.seen == set(), "documented, but not seen on the tour"


def test_trailing_slashes_change_nothing(server):
    tour = Tour(server)
    vault, item = addresses(server)
    for path in ("/v1/vaults", vault, f"{vault}/items", item, f"{item}/files"):
        headers = {"Authorization": f"Bearer {server.tokens['writer']}"}
        plain, slash = (tour.http.get(p, headers=headers) for p in (path, f"{path}/"))
        assert plain.json() == slash.json()


@pytest.mark.parametrize("path", ["/", "/vaults", "/v1", "/v1/nothing", "/v2/vaults"])
def test_unknown_paths_are_plain_text(server, path):
    reply = httpx.get(server.url + path)
    assert (reply.status_code, reply.text) == (404, "404 page not found\n")


def test_the_check_is_strict(server):
    """Answers that the document does not allow are found."""
    _, item = addresses(server)
    headers = {"Authorization": f"Bearer {server.tokens['writer']}"}
    whole = httpx.get(server.url + item, headers=headers)
    head = {name: whole.headers[name] for name in ("content-type", "1password-connect-version")}
    for change in (
        {"extra": 1},
        {"favorite": False},
        {"version": 0},
        {"tags": []},
        {"updatedAt": "2021-01-01T00:00:00.10Z"},
    ):
        body = json.dumps({**whole.json(), **change})
        reply = httpx.Response(200, headers=head, text=body)
        with pytest.raises(OpenAPIError):
            validate("GET", server.url, item, reply)
    with pytest.raises(OpenAPIError):
        validate("GET", server.url, item, httpx.Response(418, headers=head, text="{}"))
    bare = httpx.Response(200, headers={"content-type": "application/json"}, text=whole.text)
    with pytest.raises(OpenAPIError):
        validate("GET", server.url, item, bare)
