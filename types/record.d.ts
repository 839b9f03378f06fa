// Types of golden/record.mjs; the recording is described in docs/testing-a-build.md of the project.

export const RECORDING_VERSION: number;

export interface RecordOptions {
  /** What the session is called, such as "first chat". */
  name?: string;
  /** The module: its declaration of contract choices goes into the recording. */
  module?: WebAssembly.Module | null;
  /** The bytes of the module: their SHA-256 goes into the recording. */
  wasm?: BufferSource | null;
  /** Longest artifact that is kept with its bytes (4 MiB); of a longer one hash and length are kept. */
  maxModelBytes?: number;
  /** Most bytes that the recording holds in all (64 MiB); then it stops, and says so. */
  maxBytes?: number;
  /** Most calls that are written down (100000); then it stops, and says so. */
  maxEvents?: number;
}

/** What was recorded; `JSON.stringify` of it is what `refruntime record` reads. */
export interface Recording {
  format: "refruntime recording";
  version: number;
  name: string;
  build: { sha256: string | null; declaration: unknown; exports: string[] };
  [part: string]: unknown;
}

export interface RecordedInstance extends WebAssembly.Instance {
  recording(): Recording;
  /** Save the recording from a page: Error elsewhere. */
  download(file?: string): void;
}

/** Wrap a live instance: use its `exports` instead of those of `instance`. */
export function record(instance: WebAssembly.Instance, options?: RecordOptions): RecordedInstance;

/** Wrap every build that is instantiated from now on, until `stop()`. */
export function recordEvery(options?: RecordOptions): { instances: RecordedInstance[]; stop(): void };

/** The SHA-256 of bytes in lower-case hex. */
export function sha256(bytes: Uint8Array): string;
