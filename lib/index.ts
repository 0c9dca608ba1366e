/**
 * Vanity: a dataplane of pinned shards and channels, declared in a manifest.
 *
 * @packageDocumentation
 */
export { type Location, type Related, VanityError, type Warning } from './errors.js';
export type { Action, Changed, PartChange } from './manifest/difference.js';
export {
  type ChannelPlan,
  type DevicePlan,
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
  type WatchPlan,
} from './manifest/index.js';
export type { NativeFailure as Notice } from './native.js';
export { lostPackets, type Summary, summarize } from './report/summary.js';
export type { ApplyOptions, ApplyReport, ApplyStep } from './runtime/apply.js';
export type { Worse } from './runtime/health.js';
export {
  type Device,
  type DeviceInterrupt,
  type DeviceMemory,
  type DeviceRegisters,
  type DeviceState,
  defineProgram,
  type InputChannel,
  type OutputChannel,
  type PacketBurst,
  type Program,
  type ProgramCounter,
  type ProgramShard,
  type State,
  type StateDescription,
  type StateNumber,
  type StateType,
} from './runtime/program.js';
export type { ReloadCertificate, ReloadOptions, ReloadRange } from './runtime/reload.js';
export { type BootOptions, boot, type RunResult, type System } from './runtime/run.js';
export {
  type EventKind,
  EventReader,
  type EventSource,
  type ShardEvent,
} from './telemetry/events.js';
export { Histogram } from './telemetry/histogram.js';
export {
  type ChannelWaits,
  channelWaits,
  type PacketPlace,
  PacketReader,
  type PacketStep,
  type PacketWait,
  type PacketWay,
} from './telemetry/packets.js';
export {
  type ChannelRate,
  type DeviceRate,
  type PortRate,
  type Rates,
  rates,
  type ShardRate,
  type VectorRate,
} from './telemetry/rates.js';
export {
  type Count,
  type FieldValue,
  type Look,
  type RingName,
  type Row,
  Segment,
  type SegmentField,
  type SegmentManifest,
  type SegmentRing,
  type Snapshot,
  type SystemRow,
  type TableName,
} from './telemetry/segment.js';
export { chooseSystem, type FoundSystem, findSystems, openSystem } from './telemetry/systems.js';
