export { builtins } from './builtins.js';
export { defineManifest, planManifest } from './define.js';
export { type NicGrants, nicGrants } from './grants.js';
export { toDot, toSvg } from './graph.js';
export { limits } from './limits.js';
export {
  type ChannelPlan,
  type DevicePlan,
  type Loaded,
  type LoadOptions,
  loadManifest,
  loadManifestText,
  ManifestErrors,
  memoryOf,
  type Plan,
  type PortPlan,
  type ResolvedPlan,
  resolveCores,
  type ShardPlan,
  type WatchPlan,
} from './plan.js';
export { errorJson, renderError, renderWarning, warningJson } from './render.js';
export { jsonSchema, type Manifest } from './schema.js';
