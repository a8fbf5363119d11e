// Apollo Client takes answers in parts, by each of its handlers: what is there shows, and in the end its cache holds what
// a whole answer brings.
import assert from "node:assert/strict";
import { ApolloClient, HttpLink, InMemoryCache, NetworkStatus, gql } from "@apollo/client";
import { Defer20220824Handler, GraphQL17Alpha9Handler } from "@apollo/client/incremental";
import { hold, model, release, rows, variables } from "./parts.js";

const [uri] = process.argv.slice(2);
const [MODEL, DEFERRED] = ["", "@defer"].map((directive) => gql(model(directive)));
const [ROWS, STREAMED] = ["", "@stream(initialCount: 2)"].map((directive) => gql(rows(directive)));
const client = (incrementalHandler) =>
  new ApolloClient({ cache: new InMemoryCache(), link: new HttpLink({ uri }), incrementalHandler });

// The data of each state of a query until all is there; `each` is called as one comes that is not the last.
const states = (client, query, each = () => {}) =>
  new Promise((done, failed) => {
    const seen = [];
    const watching = client.watchQuery({ query, variables }).subscribe(({ data, error, networkStatus }) => {
      if (error) failed(error);
      if (networkStatus === NetworkStatus.loading) return;
      seen.push(data);
      if (networkStatus === NetworkStatus.streaming) return each();
      watching.unsubscribe();
      done(seen);
    });
  });

const plain = client();
const whole = (await plain.query({ query: MODEL, variables })).data;
const list = (await plain.query({ query: ROWS })).data;
const { versions, ...fast } = whole.model;
assert.ok(versions.nodes.length);

for (const Handler of [GraphQL17Alpha9Handler, Defer20220824Handler]) {
  const parts = client(new Handler());
  await hold();
  assert.deepEqual(await states(parts, DEFERRED, release), [{ model: fast }, whole]);
  assert.deepEqual(parts.readQuery({ query: MODEL, variables }), whole);

  const [first, ...later] = await states(parts, STREAMED);
  assert.deepEqual(first.models.nodes, list.models.nodes.slice(0, 2));
  assert.deepEqual(later.at(-1), list);
  assert.deepEqual(parts.readQuery({ query: ROWS }), list);
}
