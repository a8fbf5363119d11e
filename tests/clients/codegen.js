// graphql-codegen: types made of the schema and of an app's documents pass `tsc --strict`, and the app runs.
import { execFileSync } from "node:child_process";

const [url] = process.argv.slice(2);
const run = (script, ...options) => execFileSync(process.execPath, [script, ...options], { stdio: "inherit" });

run("node_modules/@graphql-codegen/cli/esm/bin.js", "--config", "codegen.json", "--silent");
run("node_modules/typescript/bin/tsc", "--project", "tsconfig.json");
run("build/app/codegen-app.js", url);
