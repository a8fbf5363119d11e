// The official audit of GraphQL over HTTP: prints its figure, and fails with the audits that the gateway fails.
import assert from "node:assert/strict";
import { auditServer } from "graphql-http";

const [url] = process.argv.slice(2);
const results = await auditServer({ url });
const refused = results.filter(({ status }) => status !== "ok");
console.log(`${results.length - refused.length} of ${results.length} audits`);
assert.equal(results.length, 61);
assert.deepEqual(refused.map(({ id, name, status, reason }) => `${id} ${name}: ${status}: ${reason}`), []);
