// Lints a schema file. Prints one finding per line: rule, line number and message.
import { ESLint } from "eslint";

const [path] = process.argv.slice(2);
const [{ messages }] = await new ESLint({ ignore: false }).lintFiles([path]);
for (const { ruleId, line, message } of messages) console.log(`${ruleId} ${line}: ${message.replaceAll("\n", " ")}`);
