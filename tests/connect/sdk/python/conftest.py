"""The server under test, seeded anew for each test."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import onepasswordconnectsdk
import pytest

SEED = json.loads((Path(__file__).parents[1] / "seed.json").read_text())
CONNECT = os.environ["CONNECT_URL"]
# One client for the admin side: each new one loads the certificates again.
ADMIN = httpx.Client(base_url=os.environ["CONNECT_ADMIN_URL"])


@dataclass
class Server:
    """What a test knows of the server: IDs and tokens by their names."""

    vaults: dict = field(default_factory=dict)
    items: dict = field(default_factory=dict)
    tokens: dict = field(default_factory=dict)
    url: str = CONNECT

    def admin(self, method, path, body=None):
        """Asks the admin side."""
        reply = ADMIN.request(method, f"/admin{path}", json=body)
        assert reply.is_success, reply.text
        return reply.json() if reply.content else None

    def client(self, token="writer", is_async=False):
        """A client of the official SDK."""
        secret = self.tokens.get(token, token)
        return onepasswordconnectsdk.new_client(self.url, secret, is_async)

    def counts(self):
        """How often what was asked since the test began."""
        return self.admin("GET", "/counts")["kinds"]


@pytest.fixture
def server():
    """The server, with the data of seed.json and nothing else."""
    server = Server()
    seeded = server.admin("POST", "/seed", SEED)
    for vault in seeded["vaults"]:
        server.vaults[vault["name"]] = vault["id"]
        for item in vault["items"]:
            server.items[item["title"]] = item["id"]
    server.tokens = {token["name"]: token["token"] for token in seeded["tokens"]}
    server.admin("POST", "/tokens/revoked/revoke")
    return server


@pytest.fixture
def client(server):
    """The official client, with a token that may write."""
    return server.client()
