// urql watches a version by a WebSocket and, with nothing but itself, by events: what comes goes into graphcache, where
// queries see it.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { Client, fetchExchange, gql, subscriptionExchange } from "@urql/core";
import { cacheExchange } from "@urql/exchange-graphcache";
import { buildSchema, introspectionFromSchema } from "graphql";
import { createClient } from "graphql-ws";
import WebSocket from "ws";
import { approve, variables, version, wait, watch } from "./watching.js";

const [url] = process.argv.slice(2);
const [VERSION, WATCH] = [gql(version), gql(watch)];
const schema = introspectionFromSchema(buildSchema(readFileSync("build/schema.graphql", "utf8")));
const socket = createClient({ url: url.replace("http", "ws"), webSocketImpl: WebSocket, retryAttempts: 0 });
const sockets = subscriptionExchange({
  forwardSubscription: (request) => ({
    subscribe: (sink) => ({ unsubscribe: socket.subscribe(request, sink) }),
  }),
});

// What a subscription brings until it ends or fails; urql ends one by saying its last result again.
const all = (client, variables, each = () => {}) =>
  new Promise((done) => {
    const seen = [];
    client.subscription(WATCH, variables).subscribe((result) => {
      if (!result.hasNext) return done(seen);
      each(seen.push(result));
      if (result.error) done(seen);
    });
  });

for (const options of [{ exchanges: [sockets] }, { exchanges: [], fetchSubscriptions: true }]) {
  await wait();
  const exchanges = [cacheExchange({ schema }), ...options.exchanges, fetchExchange];
  const client = new Client({ url, ...options, exchanges });
  const before = await client.query(VERSION, variables);
  assert.equal(before.data.modelVersion.approval, "PENDING");

  const seen = await all(client, variables, approve);
  assert.deepEqual(seen.map(({ data }) => data.modelVersionChanged.approval), ["PENDING", "APPROVED"]);
  assert.equal(client.readQuery(VERSION, variables).data.modelVersion.approval, "APPROVED");

  const [{ error }] = await all(client, { id: "x" });
  assert.equal(error.graphQLErrors[0].extensions.code, "INVALID_ID");
}
await socket.dispose();
