#!/usr/bin/env node
// The entry point: runs the command, prints what went wrong, sets the exit code.
import { fail, tolerateClosedPipes } from './output.js';
import { runProgram } from './program.js';

tolerateClosedPipes();
const args = process.argv.slice(2);
try {
  process.exitCode = await runProgram(args);
} catch (error) {
  process.exitCode = fail(error, args.includes('--json'));
}
