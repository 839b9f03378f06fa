// @ts-check
// The worker seen from outside.

import { ConsumeError, GoldenError } from "./values.mjs";

/** The file that a worker starts with. */
export const WORKER = new URL("worker.mjs", import.meta.url);

/**
 * A build that answers cases. `startWorker(onMessage, onEnd)` starts a worker of `WORKER` and returns an object with
 * `post(message)` and `end()`. A call that takes longer than `seconds` ends the worker; the next case gets a new one.
 */
export class Build {
  constructor(startWorker, bytes, settings, seconds) {
    this.startWorker = startWorker;
    this.bytes = bytes;
    this.settings = settings;
    this.seconds = seconds;
    this.worker = this.receive = this.interrupt = null;
  }

  /** Compile the build: ConsumeError when it is no module. */
  async compile() {
    const order = { bytes: this.bytes, settings: this.settings };
    const worker = this.startWorker(
      (message) => worker === this.worker && this.receive?.(message),
      (detail) => worker === this.worker && this.interrupt?.(`the worker ended: ${detail}`),
    );
    this.worker = worker;
    const { kind, detail } = await this.exchange(order);
    if (kind === "invalid") throw new ConsumeError(`not a WebAssembly module: ${detail}`, 2);
    if (kind !== "done") throw new ConsumeError(detail, kind === "crash" ? 4 : 1);
  }

  /**
   * Run steps on a fresh instance and return what every step showed, up to one that ended the case: GoldenError.
   * `crash` tells a bug of this file.
   */
  async run(steps, models) {
    if (!this.worker) await this.compile();
    const { kind, detail, seen } = await this.exchange({ steps, models });
    if (kind === "golden") throw new GoldenError(detail);
    if (kind === "limit") seen.push({ kind: "limit", detail });
    return { seen, crash: kind === "crash" ? detail : "" };
  }

  /** End the worker; a case that runs is over. */
  end(reason = "stopped") {
    if (this.interrupt) this.interrupt(reason);
    else this.discard();
  }

  discard() {
    this.worker?.end();
    this.worker = null;
  }

  exchange(order) {
    return new Promise((resolve) => {
      const seen = [];
      let timer;
      let call = "a call";
      const finish = (ending) => {
        clearTimeout(timer);
        this.receive = this.interrupt = null;
        resolve({ ...ending, seen });
      };
      this.interrupt = (detail) => {
        this.discard();
        finish({ kind: "limit", detail });
      };
      this.receive = (message) => {
        if (message.kind === "observed") seen.push(message.shown);
        else if (message.kind === "call") {
          call = message.name;
          clearTimeout(timer);
          timer = setTimeout(() => this.interrupt(`${call} was stopped after ${this.seconds} s`), this.seconds * 1000);
        } else finish(message);
      };
      this.worker.post(order);
    });
  }
}
