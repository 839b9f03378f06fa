// Types of golden/consume.mjs; the report is that of golden/FORMAT.md, section 7.

export const FORMAT: number;
export const REPORT_VERSION: number;
export const DEFAULT_SECONDS: number;

export type Verdict =
  | "MATCH"
  | "BOTH_FAILED"
  | "UNSUPPORTED"
  | "POISONED"
  | "ONLY_WASM_FAILED"
  | "ONLY_REF_FAILED"
  | "MISMATCH"
  | "STALE"
  | "ORACLE_CRASH";

/** Verdicts after which a run is fine. */
export const FINE: Verdict[];

/** What each verdict means, in words. */
export const MEANINGS: Record<Verdict, string>;

/** An end of the whole run that is no verdict; `exitCode` is 1 to 4 as section 7, step 9 says. */
export class ConsumeError extends Error {
  constructor(message: string, exitCode: number);
  exitCode: number;
}

/** A golden that does not follow FORMAT.md. */
export class GoldenError extends Error {}

export interface Difference {
  field: string;
  expected: unknown;
  found: unknown;
}

export interface CaseResult {
  id: string;
  verdict: Verdict;
  reason: string;
  /** Compared steps, the first differing one included. */
  steps: number;
  /** Compared fields: the kind with its status or value, each diagnostics field, the result. */
  fields: number;
  first_difference: { step: number; call: string; fields: Difference[] } | null;
  /** The sampler trace of the first token that differs. */
  sample: Record<string, unknown> | null;
  seconds: number;
}

export interface Sum {
  cases: number;
  steps: number;
  fields: number;
  verdicts: Partial<Record<Verdict, number>>;
}

export interface ReportDocument {
  version: number;
  build: { name: string; sha256: string; offered: string[]; absent: Record<string, string> };
  golden: { format: number; contract: string; profile: string; root: string; fields: Record<string, string> };
  exit_code: number;
  problems: { name: string; expected: string; found: string }[];
  summary: Sum;
  families: (Sum & { name: string })[];
  lost: Record<string, number>;
  cases: CaseResult[];
}

/** A report as `consume` returns it: besides, each case has its rules, lost fields and candidates. */
export interface Report extends ReportDocument {
  cases: (CaseResult & { rules: string[]; lost: Record<string, number>; candidates: [number, number][]; missing?: string })[];
}

/** A worker of golden/consumer/worker.mjs that was started. */
export interface StartedWorker {
  post(message: unknown): void;
  end(): unknown;
}

export type StartWorker = (onMessage: (message: unknown) => void, onEnd: (detail: string) => void) => StartedWorker;

export interface ConsumeOptions {
  /** Return the bytes of a file below golden/, such as "INDEX.json"; ConsumeError with exit code 3 where there is none. */
  read(path: string): Promise<Uint8Array>;
  startWorker: StartWorker;
  /** The build. */
  bytes: Uint8Array;
  /** What reports call the build. */
  name: string;
  /** Only cases that fit one of these: an id, a family, a rule id, or a shell pattern of ids. */
  filters?: string[];
  /** What one call of the build may take. */
  seconds?: number;
  build?(build: Build): void;
  onStart?(report: Report, ids: string[]): void;
  onCase?(result: Report["cases"][number], report: Report): void | Promise<void>;
  isStopped?(): boolean;
}

/** Run the goldens on a build: ConsumeError where there is no verdict to give. */
export function consume(options: ConsumeOptions): Promise<Report>;

/** A build that answers cases in a worker. */
export class Build {
  constructor(startWorker: StartWorker, bytes: Uint8Array, settings: object, seconds: number);
  compile(): Promise<void>;
  /** End the worker; a case that runs is over. */
  end(reason?: string): void;
}

/** The report as the machine-readable document of section 7. */
export function reportDocument(report: Report): ReportDocument;
/** The whole report as text, line by line. */
export function reportLines(report: Report): string[];
/** Everything about one case that is not fine, line by line. */
export function caseLines(result: Report["cases"][number]): string[];
export function headerLines(report: Report): string[];
/** The sums by family as rows of text, the first being the heads. */
export function familyTable(report: Report): string[][];
export function fieldLines(golden: ReportDocument["golden"]): string[];
export function lostLine(report: Report): string;
export function absentLine(report: Report): string;
export function lastLine(report: Report): string;
