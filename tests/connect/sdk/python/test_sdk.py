"""The official Python SDK against the development server."""

import asyncio
import hashlib
import hmac
import struct
import time

import pytest
from onepasswordconnectsdk import load, load_dict
from onepasswordconnectsdk.errors import FailedToRetrieveItemException as ItemError
from onepasswordconnectsdk.errors import FailedToRetrieveVaultException as VaultError
from onepasswordconnectsdk.models import Field, GeneratorRecipe, Item, ItemVault

UNKNOWN = "u" * 26
# The files of the item "certificate".
CONTENT = {
    "tls.key": "the key, ünïcode too\n".encode(),
    "empty": b"",
    "logo.png": b"\x89PNG\r\n\x1a\n\x00\xff\x00\xfe",
}


def value(item, name):
    """The value of the field with this label or ID."""
    return next(field.value for field in item.fields if name in (field.label, field.id))


def expected_code(secret, moment):
    """RFC 6238 once more, so that the server is not its own judge."""
    digest = hmac.new(secret, struct.pack(">Q", int(moment) // 30), hashlib.sha1).digest()
    offset = digest[-1] & 15
    number = struct.unpack(">I", digest[offset : offset + 4])[0] & 0x7FFFFFFF
    return f"{number % 10**6:06}"


class TestVaults:
    def test_list(self, client):
        vaults = {vault.name: vault for vault in client.get_vaults()}
        assert set(vaults) == {"Home", "Apps"}, "only those in the scope of the token"
        home = vaults["Home"]
        assert (home.items, home.description, home.type) == (6, "What the home lab uses", "USER_CREATED")
        assert home.updated_at >= home.created_at
        assert home.content_version > home.attribute_version

    def test_by_id(self, server, client):
        vault = client.get_vault(server.vaults["Home"])
        assert (vault.id, vault.name) == (server.vaults["Home"], "Home")

    def test_by_name(self, server, client):
        assert client.get_vault_by_title("Home").id == server.vaults["Home"]

    def test_by_unknown_name(self, client):
        with pytest.raises(ItemError, match="Found 0 vaults"):
            client.get_vault_by_title("Nothing")

    def test_by_ambiguous_name(self, server):
        server.admin("POST", "/vaults", {"name": "Home"})
        server.admin("POST", "/tokens", {"name": "late", "token": "late"})
        with pytest.raises(ItemError, match="Found 2 vaults"):
            server.client("late").get_vault_by_title("Home")


class TestItems:
    def test_list_shows_no_values(self, server, client):
        items = client.get_items(server.vaults["Home"])
        assert len(items) == 6
        database = next(item for item in items if item.title == "database")
        assert database.tags == ["k8s", "production"]
        assert database.favorite is True
        assert database.urls[0].href == "https://db.example"
        assert database.vault.id == server.vaults["Home"]
        assert database.version == 1

    @pytest.mark.parametrize(
        ("query", "titles"),
        [
            ('title eq "database"', ["database"]),
            ('title eq "twin"', ["twin", "twin"]),
            ('title eq "Database"', []),
            ('tag eq "k8s"', ["database"]),
            ('title co "ata"', ["database"]),
        ],
    )
    def test_filters(self, server, client, query, titles):
        found = client.get_items(server.vaults["Home"], query)
        assert [item.title for item in found] == titles

    @pytest.mark.parametrize("vault", ["Home", "id"])
    @pytest.mark.parametrize("item", ["database", "id"])
    def test_by_id_and_title(self, server, client, vault, item):
        vault = server.vaults["Home"] if vault == "id" else vault
        item = server.items["database"] if item == "id" else item
        found = client.get_item(item, vault)
        assert found.id == server.items["database"]
        assert value(found, "password") == "correct horse"
        assert value(found, "notesPlain") == "two\nlines"
        key = next(field for field in found.fields if field.label == "API key")
        assert key.section.id == next(s.id for s in found.sections if s.label == "Security")

    def test_purposes_and_entropy(self, server, client):
        fields = {field.id: field for field in client.get_item("database", "Home").fields}
        assert fields["username"].purpose == "USERNAME"
        assert fields["password"].purpose == "PASSWORD"
        assert fields["password"].entropy > 50

    def test_a_title_like_an_id(self, server, client):
        found = client.get_item("abcdefghijklmnopqrstuvwxyz", "Home")
        assert value(found, "password") == "title like an ID"
        assert server.counts()["item.get"] == 2, "first as an ID: 404; then as a title"

    def test_dates_come_back_as_timestamps(self, client):
        assert value(client.get_item("token", "Home"), "valid from") == "1641038460"

    def test_empty_values_are_left_out(self, client):
        assert value(client.get_item("token", "Home"), "hostname") is None

    def test_ambiguous_title(self, client):
        with pytest.raises(ItemError, match="Found 2 items"):
            client.get_item("twin", "Home")

    def test_unknown_title(self, client):
        with pytest.raises(ItemError, match="Found 0 items"):
            client.get_item("nothing", "Home")

    def test_an_archived_item_has_a_state(self, server, client):
        server.admin("POST", "/vaults/Home/items/database/archive")
        assert client.get_vault_by_title("Home").items == 5
        assert client.get_item("database", "Home").version == 2

    def test_one_time_password(self, client):
        before = time.time()
        fields = client.get_item("database", "Home").fields
        otp = next(field for field in fields if field.type == "OTP")
        codes = {expected_code(b"12345678901234567890", t) for t in (before, time.time())}
        assert otp.totp in codes
        assert otp.value.startswith("otpauth://")

    def test_loading_a_configuration(self, server, client):
        tags = {"opitem": "database", "opfield": ".username", "opvault": server.vaults["Home"]}
        nested = {**tags, "opfield": "Security.API key"}
        assert load_dict(client, {"user": tags, "key": nested}) == {"user": "admin", "key": "k-123"}
        vault = server.vaults["Home"]

        class Config:
            user: f"opitem:database opfield:.username opvault:{vault}"

        assert load(client, Config()).user == "admin"


class TestFiles:
    def test_list_and_get(self, server, client):
        ids = server.items["certificate"], server.vaults["Home"]
        files = client.get_files(*ids)
        assert {file.name: file.size for file in files} == {name: len(data) for name, data in CONTENT.items()}
        one = client.get_file(files[0].id, *ids)
        assert (one.id, one.name, one.content_path) == (files[0].id, files[0].name, files[0].content_path)

    def test_content(self, server, client):
        ids = server.items["certificate"], server.vaults["Home"]
        for file in client.get_files(*ids):
            assert client.get_file_content(file.id, *ids) == CONTENT[file.name]
            assert client.get_file_content(file.id, *ids, file.content_path) == CONTENT[file.name]

    def test_download(self, server, client, tmp_path):
        ids = server.items["certificate"], server.vaults["Home"]
        for file in client.get_files(*ids):
            client.download_file(file.id, *ids, str(tmp_path))
            assert (tmp_path / file.name).read_bytes() == CONTENT[file.name]

    def test_unknown_file(self, server, client):
        with pytest.raises(ItemError, match=f"Received 404.*file {UNKNOWN} not found"):
            client.get_file_content(UNKNOWN, server.items["certificate"], server.vaults["Home"])

    def test_an_item_without_files(self, server, client):
        assert client.get_files(server.items["database"], server.vaults["Home"]) == []


class TestWrites:
    def new_item(self, server):
        return Item(
            vault=ItemVault(id=server.vaults["Home"]),
            title="made here",
            category="LOGIN",
            tags=["a"],
            fields=[
                Field(purpose="USERNAME", value="me"),
                Field(
                    purpose="PASSWORD",
                    generate=True,
                    recipe=GeneratorRecipe(length=20, character_sets=["LETTERS", "DIGITS"]),
                ),
                Field(label="extra", type="STRING", value="e"),
            ],
        )

    def test_create(self, server, client):
        made = client.create_item(server.vaults["Home"], self.new_item(server))
        assert made.version == 1
        found = client.get_item("made here", "Home")
        assert found.id == made.id
        assert (value(found, "username"), value(found, "extra")) == ("me", "e")
        password = value(found, "password")
        assert len(password) == 20 and password.isalnum()
        assert client.get_vault_by_title("Home").items == 7

    def test_update(self, server, client):
        item = client.get_item("database", "Home")
        before = client.get_vault_by_title("Home").content_version
        next(field for field in item.fields if field.id == "password").value = "changed"
        item.title = "renamed"
        answer = client.update_item(item.id, server.vaults["Home"], item)
        assert (answer.title, answer.version) == ("renamed", 1), "the answer has the old version"
        found = client.get_item("renamed", "Home")
        assert (found.version, value(found, "password")) == (2, "changed")
        assert {field.id for field in found.fields} == {field.id for field in item.fields}
        assert client.get_vault_by_title("Home").content_version == before + 1

    def test_files_survive_an_update(self, server, client):
        item = client.get_item("certificate", "Home")
        client.update_item(item.id, server.vaults["Home"], item)
        assert len(client.get_files(item.id, server.vaults["Home"])) == 3

    def test_delete(self, server, client):
        client.delete_item(server.items["database"], server.vaults["Home"])
        with pytest.raises(ItemError, match="Found 0 items"):
            client.get_item("database", "Home")
        with pytest.raises(ItemError, match="Received 404"):
            client.delete_item(server.items["database"], server.vaults["Home"])

    @pytest.mark.parametrize("category", ["CUSTOM", "DOCUMENT", "NONSENSE"])
    def test_categories_that_cannot_be_made(self, server, client, category):
        item = self.new_item(server)
        item.category = category
        with pytest.raises(ItemError, match="Received 400"):
            client.create_item(server.vaults["Home"], item)

    def test_a_reading_token_cannot_write(self, server):
        reader = server.client("reader")
        with pytest.raises(ItemError, match="Received 401.*does not have write access"):
            reader.create_item(server.vaults["Home"], self.new_item(server))
        with pytest.raises(ItemError, match="Received 401.*does not have write access"):
            reader.delete_item(server.items["database"], server.vaults["Home"])


class TestErrors:
    @pytest.mark.parametrize("token", ["expired", "revoked", "gibberish", ""])
    def test_tokens_that_are_not_valid(self, server, token):
        with pytest.raises(VaultError, match="Received 401.*Invalid bearer token"):
            server.client(token or "x").get_vaults()

    def test_a_token_of_another_server(self, server):
        header, claims, signature = server.tokens["reader"].split(".")
        first = "B" if signature.startswith("A") else "A"
        forged = f"{header}.{claims}.{first}{signature[1:]}"
        with pytest.raises(VaultError, match="Received 401.*Invalid token signature"):
            server.client(forged).get_vaults()

    def test_a_truncated_token(self, server):
        with pytest.raises(VaultError, match="Received 401.*Invalid bearer token"):
            server.client(server.tokens["reader"][:-10]).get_vaults()

    def test_a_vault_out_of_scope(self, server, client):
        private = server.vaults["Private"]
        with pytest.raises(VaultError, match=f"Received 403.*vault {private} is not in scope"):
            client.get_vault(private)
        with pytest.raises(ItemError, match="Received 403"):
            client.get_item(server.items["diary"], private)

    def test_what_does_not_exist(self, server, client):
        with pytest.raises(VaultError, match=f"Received 404.*vault {UNKNOWN} not found"):
            client.get_vault(UNKNOWN)
        with pytest.raises(ItemError, match=f"Received 404.*item {UNKNOWN} not found") as caught:
            client.get_item_by_id(UNKNOWN, server.vaults["Home"])
        assert caught.value.status_code == 404

    def test_what_is_not_an_id(self, server, client):
        with pytest.raises(ItemError, match="Received 400.*Invalid Item UUID"):
            client.get_item_by_id("not-an-id", server.vaults["Home"])
        with pytest.raises(VaultError, match="Received 400.*Invalid Vault UUID"):
            client.get_vault("not-an-id")

    @pytest.mark.parametrize("title", ['say "hi"', "a & b", "a #1"])
    def test_titles_that_the_sdk_does_not_escape(self, server, client, title):
        server.admin("PUT", "/vaults/Home/items", {"title": title})
        with pytest.raises(ItemError, match="Received 400"):
            client.get_item(title, "Home")

    @pytest.mark.parametrize("status", [403, 408, 429, 500])
    def test_faults_reach_the_client(self, server, client, status):
        server.admin("POST", "/faults", {"fault": "status", "status": status, "count": 1})
        with pytest.raises(VaultError, match=f"Received {status}"):
            client.get_vaults()
        assert client.get_vaults()


def test_the_asynchronous_client(server):
    async def ask():
        client = server.client(is_async=True)
        item = await client.get_item("database", "Home")
        vaults = await client.get_vaults()
        await client.session.aclose()
        return item, vaults

    item, vaults = asyncio.run(ask())
    assert value(item, "username") == "admin"
    assert len(vaults) == 2
