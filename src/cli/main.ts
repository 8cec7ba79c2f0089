#!/usr/bin/env node
import { runMain } from "./run.js"
/**
 * The command `tape`.
 *
 * @since 0.1.0
 */
import { tape } from "./tape.js"

runMain(tape(process.argv))
