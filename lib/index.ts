/**
 * Vanity: a dataplane of pinned shards and channels, declared in a manifest.
 *
 * @packageDocumentation
 */
export { VanityError, type Warning } from './errors.js';
export {
  type ChannelPlan,
  defineManifest,
  type Loaded,
  type LoadOptions,
  loadManifest,
  loadManifestText,
  type Manifest,
  ManifestErrors,
  type Plan,
  type PortPlan,
  planManifest,
  type ShardPlan,
} from './manifest/index.js';
export type { NativeFailure as Notice } from './native.js';
export { lostPackets, type Summary, summarize } from './report/summary.js';
export {
  defineProgram,
  type InputChannel,
  type OutputChannel,
  type PacketBurst,
  type Program,
  type ProgramCounter,
  type ProgramShard,
} from './runtime/program.js';
export { type BootOptions, boot, type RunResult, type System } from './runtime/run.js';
export { Histogram } from './telemetry/histogram.js';
export { type Rates, rates } from './telemetry/rates.js';
export {
  type Count,
  type FieldValue,
  type Row,
  Segment,
  type SegmentField,
  type Snapshot,
  type TableName,
} from './telemetry/segment.js';
export { chooseSystem, type FoundSystem, findSystems, openSystem } from './telemetry/systems.js';
