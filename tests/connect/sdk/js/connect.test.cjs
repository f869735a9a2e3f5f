"use strict";
// The official JavaScript SDK against the development server.

const assert = require("node:assert/strict");
const { beforeEach, describe, test } = require("node:test");
const fs = require("node:fs");
const path = require("node:path");
const { FullItem, ItemBuilder, OnePasswordConnect } = require("@1password/connect");

const CONNECT = process.env.CONNECT_URL;
const ADMIN = process.env.CONNECT_ADMIN_URL;
const SEED = fs.readFileSync(path.join(__dirname, "..", "seed.json"), "utf8");
const UNKNOWN = "u".repeat(26);

/** IDs and tokens by their names; new for each test. */
let vaults, items, tokens, client;

/** Asks the admin side. */
async function admin(method, at, body) {
  const reply = await fetch(`${ADMIN}/admin${at}`, { method, body });
  const text = await reply.text();
  assert.ok(reply.ok, text);
  return text && JSON.parse(text);
}

/** A client with a token, by its name or as it is. */
function clientWith(token, options) {
  return OnePasswordConnect({ serverURL: CONNECT, token: tokens[token] ?? token, ...options });
}

/** The field with this label or ID. */
function field(item, name) {
  return item.fields.find(({ id, label }) => id === name || label === name);
}

beforeEach(async () => {
  const seeded = await admin("POST", "/seed", SEED);
  vaults = Object.fromEntries(seeded.vaults.map(({ name, id }) => [name, id]));
  items = Object.fromEntries(seeded.vaults.flatMap((vault) => vault.items).map(({ title, id }) => [title, id]));
  tokens = Object.fromEntries(seeded.tokens.map(({ name, token }) => [name, token]));
  await admin("POST", "/tokens/revoked/revoke");
  client = clientWith("writer");
});

describe("vaults", () => {
  test("list", async () => {
    const list = await client.listVaults();
    assert.deepEqual(list.map(({ name }) => name).sort(), ["Apps", "Home"]);
    const home = list.find(({ name }) => name === "Home");
    assert.equal(home.items, 6);
    assert.ok(home.updatedAt instanceof Date && home.updatedAt >= home.createdAt);
  });

  test("by ID and by name", async () => {
    assert.equal((await client.getVault(vaults.Home)).name, "Home");
    assert.equal((await client.getVault("Home")).id, vaults.Home);
    assert.equal((await client.getVaultById(vaults.Home)).id, vaults.Home);
    assert.equal((await client.getVaultByTitle("Home")).id, vaults.Home);
    assert.equal((await client.listVaultsByTitle("Home")).length, 1);
  });

  test("an unknown name", async () => {
    await assert.rejects(client.getVault("Nothing"), { status: 404, message: "No Vaults found with title" });
  });
});

describe("items", () => {
  test("list shows no values", async () => {
    const list = await client.listItems(vaults.Home);
    assert.equal(list.length, 6);
    const database = list.find(({ title }) => title === "database");
    assert.equal(database.fields, undefined);
    assert.deepEqual(database.tags, ["k8s", "production"]);
    assert.equal(database.favorite, true);
    assert.equal(database.vault.id, vaults.Home);
  });

  test("by ID and by title", async () => {
    for (const query of [items.database, "database"]) {
      const item = await client.getItem(vaults.Home, query);
      assert.equal(item.id, items.database);
      assert.equal(field(item, "password").value, "correct horse");
      assert.equal(field(item, "notesPlain").value, "two\nlines");
      assert.equal(item.sections[0].label, "Security");
      assert.equal(field(item, "API key").section.id, item.sections[0].id);
    }
  });

  test("lists by title", async () => {
    const byTitle = await client.listItemsByTitle(vaults.Home, "twin");
    assert.deepEqual(byTitle.map((item) => field(item, "password").value).sort(), ["a", "b"]);
    const containing = await client.listItemsByTitleContains(vaults.Home, "ata");
    assert.deepEqual(containing.map(({ title }) => title), ["database"]);
    assert.deepEqual(await client.listItemsByTitle(vaults.Home, "nothing"), []);
  });

  test("titles that are not unique or unknown", async () => {
    await assert.rejects(client.getItem(vaults.Home, "twin"), { status: 400 });
    await assert.rejects(client.getItem(vaults.Home, "nothing"), { status: 404 });
  });

  test("one-time passwords", async () => {
    for (const query of [items.database, "database"]) {
      assert.match(await client.getItemOTP(vaults.Home, query), /^\d{6}$/);
    }
    await assert.rejects(client.getItemOTP(vaults.Home, "token"), /No OTP found/);
  });

  test("one connection for many requests", async () => {
    const patient = clientWith("writer", { keepAlive: true });
    await admin("DELETE", "/counts");
    for (let n = 0; n < 5; n++) await patient.listVaults();
    const counts = await admin("GET", "/counts");
    assert.deepEqual([counts.total, counts.connections], [5, 1]);
  });
});

describe("files", () => {
  test("list, one, and content", async () => {
    for (const [vault, item] of [[vaults.Home, items.certificate], ["Home", "certificate"]]) {
      const files = await client.listFiles(vault, item);
      assert.deepEqual(files.map(({ name }) => name), ["empty", "logo.png", "tls.key"]);
      const key = files[2];
      assert.equal((await client.getFileById(vault, item, key.id)).name, "tls.key");
      assert.equal(await client.getFileContent(vault, item, key.id), "the key, ünïcode too\n");
      assert.equal(await client.getFileContent(vault, item, files[0].id), "");
    }
  });

  test("a stream of bytes", async () => {
    const files = await client.listFiles("Home", "certificate");
    const chunks = [];
    for await (const chunk of await client.getFileContentStream("Home", "certificate", files[1].id)) {
      chunks.push(chunk);
    }
    assert.deepEqual(Buffer.concat(chunks), Buffer.from("iVBORw0KGgoA/wD+", "base64"));
  });

  test("an unknown file", async () => {
    const message = `file ${UNKNOWN} not found`;
    await assert.rejects(client.getFileById("Home", "certificate", UNKNOWN), { status: 404, message });
  });
});

describe("writes", () => {
  const newItem = () =>
    new ItemBuilder()
      .setTitle("made here")
      .setCategory(FullItem.CategoryEnum.Login)
      .addTag("a")
      .addUrl({ href: "https://one.example" })
      .addUrl({ href: "https://two.example", primary: true })
      .addField({ purpose: "USERNAME", value: "me" })
      .addField({ purpose: "PASSWORD", generate: true, recipe: { length: 24, characterSets: ["DIGITS"] } })
      .addField({ label: "password", type: "CONCEALED", value: "another", sectionName: "More" })
      .build();

  test("create", async () => {
    const made = await client.createItem(vaults.Home, newItem());
    const found = await client.getItem(vaults.Home, "made here");
    assert.equal(found.id, made.id);
    assert.equal(field(found, "username").value, "me");
    assert.match(field(found, "password").value, /^\d{24}$/);
    assert.equal(found.fields.find(({ section }) => section).value, "another");
    assert.deepEqual(found.urls.map(({ href, primary }) => [href, primary]), [
      ["https://one.example", undefined],
      ["https://two.example", true],
    ]);
  });

  test("update", async () => {
    const item = await client.getItem(vaults.Home, "database");
    field(item, "password").value = "changed";
    await client.updateItem(vaults.Home, item);
    const found = await client.getItem(vaults.Home, "database");
    assert.equal(found.version, item.version + 1);
    assert.equal(field(found, "password").value, "changed");
    assert.deepEqual(found.createdAt, item.createdAt);
  });

  test("delete, by ID and by title", async () => {
    await client.deleteItem(vaults.Home, items.database);
    await client.deleteItem(vaults.Home, "token");
    assert.equal((await client.listItems(vaults.Home)).length, 4);
    const message = `item ${items.database} not found`;
    await assert.rejects(client.deleteItemById(vaults.Home, items.database), { status: 404, message });
  });

  test("a reading token cannot write", async () => {
    const expected = { status: 401, message: "Unauthorized Request, token does not have write access to the Vault" };
    await assert.rejects(clientWith("reader").createItem(vaults.Home, newItem()), expected);
  });
});

describe("errors", () => {
  for (const token of ["expired", "revoked", "gibberish"]) {
    test(`401: ${token}`, async () => {
      await assert.rejects(clientWith(token).listVaults(), { status: 401, message: "Invalid bearer token" });
    });
  }

  test("403: out of scope", async () => {
    const message = `vault ${vaults.Private} is not in scope`;
    await assert.rejects(client.getVault(vaults.Private), { status: 403, message });
    await assert.rejects(client.listItems(vaults.Private), { status: 403, message });
  });

  test("404: unknown", async () => {
    await assert.rejects(client.getVault(UNKNOWN), { status: 404, message: `vault ${UNKNOWN} not found` });
    await assert.rejects(client.getItem(vaults.Home, UNKNOWN), { status: 404, message: `item ${UNKNOWN} not found` });
  });

  test("400: not an ID", async () => {
    await assert.rejects(client.getItemById(vaults.Home, "no-id"), { status: 400, message: "Invalid Item UUID" });
    await assert.rejects(client.listItems("no-id"), { status: 400, message: "Invalid Vault UUID" });
  });

  test("400: a title that the SDK does not escape", async () => {
    await admin("PUT", "/vaults/Home/items", JSON.stringify({ title: "a & b" }));
    await assert.rejects(client.getItem(vaults.Home, "a & b"), { status: 400 });
  });
});
