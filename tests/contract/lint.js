// Lints one schema: prints the rule of each finding, its place, and what it says; one finding a line.
import { ESLint } from "eslint";

const [path] = process.argv.slice(2);
const [{ messages }] = await new ESLint({ ignore: false }).lintFiles([path]);
for (const { ruleId, line, message } of messages) console.log(`${ruleId} ${line}: ${message.replaceAll("\n", " ")}`);
