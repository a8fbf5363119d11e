// urql takes answers in parts as it comes, with either of its caches or none: what is there shows, and in the end all is
// there that a whole answer brings.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { Client, cacheExchange as documents, fetchExchange, gql } from "@urql/core";
import { cacheExchange as graphcache } from "@urql/exchange-graphcache";
import { buildSchema, introspectionFromSchema } from "graphql";
import { hold, model, release, rows, variables } from "./parts.js";

const [url] = process.argv.slice(2);
const [MODEL, DEFERRED] = ["", "@defer"].map((directive) => gql(model(directive)));
const [ROWS, STREAMED] = ["", "@stream(initialCount: 2)"].map((directive) => gql(rows(directive)));
const schema = introspectionFromSchema(buildSchema(readFileSync("build/schema.graphql", "utf8")));
const warnings = [];
const objects = () => graphcache({ schema, logger: (_, message) => warnings.push(message) });

// The data of each state of a query until all is there; `each` is called as one comes that is not the last.
const states = (client, query, each = () => {}) =>
  new Promise((done, failed) => {
    const seen = [];
    client.query(query, variables).subscribe(({ data, error, hasNext }) => {
      if (error) failed(error);
      seen.push(data);
      hasNext ? each() : done(seen);
    });
  });

for (const cache of [undefined, () => documents, objects]) {
  const client = () => new Client({ url, exchanges: [...(cache ? [cache()] : []), fetchExchange] });
  const [[whole], [list]] = [await states(client(), MODEL), await states(client(), ROWS)];
  const { versions, ...fast } = whole.model;
  assert.ok(versions.nodes.length);

  const parts = client();
  await hold();
  assert.deepEqual(await states(parts, DEFERRED, release), [{ model: fast }, whole]);

  const [first, ...later] = await states(parts, STREAMED);
  assert.deepEqual(first.models.nodes, list.models.nodes.slice(0, 2));
  assert.deepEqual(later.at(-1), list);

  // A cache of objects answers the plain queries, too, without a request.
  for (const [query, data] of cache === objects ? [[MODEL, whole], [ROWS, list]] : []) {
    assert.deepEqual(parts.readQuery(query, variables).data, data);
  }
}
assert.deepEqual(warnings, []);
