// Prints the number of tokens of a file, for the models that use the vocabulary o200k_base.
import { readFileSync } from 'node:fs';
import { encode } from 'gpt-tokenizer/encoding/o200k_base';

console.log(encode(readFileSync(process.argv[2], 'utf8')).length);
