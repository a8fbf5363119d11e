// Apollo Client watches a version by a WebSocket and by events: what comes goes into its cache, where queries see it.
import assert from "node:assert/strict";
import { ApolloClient, ApolloLink, HttpLink, InMemoryCache, Observable, gql } from "@apollo/client";
import { GraphQLWsLink } from "@apollo/client/link/subscriptions";
import { OperationTypeNode, print } from "graphql";
import { createClient as createEvents } from "graphql-sse";
import { createClient as createSocket } from "graphql-ws";
import WebSocket from "ws";
import { approve, variables, version, wait, watch } from "./watching.js";

globalThis.WebSocket = WebSocket; // as browsers have it, and newer Node
const [url] = process.argv.slice(2);
const [VERSION, WATCH] = [gql(version), gql(watch)];
const http = new HttpLink({ uri: url });
const byKind = (subscriptions) =>
  ApolloLink.split(({ operationType }) => operationType === OperationTypeNode.SUBSCRIPTION, subscriptions, http);

const socket = createSocket({ url: url.replace("http", "ws"), retryAttempts: 0 });
const events = createEvents({ url, retryAttempts: 0 });
const EVENTS = new ApolloLink(
  ({ query, variables }) =>
    new Observable((observer) => events.subscribe({ query: print(query), variables }, observer)),
);

// What a subscription brings until it ends; `each` is called as one comes.
const all = (subscription, each = () => {}) =>
  new Promise((done, failed) => {
    const seen = [];
    subscription.subscribe({
      next: (result) => each(seen.push(result)),
      error: failed,
      complete: () => done(seen),
    });
  });

for (const subscriptions of [new GraphQLWsLink(socket), EVENTS]) {
  await wait();
  const client = new ApolloClient({ cache: new InMemoryCache(), link: byKind(subscriptions) });
  const before = await client.query({ query: VERSION, variables });
  assert.equal(before.data.modelVersion.approval, "PENDING");

  const seen = await all(client.subscribe({ query: WATCH, variables }), approve);
  assert.deepEqual(seen.map(({ data }) => data.modelVersionChanged.approval), ["PENDING", "APPROVED"]);
  assert.equal(client.readQuery({ query: VERSION, variables }).modelVersion.approval, "APPROVED");

  const [{ error }] = await all(client.subscribe({ query: WATCH, variables: { id: "x" } }));
  assert.equal(error.errors[0].extensions.code, "INVALID_ID");
}

// Its own way, multipart over HTTP, is none of the gateway's, which says so.
const alone = new ApolloClient({ cache: new InMemoryCache(), link: http });
const [{ error }] = await all(alone.subscribe({ query: WATCH, variables }));
assert.equal(error.errors[0].extensions.code, "NOT_ACCEPTABLE");
await socket.dispose();
events.dispose();
