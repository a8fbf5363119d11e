// Watches a version with graphql-ws until it is final; on the first event the version is approved in its cloud.
// Arguments: the gateway's endpoint, the cloud's address of faults, the version's id.
import { createClient } from "graphql-ws";
import WebSocket from "ws";

const [endpoint, faults, id] = process.argv.slice(2);
const client = createClient({ url: endpoint.replace("http", "ws"), webSocketImpl: WebSocket, retryAttempts: 0 });
const approved = JSON.stringify({ VersionName: "0.1.0", ApprovalStatus: "Approved" });
const seen = [];

const subscription = client.iterate({
  query: "subscription ($id: ID!) { modelVersionChanged(id: $id) { name approval } }",
  variables: { id },
});
for await (const result of subscription) {
  seen.push(result);
  if (seen.length === 1) {
    await fetch(faults, { method: "PUT", body: JSON.stringify({ GetModelVersion: { body: approved } }) });
  }
}
for await (const result of client.iterate({ query: "{ __typename }" })) seen.push(result);
for (const query of ["{ nothing }", 'subscription { modelVersionChanged(id: "x") { name } }']) {
  try {
    for await (const result of client.iterate({ query })) seen.push(result);
  } catch (errors) {
    seen.push(errors.map((error) => error.extensions.code));
  }
}
await client.dispose();
console.log(JSON.stringify(seen));
