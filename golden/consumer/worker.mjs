// @ts-check
// The thread in which the build runs: a build that loops is ended with it.

import { Session } from "./session.mjs";
import { GoldenError } from "./values.mjs";

/** Compile a build and run cases for the thread behind `port`; every call is announced before it begins. */
function serve(port) {
  let module;
  let settings;
  const announce = (name) => port.postMessage({ kind: "call", name });
  const compile = (order) => {
    announce("compilation");
    settings = order.settings;
    try {
      module = new WebAssembly.Module(order.bytes);
    } catch (error) {
      return { kind: "invalid", detail: error.message };
    }
    return { kind: "done" };
  };
  const run = ({ steps, models }) => {
    let session;
    try {
      session = new Session(module, settings, steps, announce);
    } catch (error) {
      port.postMessage({
        kind: "observed",
        shown: { kind: "error", detail: `instantiation failed: ${error.message}` },
      });
      return { kind: "done" };
    }
    for (const step of steps) {
      const seen = session.run(step, models);
      port.postMessage({ kind: "observed", shown: seen });
      if (seen.kind === "error") break;
    }
    return { kind: "done" };
  };
  port.onmessage = ({ data }) => {
    try {
      port.postMessage(data.bytes ? compile(data) : run(data));
    } catch (error) {
      const isGolden = error instanceof GoldenError;
      port.postMessage({ kind: isGolden ? "golden" : "crash", detail: isGolden ? error.message : String(error.stack) });
    }
  };
}

if (typeof process === "object" && process.versions?.node) serve((await import("node:worker_threads")).parentPort);
else serve(globalThis);
